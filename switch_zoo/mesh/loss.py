"""The training loss: cross-entropy of the targets, apart from what experts add."""

import gin
import mesh_tensorflow as mtf
import tensorflow.compat.v1 as tf

from switch_zoo.mesh import observe


@gin.configurable(module='loss')
def cross_entropy(model, context, logits, targets, vocab_dim):
  """Cross-entropy per real target token, in float32 whatever the activations are.

  Given to `Unitransformer.loss_fn`. With label smoothing and the z-loss of the logits as T5 has them (training only);
  the released loss divides by all positions, padding included, this one by the real tokens (0 is padding, negative
  ids carry no loss). A `loss_denominator` set in gin wins. With microbatches each weighs the same.

  Exports `loss/cross_entropy` (natural logarithm, per token, without smoothing and z-loss), `loss/logits_z` and
  `tokens` (real input and target tokens of the batch).

  Args:
    model: the decoder's transformer.Unitransformer
    context: its transformer.Context
    logits: <activation>[batch..., length, vocab]
    targets: <int32>[batch..., length]
    vocab_dim: the vocabulary's mtf.Dimension
  Returns:
    <float32>[]
  """
  logits = mtf.cast(logits, tf.float32)
  weights = mtf.cast(mtf.greater(targets, 0), tf.float32)
  num_targets = mtf.reduce_sum(weights)
  denominator = _denominator(model, context, num_targets)

  def per_token(values):
    return mtf.reduce_sum(values * weights) / denominator

  log_z = mtf.reduce_logsumexp(logits, vocab_dim)
  labels = mtf.one_hot(mtf.maximum(targets, 0), vocab_dim, dtype=tf.float32)
  entropy = per_token(log_z - mtf.reduce_sum(logits * labels, reduced_dim=vocab_dim))
  observe.export('loss/cross_entropy', entropy, summed=True)
  observe.export('tokens', num_targets + _num_inputs(context, targets), summed=True)
  if not context.train:
    return entropy
  loss = entropy
  if model.label_smoothing:
    uniform = per_token(log_z - mtf.reduce_mean(logits, reduced_dim=vocab_dim))
    loss = (1.0 - model.label_smoothing) * entropy + model.label_smoothing * uniform
  if model.z_loss:
    z_loss = model.z_loss * per_token(mtf.square(log_z))
    observe.export('loss/logits_z', z_loss, summed=True)
    loss += z_loss
  return loss


def _denominator(model, context, num_targets):
  """What the summed loss is divided by. num_targets: <float32>[] -> <float32>[] or a float."""
  fixed = model._loss_denominator  # pylint: disable=protected-access
  return float(fixed) if fixed is not None else mtf.maximum(num_targets, 1.0) * context.num_microbatches


def _num_inputs(context, targets):
  """Real tokens the encoder read; the targets' own count where there is no encoder. -> <float32>[]"""
  ids = context.encoder_sequence_id
  ids = targets if ids is None else ids
  return mtf.reduce_sum(mtf.cast(mtf.greater(ids, 0), tf.float32))
