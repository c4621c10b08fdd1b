"""What the ids of logits mean. Mesh-TensorFlow pads tables to a multiple of 128 rows, and no padding is predicted.

The released Unitransformer has no place for this, so importing the module replaces the method that makes its logits. It
can go when Mesh-TensorFlow masks what lies beyond `output_vocab_size`.
"""

import functools
from collections.abc import Callable
from typing import Any

import gin
import mesh_tensorflow as mtf
import tensorflow.compat.v1 as tf
from mesh_tensorflow.transformer import transformer

from switch_zoo.errors import UserError
from switch_zoo.spec.token_ids import END

# Below every logit; finite, so that 0 times it is 0.
MASKED = -1e30


@gin.configurable(module='vocabulary')
def num_ids(vocab_dim: mtf.Dimension, vocab_size: int | None = None) -> int:
  """Ids that can be predicted.

  Args:
    vocab_dim: the last dimension of logits, padding included
    vocab_size: in gin, the ids of the model's vocabulary; None: all of vocab_dim
  """
  return vocab_dim.size if vocab_size is None else min(vocab_size, vocab_dim.size)


@gin.configurable(module='vocabulary')
def check_end(end_id: int = END) -> None:
  """Refuses a model that ends answers with another id.

  Args:
    end_id: in gin, that of the model
  Raises:
    UserError: it is not 1, which the released beam search and the tasks' vocabularies end sequences with
  """
  if end_id != END:
    raise UserError(
      f'end_id = {end_id}: Mesh-TensorFlow, and the vocabularies of the tasks, end a sequence with {END}. Fine-tune '
      'and run this model in Keras (switch_zoo.load), which ends answers with its own id.'
    )


def masked(logits: mtf.Tensor, vocab_dim: mtf.Dimension) -> mtf.Tensor:
  """Logits with MASKED for padding. <float>[..., vocab] -> same shape"""
  if num_ids(vocab_dim) == vocab_dim.size:
    return logits
  return logits + mtf.cast((1.0 - real(logits.mesh, vocab_dim)) * MASKED, logits.dtype)


def mean_logit(logits: mtf.Tensor, vocab_dim: mtf.Dimension) -> mtf.Tensor:
  """The mean over the ids that can be predicted, of logits that are not masked. <float32>[..., vocab] -> [...]"""
  number = num_ids(vocab_dim)
  if number == vocab_dim.size:
    return mtf.reduce_mean(logits, reduced_dim=vocab_dim)
  return mtf.reduce_sum(logits * real(logits.mesh, vocab_dim), reduced_dim=vocab_dim) / number


def real(mesh: mtf.Mesh, vocab_dim: mtf.Dimension) -> mtf.Tensor:
  """1 for ids that can be predicted, 0 for padding. -> <float32>[vocab]"""
  return mtf.cast(mtf.less(mtf.range(mesh, vocab_dim, tf.int32), num_ids(vocab_dim)), tf.float32)


def _with_mask(released: Callable[..., mtf.Tensor]) -> Callable[..., mtf.Tensor]:
  """`Unitransformer._call_internal`, whose logits are what decoding, scoring and evaluation read.

  The loss is computed inside, from logits that are not masked: `loss.cross_entropy` masks them itself.
  """

  @functools.wraps(released)
  def call_internal(self: transformer.Unitransformer, context: Any, *args: Any, **kwargs: Any) -> mtf.Tensor:
    if self.output_vocab_dim is not None:
      check_end()
    output = released(self, context, *args, **kwargs)
    # An encoder has no logits.
    return output if self.output_vocab_dim is None else masked(output, self.output_vocab_dim)

  return call_internal


transformer.Unitransformer._call_internal = _with_mask(transformer.Unitransformer._call_internal)  # pylint: disable=protected-access
