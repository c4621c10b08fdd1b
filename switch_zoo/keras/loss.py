"""The loss for `fit`: what the Mesh-TensorFlow model minimizes, without the balance losses that its layers add."""

from typing import Any

import tensorflow as tf
from tensorflow import keras


@keras.utils.register_keras_serializable(package='switch_zoo')
class CrossEntropy(keras.losses.Loss):
  """Mean cross-entropy over the real targets, natural logarithm; 0 is padding."""

  def __init__(self, z_loss: float = 1e-4, name: str = 'cross_entropy') -> None:
    """
    Args:
      z_loss: weight of log(Z)^2, which keeps logits small; T5's default (arXiv:1910.10683, released code)
      name: of the loss
    """
    # The mean is over tokens, not over sequences, so it is taken here and not by Keras.
    super().__init__(reduction='sum', name=name)
    self.z_loss = z_loss

  def get_config(self) -> dict[str, Any]:
    return {'z_loss': self.z_loss, 'name': self.name}

  def call(self, targets: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """<int>[B, T], <float32>[B, T, V] -> <float32>[]"""
    targets = tf.cast(targets, tf.int32)
    real = tf.cast(tf.not_equal(targets, 0), tf.float32)
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=targets, logits=logits)
    losses += self.z_loss * tf.square(tf.reduce_logsumexp(logits, -1))
    return tf.reduce_sum(losses * real) / tf.maximum(tf.reduce_sum(real), 1.0)
