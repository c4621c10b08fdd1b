"""T5's attention: scores are not scaled, there are no biases, and positions enter as a learned bias on the scores.

B batch  T queries  S keys  N heads  D d_kv  M d_model
"""

import math
from typing import Any, NamedTuple

import tensorflow as tf
from tensorflow import keras

from switch_zoo.keras.layers import Layer
from switch_zoo.spec.shape import DROPOUT_RATE, MAX_RELATIVE_DISTANCE

# Added to the scores of keys that are masked. Finite, so that a row in which every key is masked has no NaN.
MASK_BIAS = -1e9


class Memory(NamedTuple):
  """Keys and values, each <float>[B, N, S, D]."""

  keys: tf.Tensor
  values: tf.Tensor


class Attention(Layer):
  """The weights and sums that self-attention and attention over the encoder share."""

  def __init__(
    self, d_model: int, num_heads: int, d_kv: int, dropout_rate: float = DROPOUT_RATE, **kwargs: Any
  ) -> None:
    """
    Args:
      d_model: M
      num_heads, d_kv: N and D; N x D need not be M
      dropout_rate: of the attention weights, the same for all queries of a sequence
      **kwargs: of keras.layers.Layer
    """
    super().__init__(**kwargs)
    self.d_model, self.num_heads, self.d_kv, self.dropout_rate = d_model, num_heads, d_kv, dropout_rate
    inner = num_heads * d_kv
    # The scores are not divided by sqrt(D): the initial queries are smaller by that factor instead.
    self.q = self.normal('q', [d_model, inner], (d_model * d_kv) ** -0.5)
    self.k = self.normal('k', [d_model, inner], d_model**-0.5)
    self.v = self.normal('v', [d_model, inner], d_model**-0.5)
    self.o = self.normal('o', [inner, d_model], inner**-0.5)
    self.dropout = keras.layers.Dropout(dropout_rate, noise_shape=(None, None, 1, None))

  def get_config(self) -> dict[str, Any]:
    own_config = {'d_model': self.d_model, 'num_heads': self.num_heads, 'd_kv': self.d_kv}
    return {**super().get_config(), **own_config, 'dropout_rate': self.dropout_rate}

  def memory(self, x: tf.Tensor) -> Memory:
    """Keys and values of what is attended to. <float>[B, S, M] -> Memory"""
    return Memory(self._heads(tf.matmul(x, self.k)), self._heads(tf.matmul(x, self.v)))

  def attend(self, x: tf.Tensor, memory: Memory, bias: tf.Tensor, training: bool = False) -> tf.Tensor:
    """
    Args:
      x: <float>[B, T, M]
      memory: Memory
      bias: <float>, broadcast to [B, N, T, S]
      training: whether attention weights are dropped
    Returns:
      <float>[B, T, M]
    """
    queries = self._heads(tf.matmul(x, self.q))
    scores = tf.matmul(queries, memory.keys, transpose_b=True) + tf.cast(bias, x.dtype)
    # Softmax in float32, as the released models were trained.
    weights = tf.cast(tf.nn.softmax(tf.cast(scores, tf.float32)), x.dtype)
    attended = tf.matmul(self.dropout(weights, training=training), memory.values)
    attended = tf.transpose(attended, [0, 2, 1, 3])
    shape = tf.shape(x)
    return tf.matmul(tf.reshape(attended, [shape[0], shape[1], self.num_heads * self.d_kv]), self.o)

  def _heads(self, x: tf.Tensor) -> tf.Tensor:
    """<float>[B, T, N * D] -> <float>[B, N, T, D]"""
    shape = tf.shape(x)
    return tf.transpose(tf.reshape(x, [shape[0], shape[1], self.num_heads, self.d_kv]), [0, 2, 1, 3])


class SelfAttention(Attention):
  """Self-attention; the first one of a stack holds the relative positions for all of them."""

  def __init__(self, d_model: int, num_heads: int, d_kv: int, buckets: int = 0, **kwargs: Any) -> None:
    """
    Args:
      d_model, num_heads, d_kv: as in `Attention`
      buckets: of relative positions; 0: this layer holds none
      **kwargs: of `Attention`
    """
    super().__init__(d_model, num_heads, d_kv, **kwargs)
    self.buckets = buckets
    if buckets:
      self.relative_attention_bias = self.normal('relative_attention_bias', [num_heads, buckets], d_model**-0.5)

  def get_config(self) -> dict[str, Any]:
    return {**super().get_config(), 'buckets': self.buckets}

  def call(self, x: tf.Tensor, bias: tf.Tensor, training: bool = False) -> tf.Tensor:
    """<float>[B, T, M], <float>[B or 1, N, T, T] -> <float>[B, T, M]"""
    return self.attend(x, self.memory(x), bias, training)

  def position_bias(self, queries: tf.Tensor, keys: tf.Tensor, bidirectional: bool) -> tf.Tensor:
    """The learned bias of each pair of positions.

    Args:
      queries: <int32>[T], positions
      keys: <int32>[S], positions
      bidirectional: False where later keys are masked anyway
    Returns:
      <float>[1, N, T, S]
    """
    buckets = relative_bucket(keys[None, :] - queries[:, None], self.buckets, bidirectional)
    return tf.gather(tf.convert_to_tensor(self.relative_attention_bias), buckets, axis=1)[None]


class EncDecAttention(Attention):
  """Attention of the decoder over the encoder's output."""

  def call(self, x: tf.Tensor, encoded: tf.Tensor, bias: tf.Tensor, training: bool = False) -> tf.Tensor:
    """<float>[B, T, M], <float>[B, S, M], <float>[B, 1, 1, S] -> <float>[B, T, M]"""
    return self.attend(x, self.memory(encoded), bias, training)


def relative_bucket(distance: tf.Tensor, num_buckets: int, bidirectional: bool) -> tf.Tensor:
  """The bucket of a relative position: exact for near ones, logarithmic up to 128, the same for all beyond.

  Source: arXiv:1910.10683, section 2.1.

  Args:
    distance: <int32>[...], position of the key minus that of the query
    num_buckets: total number of buckets
    bidirectional: whether half of them are for keys after the query
  Returns:
    <int32>[...]
  """
  after = tf.zeros_like(distance)
  if bidirectional:
    num_buckets //= 2
    after = tf.cast(distance > 0, tf.int32) * num_buckets
    distance = tf.abs(distance)
  else:
    distance = tf.maximum(-distance, 0)
  num_exact = num_buckets // 2
  # The maximum avoids the logarithm of 0 for distances whose bucket is exact anyway.
  ratio = tf.math.log(tf.cast(tf.maximum(distance, 1), tf.float32) / num_exact)
  ratio /= math.log(MAX_RELATIVE_DISTANCE / num_exact)
  far = tf.minimum(num_exact + tf.cast(ratio * (num_buckets - num_exact), tf.int32), num_buckets - 1)
  return after + tf.where(distance < num_exact, distance, far)
