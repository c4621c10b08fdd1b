"""The layers of a model for inference: T5's, and experts of which only those that were chosen are computed.

Each has two forms: for whole sequences, and for one token of each sequence, where the time goes not into arithmetic but
into how it is handed to the CPU (products.py).

B batch  T queries  S keys  C capacity of a cache in tokens  N heads  D d_kv  M d_model  H d_ff  K choices of a token
R rows  P tokens without padding (without_padding.py)
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

from switch_zoo.keras.attention import Memory
from switch_zoo.keras.layers import activated, checked_activation, inward_names
from switch_zoo.keras.products import Matrix, product_of_few, softmax_of_few
from switch_zoo.keras.routing import TopK
from switch_zoo.keras.sequence_slots import with_room
from switch_zoo.keras.shapes import static_size
from switch_zoo.keras.sparse import ExpertNetwork, by_expert, by_expert_few
from switch_zoo.keras.without_padding import WithoutPadding
from switch_zoo.spec.config import ModelConfig
from switch_zoo.spec.shape import NORM_EPSILON


class ScopedWeights(NamedTuple):
  """The weights below a scope.

  read: Mesh-TensorFlow's name of a variable -> its value
  dtype: what they are cast to
  scope: 'encoder/block_000/layer_001'; '' for all
  """

  read: Callable[[str], Any]
  dtype: tf.DType
  scope: str = ''

  def below(self, scope: str) -> 'ScopedWeights':
    """The weights of a scope inside this one."""
    return self._replace(scope=f'{self.scope}/{scope}' if self.scope else scope)

  def matrix(self, name: str) -> Matrix:
    """A variable as a Matrix."""
    return Matrix(self.value(name), self.dtype)

  def variable(self, name: str) -> tf.Variable:
    """A variable as a tf.Variable that is not trained."""
    return tf.Variable(tf.cast(self.value(name), self.dtype), trainable=False)

  def value(self, name: str) -> Any:
    """The value of a variable as it is stored."""
    return self.read(f'{self.scope}/{name}' if self.scope else name)


class InferenceNorm(tf.Module):
  """RMS norm."""

  def __init__(self, weights: ScopedWeights) -> None:
    super().__init__()
    self.scale = weights.below('rms_norm').variable('scale')

  def __call__(self, x: tf.Tensor) -> tf.Tensor:
    """<float>[..., M] -> same shape and dtype"""
    wide = tf.cast(x, tf.float32)
    factor = tf.math.rsqrt(tf.reduce_mean(tf.square(wide), -1, keepdims=True) + NORM_EPSILON)
    return tf.cast(wide * factor, x.dtype) * self.scale


class InferenceAttention(tf.Module):
  """Self-attention, or attention over the encoder."""

  def __init__(self, config: ModelConfig, weights: ScopedWeights) -> None:
    super().__init__()
    self.heads, self.d_kv = config.num_heads, config.d_kv
    self.q, self.k, self.v, self.o = (weights.matrix(name) for name in 'qkvo')

  def memory(self, x: tf.Tensor, packing: WithoutPadding) -> Memory:
    """<float>[P, M] -> Memory of [B, N, S, D]"""
    return Memory(packing.split_heads(self.k.times(x)), packing.split_heads(self.v.times(x)))

  def attend(self, x: tf.Tensor, memory: Memory, bias: tf.Tensor, packing: WithoutPadding) -> tf.Tensor:
    """
    Args:
      x: <float>[P, M]
      memory: Memory of [B, N, S, D]
      bias: <float>[B or 1, N or 1, T, S]
      packing: of x, from [B, T]
    Returns:
      <float>[P, M]
    """
    scores = tf.matmul(packing.split_heads(self.q.times(x)), memory.keys, transpose_b=True) + bias
    # In float32, as the released models were trained; a sum of many bfloat16 numbers would be off by percents.
    weights = tf.cast(tf.nn.softmax(tf.cast(scores, tf.float32)), scores.dtype)
    return self.o.times(packing.join_heads(tf.matmul(weights, memory.values)))

  def attend_once(self, x: tf.Tensor, memory: Memory, bias: tf.Tensor) -> tf.Tensor:
    """The same for one query of each sequence.

    Args:
      x: <float>[B, M]
      memory: Memory; keys and values may have different dtypes
      bias: of the keys' dtype, [B or 1, N or 1, 1, S]
    Returns:
      <float>[B, M]
    """
    queries = tf.reshape(self.q.times_few(x), [-1, self.heads, 1, self.d_kv])
    scores = product_of_few(queries, memory.keys, transpose_b=True) + bias
    attended = tf.cast(product_of_few(softmax_of_few(tf.cast(scores, tf.float32)), memory.values), x.dtype)
    return self.o.times_few(tf.reshape(attended, [-1, self.heads * self.d_kv]))

  def remember(self, x: tf.Tensor, cache: Memory, rows: tf.Tensor) -> Memory:
    """Writes one more token into a cache, which nothing else may hold; the returned one replaces it.

    Args:
      x: <float>[B, M]
      cache: Memory of <float32>[B, N, C, D]
      rows: <int32>[B * N], the token's rows in a cache seen as [B * N * C, D]
    """
    keys, values = self.k.times_few(x), self.v.times_few(x)
    return Memory(self._written(cache.keys, keys, rows), self._written(cache.values, values, rows))

  def _written(self, cache: tf.Tensor, new: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
    # tf.tensor_scatter_nd_update copies the whole cache for every token, even if nothing else reads it.
    flat, new = (tf.reshape(part, [-1, self.d_kv]) for part in (cache, tf.cast(new, cache.dtype)))
    return tf.reshape(tf.raw_ops.InplaceUpdate(x=flat, i=rows, v=new), tf.shape(cache))


class InferenceFeedForward(tf.Module):
  """The dense layer, or the one with experts."""

  def __init__(
    self, config: ModelConfig, weights: ScopedWeights, sparse: bool, expert_capacity: int | None = None
  ) -> None:
    """
    Args:
      config: ModelConfig
      weights: of the layer
      sparse: whether it has experts
      expert_capacity: tokens of a sequence that an expert has room for; None: all
    Raises:
      UserError: the layer has a router that runs in Mesh-TensorFlow only
    """
    super().__init__()
    self.activation = checked_activation(config.ff_activation)
    self.inward = [weights.matrix(f'{name}/kernel') for name in inward_names(self.activation)]
    self.wo = weights.matrix('wo/kernel')
    self.router, self.expert_capacity = None, expert_capacity
    if sparse:
      self.choice = TopK.named(config.router, config.experts_per_token)
      self.router = weights._replace(dtype=tf.float32).variable(f'{config.router_kernels[0]}/kernel')

  def __call__(self, x: tf.Tensor, first: tf.Tensor | None = None) -> tf.Tensor:
    """Whole sequences, whose tokens beyond the capacity of their expert come back as zeros.

    Args:
      x: <float>[P, M]
      first: <int32>[P], as in `WithoutPadding`; None: every expert has room
    Returns:
      <float>[P, M]
    """
    return self._through(by_expert, x, Matrix.times, first)

  def few(self, x: tf.Tensor) -> tf.Tensor:
    """One token of each sequence, for which every expert has room. <float>[R, M] -> <float>[R, M]"""
    return self._through(by_expert_few, x, Matrix.times_few)

  def _through(
    self,
    dispatch: Callable[[tf.Tensor, tf.Tensor, ExpertNetwork], tf.Tensor],
    x: tf.Tensor,
    times: Callable[..., tf.Tensor],
    first: tf.Tensor | None = None,
  ) -> tf.Tensor:
    network = functools.partial(self._network, times=times)
    if self.router is None:
      return network(x)
    expert, gate = self.choice.best(softmax_of_few(tf.matmul(tf.cast(x, tf.float32), self.router)))
    k, expert = self.choice.k, tf.reshape(expert, [-1])
    if first is not None and self.expert_capacity is not None:  # k is 1 then
      expert = with_room(expert, first, static_size(self.router, 1), self.expert_capacity)
    rows = x if k == 1 else tf.repeat(x, k, axis=0)  # a row for each choice of a token
    y = dispatch(rows, expert, network) * tf.cast(tf.reshape(gate, [-1, 1]), x.dtype)
    return y if k == 1 else tf.reduce_sum(tf.reshape(y, [-1, k, y.shape[-1]]), 1)

  def _network(self, x: tf.Tensor, expert: tf.Tensor | None = None, *, times: Callable[..., tf.Tensor]) -> tf.Tensor:
    factors = [times(matrix, x, expert) for matrix in self.inward]
    return times(self.wo, activated(factors, self.activation), expert)
