"""The two numbers of a token that its cross-entropy is made of, from its logits over the vocabulary.

A vocabulary of 32,000 makes logits the largest tensor of a small step. Mesh-TensorFlow's operations go through it some
fifteen times, forward and backward; these about six times, without a one-hot tensor of the labels.
"""

from collections.abc import Sequence

import mesh_tensorflow as mtf
import tensorflow.compat.v1 as tf


def of_labels(logits: mtf.Tensor, labels: mtf.Tensor, vocab_dim: mtf.Dimension) -> tuple[mtf.Tensor, mtf.Tensor]:
  """The logarithm of the sum of the exponentials of a token's logits, and the logit of its label.

  Args:
    logits: <float32>[..., vocab], with the vocabulary last and not cut by the mesh
    labels: <int32>[...], in the vocabulary
    vocab_dim: the vocabulary
  Returns:
    <float32>[...] twice
  """
  return with_likelihood(logits, labels, vocab_dim)[:2]


def with_likelihood(
  logits: mtf.Tensor, labels: mtf.Tensor, vocab_dim: mtf.Dimension
) -> tuple[mtf.Tensor, mtf.Tensor, mtf.Tensor]:
  """As `of_labels`, and the softmax of the logits, <float32>[..., vocab], which has no gradient."""
  shape = labels.shape

  def forward(values: tf.Tensor, index: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    likelihood = tf.nn.softmax(values)
    # The largest probability is at least 1 / vocabulary, so its logarithm is exact.
    log_z = tf.reduce_max(values, -1) - tf.log(tf.reduce_max(likelihood, -1))
    return log_z, tf.gather(values, index, batch_dims=index.shape.ndims), likelihood

  def gradient(op: mtf.Operation, *grads: mtf.Tensor | None) -> Sequence[mtf.Tensor | None]:
    of_log_z, of_logit = (mtf.zeros_like(op.outputs[0]) if grad is None else grad for grad in grads[:2])
    backward = mtf.slicewise(
      _gradient,
      [op.outputs[2], labels, of_log_z, of_logit],
      logits.shape,
      tf.float32,
      splittable_dims=shape.dims,
      grad_function=0,
      name='label_logits_gradient',
    )
    return [backward, None]

  log_z, logit, likelihood = mtf.slicewise(
    forward,
    [logits, labels],
    output_shape=[shape, shape, logits.shape],
    output_dtype=[tf.float32, tf.float32, tf.float32],
    splittable_dims=shape.dims,
    grad_function=gradient,
    name='label_logits',
  )
  return log_z, logit, likelihood


def _gradient(likelihood: tf.Tensor, index: tf.Tensor, of_log_z: tf.Tensor, of_logit: tf.Tensor) -> tf.Tensor:
  """Probabilities times the gradient of log_z, and at the label the gradient of its logit. -> <float32>[..., vocab]"""
  vocab = likelihood.shape[-1]
  flat = tf.reshape(likelihood * of_log_z[..., None], [-1, vocab])
  rows = tf.range(flat.shape[0], dtype=index.dtype)
  places = tf.stack([rows, tf.reshape(index, [-1])], -1)
  return tf.reshape(tf.tensor_scatter_nd_add(flat, places, tf.reshape(of_logit, [-1])), likelihood.shape)
