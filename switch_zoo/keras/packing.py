"""Tokens of texts of different lengths without the padding between them.

Norms, projections and feed-forward layers compute each token by itself and need no padding; attention does.

B batch  S length  P tokens that are kept
"""
from typing import NamedTuple

import tensorflow as tf


class Packing(NamedTuple):
  """Which tokens are kept, and where they are.

  kept: <int64>[P], their places among all, ascending
  place: <int32>[B, S], the place of each among those kept; that of its text's first token for what is not
  """

  kept: tf.Tensor
  place: tf.Tensor

  @classmethod
  def of(cls, real):
    """Keeps what is real, and the first token of each text: something must stand for the others. <bool>[B, S]"""
    kept = tf.concat([tf.ones_like(real[:, :1]), real[:, 1:]], 1)
    order = tf.reshape(tf.cumsum(tf.cast(tf.reshape(kept, [-1]), tf.int32)) - 1, tf.shape(real))
    return cls(tf.where(tf.reshape(kept, [-1]))[:, 0], tf.where(kept, order, order[:, :1]))

  def pack(self, x):
    """[B, S, ...] -> [P, ...]"""
    return tf.gather(tf.reshape(x, [-1, *x.shape[2:]]), self.kept)

  def unpack(self, x):
    """[P, ...] -> [B, S, ...]; what was not kept is its text's first token, which attention must not see there."""
    return tf.gather(x, self.place)
