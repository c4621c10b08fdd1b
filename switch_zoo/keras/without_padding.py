"""Tokens of texts of different lengths without the padding between them.

Norms, projections and feed-forward layers compute each token by itself and need no padding; attention does. It also
wants the heads apart, and both are one movement: tf.transpose would be a second one.

B batch  S length  P tokens that are kept  N heads  D d_kv
"""

from typing import NamedTuple

import tensorflow as tf


class Packing(NamedTuple):
  """Which tokens are kept, and where their heads are.

  kept: <int64>[P], their places among all, ascending
  apart: <int32>[B, N, S], places of the heads of all tokens in [P * N, D]; of a token that is not kept, those of its
    text's first
  together: <int32>[P, N], places of the heads of those kept in [B * N * S, D]
  """

  kept: tf.Tensor
  apart: tf.Tensor
  together: tf.Tensor

  @classmethod
  def of(cls, real, heads):
    """Keeps what is real, and the first token of each text: something must stand for the others. <bool>[B, S], N"""
    keep = tf.concat([tf.ones_like(real[:, :1]), real[:, 1:]], 1)
    order = tf.reshape(tf.cumsum(tf.cast(tf.reshape(keep, [-1]), tf.int32)) - 1, tf.shape(real))
    apart = tf.where(keep, order, order[:, :1])[:, None] * heads + tf.range(heads)[:, None]
    kept = tf.where(tf.reshape(keep, [-1]))[:, 0]
    places = tf.transpose(tf.reshape(tf.range(tf.size(apart)), tf.shape(apart)), [0, 2, 1])
    return cls(kept, apart, tf.gather(tf.reshape(places, [-1, heads]), kept))

  def pack(self, x):
    """[B, S] -> [P]"""
    return tf.gather(tf.reshape(x, [-1]), self.kept)

  def split(self, x):
    """[P, N * D] -> [B, N, S, D]; what was not kept is its text's first token, which attention must not see there."""
    return tf.gather(tf.reshape(x, [-1, x.shape[1] // self.apart.shape[1]]), self.apart)

  def join(self, x):
    """[B, N, S, D] -> [P, N * D]"""
    heads, width = x.shape[1], x.shape[3]
    return tf.reshape(tf.gather(tf.reshape(x, [-1, width]), self.together), [-1, heads * width])
