"""T5's attention: no scaling of the scores, no biases, positions as a learned bias of the scores.

B batch  T queries  S keys  N heads  D d_kv  M d_model
"""

import math
from typing import NamedTuple

import tensorflow as tf
from tensorflow import keras

from switch_zoo.keras.layers import Layer
from switch_zoo.spec.shape import DROPOUT_RATE, MAX_RELATIVE_DISTANCE

# Added to the scores of what must not be seen. Finite: a row in which everything is hidden stays a number.
HIDDEN = -1e9


class Memory(NamedTuple):
  """Keys and values, each <float>[B, N, S, D]."""

  keys: tf.Tensor
  values: tf.Tensor


class Attention(Layer):
  """The weights and the sums that self-attention and attention over the encoder share."""

  def __init__(self, d_model, num_heads, d_kv, dropout_rate=DROPOUT_RATE, **kwargs):
    """
    Args:
      d_model: M
      num_heads, d_kv: N and D; N x D need not be M
      dropout_rate: of the attention weights, the same for all queries of a sequence
    """
    super().__init__(**kwargs)
    self.d_model, self.num_heads, self.d_kv, self.dropout_rate = d_model, num_heads, d_kv, dropout_rate
    inner = num_heads * d_kv
    # The scores are not divided by sqrt(D): the first queries are that much smaller instead.
    self.q = self.normal('q', [d_model, inner], (d_model * d_kv) ** -0.5)
    self.k = self.normal('k', [d_model, inner], d_model**-0.5)
    self.v = self.normal('v', [d_model, inner], d_model**-0.5)
    self.o = self.normal('o', [inner, d_model], inner**-0.5)
    self.dropout = keras.layers.Dropout(dropout_rate, noise_shape=(None, None, 1, None))

  def get_config(self):
    own = {'d_model': self.d_model, 'num_heads': self.num_heads, 'd_kv': self.d_kv}
    return {**super().get_config(), **own, 'dropout_rate': self.dropout_rate}

  def memory(self, x):
    """Keys and values of what is attended to. <float>[B, S, M] -> Memory"""
    return Memory(self._heads(tf.matmul(x, self.k)), self._heads(tf.matmul(x, self.v)))

  def attend(self, x, memory, bias, training=False):
    """
    Args:
      x: <float>[B, T, M]
      memory: Memory
      bias: <float>, broadcast to [B, N, T, S]
      training: bool
    Returns:
      <float>[B, T, M]
    """
    queries = self._heads(tf.matmul(x, self.q))
    scores = tf.matmul(queries, memory.keys, transpose_b=True) + tf.cast(bias, x.dtype)
    # Softmax in float32, as the released models were trained.
    weights = tf.cast(tf.nn.softmax(tf.cast(scores, tf.float32)), x.dtype)
    seen = tf.matmul(self.dropout(weights, training=training), memory.values)
    seen = tf.transpose(seen, [0, 2, 1, 3])
    shape = tf.shape(x)
    return tf.matmul(tf.reshape(seen, [shape[0], shape[1], self.num_heads * self.d_kv]), self.o)

  def _heads(self, x):
    """<float>[B, T, N * D] -> <float>[B, N, T, D]"""
    shape = tf.shape(x)
    return tf.transpose(tf.reshape(x, [shape[0], shape[1], self.num_heads, self.d_kv]), [0, 2, 1, 3])


class SelfAttention(Attention):
  """Self-attention; the first one of a stack holds the relative positions of all of them."""

  def __init__(self, d_model, num_heads, d_kv, buckets=0, **kwargs):
    """
    Args:
      d_model, num_heads, d_kv: as `Attention`
      buckets: of relative positions; 0: none are held here
    """
    super().__init__(d_model, num_heads, d_kv, **kwargs)
    self.buckets = buckets
    if buckets:
      self.relative_attention_bias = self.normal('relative_attention_bias', [num_heads, buckets], d_model**-0.5)

  def get_config(self):
    return {**super().get_config(), 'buckets': self.buckets}

  def call(self, x, bias, training=False):
    """<float>[B, T, M], <float>[B or 1, N, T, T] -> <float>[B, T, M]"""
    return self.attend(x, self.memory(x), bias, training)

  def position_bias(self, queries, keys, bidirectional):
    """The learned bias of each pair of positions.

    Args:
      queries: <int32>[T], positions
      keys: <int32>[S], positions
      bidirectional: False where later keys are hidden anyway
    Returns:
      <float>[1, N, T, S]
    """
    buckets = relative_bucket(keys[None, :] - queries[:, None], self.buckets, bidirectional)
    return tf.gather(tf.convert_to_tensor(self.relative_attention_bias), buckets, axis=1)[None]


class EncDecAttention(Attention):
  """Attention of the decoder over the encoder's output."""

  def call(self, x, encoded, bias, training=False):
    """<float>[B, T, M], <float>[B, S, M], <float>[B, 1, 1, S] -> <float>[B, T, M]"""
    return self.attend(x, self.memory(encoded), bias, training)


def relative_bucket(distance, num_buckets, bidirectional):
  """The bucket of a relative position: exact when near, logarithmic up to 128, one for all beyond.

  Source: arXiv:1910.10683, section 2.1.

  Args:
    distance: <int32>[...], position of the key less that of the query
    num_buckets: buckets in all
    bidirectional: whether half of them are for keys that come later
  Returns:
    <int32>[...]
  """
  later = tf.zeros_like(distance)
  if bidirectional:
    num_buckets //= 2
    later = tf.cast(distance > 0, tf.int32) * num_buckets
    distance = tf.abs(distance)
  else:
    distance = tf.maximum(-distance, 0)
  exact = num_buckets // 2
  # The maximum keeps the logarithm of 0 away from positions that do not use it.
  ratio = tf.math.log(tf.cast(tf.maximum(distance, 1), tf.float32) / exact) / math.log(MAX_RELATIVE_DISTANCE / exact)
  far = tf.minimum(exact + tf.cast(ratio * (num_buckets - exact), tf.int32), num_buckets - 1)
  return later + tf.where(distance < exact, distance, far)
