"""The training loss: cross-entropy of the targets, without what routers add."""

from collections.abc import Callable
from typing import NamedTuple

import gin
import mesh_tensorflow as mtf
import tensorflow.compat.v1 as tf
from mesh_tensorflow.transformer import transformer

from switch_zoo.mesh import label_logits, observe, stacks, vocabulary


@gin.configurable(module='loss')
def cross_entropy(
  model: transformer.Unitransformer,
  context: transformer.Context,
  logits: mtf.Tensor,
  targets: mtf.Tensor,
  vocab_dim: mtf.Dimension,
) -> mtf.Tensor:
  """Cross-entropy per real target token, in float32 whatever the activations are.

  For `Unitransformer.loss_fn`. Label smoothing and the z-loss of the logits are those of T5, in training only. The
  released loss divides by all positions, padding included; this one divides by the real tokens (0 is padding, negative
  ids carry no loss). Ids that only pad the vocabulary's table have no probability (`vocabulary`). A `loss_denominator`
  set in gin takes precedence. All microbatches of a step weigh the same.

  Exports `loss/cross_entropy` (natural logarithm, per token, without smoothing and z-loss), `loss/logits_z` and
  `tokens` (real input and target tokens of the batch).

  Args:
    model: the decoder
    context: of the decoder's call
    logits: <activation>[batch..., length, vocab]
    targets: <int32>[batch..., length]
    vocab_dim: the last dimension of the logits
  Returns:
    <float32>[]
  """
  terms = loss_terms(model, context, logits, targets, vocab_dim)
  return terms.labels if terms.logits_z is None else terms.labels + terms.logits_z


class LossTerms(NamedTuple):
  """What the loss is the sum of, and what it is made of.

  labels: <float32>[] cross-entropy of the targets, in training with label smoothing
  logits_z: <float32>[] z-loss of the logits; None where there is none
  logits: <float32>[batch..., length, vocab] without probability for padding
  log_z: <float32>[batch..., length] log(sum(exp(logits)))
  per_token: <float32>[batch..., length] -> <float32>[], the mean over real target tokens
  """

  labels: mtf.Tensor
  logits_z: mtf.Tensor | None
  logits: mtf.Tensor
  log_z: mtf.Tensor
  per_token: Callable[[mtf.Tensor], mtf.Tensor]


def loss_terms(
  model: transformer.Unitransformer,
  context: transformer.Context,
  logits: mtf.Tensor,
  targets: mtf.Tensor,
  vocab_dim: mtf.Dimension,
) -> LossTerms:
  """The terms of `cross_entropy`, with the same arguments; exports what it exports."""
  unmasked = mtf.cast(logits, tf.float32)
  logits = vocabulary.masked(unmasked, vocab_dim)
  weights = mtf.cast(mtf.greater(targets, 0), tf.float32)
  num_targets = mtf.reduce_sum(weights)
  denominator = _denominator(model, context, num_targets)

  def per_token(values: mtf.Tensor) -> mtf.Tensor:
    return mtf.reduce_sum(values * weights) / denominator

  log_z, logit = log_z_and_logit(model, logits, mtf.maximum(targets, 0), vocab_dim)
  entropy = per_token(log_z - logit)
  observe.export('loss/cross_entropy', entropy, summed=True)
  observe.export('tokens', num_targets + _num_inputs(context, targets), summed=True)
  loss, z_loss = entropy, None
  if context.train and model.label_smoothing:
    uniform = per_token(log_z - vocabulary.mean_logit(unmasked, vocab_dim))
    loss = (1.0 - model.label_smoothing) * entropy + model.label_smoothing * uniform
  if context.train and model.z_loss:
    z_loss = model.z_loss * per_token(mtf.square(log_z))
    observe.export('loss/logits_z', z_loss, summed=True)
  return LossTerms(loss, z_loss, logits, log_z, per_token)


def log_z_and_logit(
  model: transformer.Unitransformer, logits: mtf.Tensor, labels: mtf.Tensor, vocab_dim: mtf.Dimension
) -> tuple[mtf.Tensor, mtf.Tensor]:
  """log(sum(exp(logits))) of each token, and the logit of its label. <float32>[..., vocab] -> <float32>[...] twice"""
  # TPUs keep the form whose memory and communication are proven on them.
  if stacks.on_one_slice(model) and logits.shape.dims == [*labels.shape.dims, vocab_dim]:
    return label_logits.of_labels(logits, labels, vocab_dim)
  log_z = mtf.reduce_logsumexp(logits, vocab_dim)
  at_label = logits * mtf.one_hot(labels, vocab_dim, dtype=tf.float32)
  return log_z, mtf.reduce_sum(at_label, reduced_dim=vocab_dim)


def _denominator(
  model: transformer.Unitransformer, context: transformer.Context, num_targets: mtf.Tensor
) -> mtf.Tensor | float:
  """What the summed loss is divided by. num_targets: <float32>[] -> <float32>[], or a number."""
  fixed = model._loss_denominator  # pylint: disable=protected-access
  return float(fixed) if fixed is not None else mtf.maximum(num_targets, 1.0) * context.num_microbatches


def _num_inputs(context: transformer.Context, targets: mtf.Tensor) -> mtf.Tensor:
  """The number of real tokens the encoder read; without an encoder, that of the targets. -> <float32>[]"""
  ids = context.encoder_sequence_id
  ids = targets if ids is None else ids
  return mtf.reduce_sum(mtf.cast(mtf.greater(ids, 0), tf.float32))
