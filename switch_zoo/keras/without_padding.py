"""Tokens of texts of different lengths without the padding between them.

Norms, projections and feed-forward layers compute each token by itself and need no padding; attention does. It also
needs the heads apart, so one gather does both: tf.transpose would move everything a second time.

B batch  S length  P tokens that are kept  N heads  D d_kv
"""

from typing import NamedTuple

import tensorflow as tf

from switch_zoo.keras.shapes import static_size


class WithoutPadding(NamedTuple):
  """Which tokens are kept, and where their heads are.

  kept: <int64>[P], their positions among all B * S, ascending
  apart: <int32>[B, N, S], rows of all tokens' heads in [P * N, D]; a token that is not kept has those of its text's
    first
  together: <int32>[P, N], rows of the kept tokens' heads in [B * N * S, D]
  first: <int32>[P], the kept token with which the text of each begins
  """

  kept: tf.Tensor
  apart: tf.Tensor
  together: tf.Tensor
  first: tf.Tensor

  @classmethod
  def keeping(cls, real: tf.Tensor, heads: int) -> 'WithoutPadding':
    """Keeps real tokens, and the first token of each text, which represents its padding. <bool>[B, S], N"""
    keep = tf.concat([tf.ones_like(real[:, :1]), real[:, 1:]], 1)
    order = tf.reshape(tf.cumsum(tf.cast(tf.reshape(keep, [-1]), tf.int32)) - 1, tf.shape(real))
    apart = tf.where(keep, order, order[:, :1])[:, None] * heads + tf.range(heads)[:, None]
    kept = tf.where(tf.reshape(keep, [-1]))[:, 0]
    rows = tf.transpose(tf.reshape(tf.range(tf.size(apart)), tf.shape(apart)), [0, 2, 1])
    begins = tf.broadcast_to(order[:, :1], tf.shape(order))
    together = tf.gather(tf.reshape(rows, [-1, heads]), kept)
    return cls(kept, apart, together, tf.gather(tf.reshape(begins, [-1]), kept))

  def pack(self, x: tf.Tensor) -> tf.Tensor:
    """[B, S] -> [P]"""
    return tf.gather(tf.reshape(x, [-1]), self.kept)

  def split_heads(self, x: tf.Tensor) -> tf.Tensor:
    """[P, N * D] -> [B, N, S, D]; padding is a copy of its text's first token, which attention must mask there."""
    return tf.gather(tf.reshape(x, [-1, static_size(x, 1) // static_size(self.apart, 1)]), self.apart)

  def join_heads(self, x: tf.Tensor) -> tf.Tensor:
    """[B, N, S, D] -> [P, N * D]"""
    heads, width = static_size(x, 1), static_size(x, 3)
    return tf.reshape(tf.gather(tf.reshape(x, [-1, width]), self.together), [-1, heads * width])
