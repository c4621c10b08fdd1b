"""The global norm of the gradients, before the optimizer does anything with them, as a value that a step exports.

Only graphs of a host have it: on TPUs, and in programs of one core, it would be one more collective in every step. On
one slice the optimizer has the squares already (`adafactor`).
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import mesh_tensorflow as mtf
import tensorflow.compat.v1 as tf

from switch_zoo.mesh import observe

NAME = 'gradient_norm'
_MARK = 'switch_zoo/gradient_norm'


def mark() -> None:
  """Notes that the default graph, one of a host, is to have the norm."""
  tf.get_collection_ref(_MARK)[:] = [True]


def export_root(sums: Sequence[tf.Tensor]) -> None:
  """Exports the norm, if the default graph is to have it.

  Args:
    sums: <float32>[] each, of the squares of some of the gradients; of all together
  """
  if tf.get_collection(_MARK):
    tf.add_to_collection(observe.COLLECTION, (NAME, tf.sqrt(tf.add_n(list(sums)))))


def with_norm(released: Callable[..., list[mtf.Operation]]) -> Callable[..., list[mtf.Operation]]:
  """`Optimizer.apply_grads` that exports the norm of the gradients, in graphs of a host."""

  @functools.wraps(released)
  def apply_grads(self: Any, grads: Sequence[mtf.Tensor | None], variables: Sequence[mtf.Variable]) -> Any:
    known = [grad for grad in grads if grad is not None]
    if known and tf.get_collection(_MARK):
      NormOperation(known)
    return released(self, grads, variables)

  return apply_grads


class NormOperation(mtf.Operation):
  """Has no output: exports the norm when it is lowered."""

  def __init__(self, grads: Sequence[mtf.Tensor]) -> None:
    super().__init__(list(grads), name=NAME)

  def lower(self, lowering: mtf.Lowering) -> None:
    """Sums the squares over the slices; a gradient that several slices have counts once."""
    sums = []
    for grad in self.inputs:
      slices = lowering.tensors[grad].to_laid_out_tensor().tensor_list
      impl = lowering.mesh_impl(grad)
      copies = len(slices) * tf.TensorShape(impl.slice_shape(grad.shape)).num_elements() // grad.shape.size
      squares = [tf.reduce_sum(tf.square(tf.cast(part, tf.float32))) for part in slices]
      sums.append(tf.add_n(squares) / copies)
    export_root(sums)
