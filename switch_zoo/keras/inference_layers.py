"""The layers of a model for inference: T5's, and experts of which only those that were chosen are computed.

Each has two forms: for whole sequences, and for one token of each sequence, where what counts is not the arithmetic but
how it is handed to the processor (products.py).

B batch  T queries  S keys  C room in a cache  N heads  D d_kv  M d_model  H d_ff  K choices of a token  R rows
P tokens that are no padding (packing.py)
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

from switch_zoo.keras.attention import Memory
from switch_zoo.keras.layers import activated, checked_activation, inward_names
from switch_zoo.keras.products import Matrix, product_of_few, softmax_of_few
from switch_zoo.keras.routing import TopK
from switch_zoo.keras.sparse import by_expert, by_expert_few
from switch_zoo.spec.shape import NORM_EPSILON
from switch_zoo.spec.sublayers import ATTENTION, EXPERTS


class Weights(NamedTuple):
  """The weights below a scope.

  read: Mesh-TensorFlow's name of a variable -> its value
  dtype: they are wanted in
  scope: 'encoder/block_000/layer_001'; '' for all
  """

  read: Callable[[str], Any]
  dtype: tf.DType
  scope: str = ''

  def below(self, scope):
    """The weights of a scope inside this one."""
    return self._replace(scope=f'{self.scope}/{scope}' if self.scope else scope)

  def matrix(self, name):
    """A Matrix."""
    return Matrix(self.value(name), self.dtype)

  def variable(self, name):
    """A tf.Variable."""
    return tf.Variable(tf.cast(self.value(name), self.dtype), trainable=False)

  def value(self, name):
    """A value as it is stored."""
    return self.read(f'{self.scope}/{name}' if self.scope else name)


class Norm(tf.Module):
  """RMS norm."""

  def __init__(self, weights):
    super().__init__()
    self.scale = weights.below('rms_norm').variable('scale')

  def __call__(self, x):
    wide = tf.cast(x, tf.float32)
    factor = tf.math.rsqrt(tf.reduce_mean(tf.square(wide), -1, keepdims=True) + NORM_EPSILON)
    return tf.cast(wide * factor, x.dtype) * self.scale


class Attention(tf.Module):
  """Self-attention, or attention over the encoder."""

  def __init__(self, config, weights):
    super().__init__()
    self.heads, self.d_kv = config.num_heads, config.d_kv
    self.q, self.k, self.v, self.o = (weights.matrix(name) for name in 'qkvo')

  def memory(self, x, packing):
    """<float>[P, M] -> Memory of [B, N, S, D]"""
    return Memory(packing.split(self.k.times(x)), packing.split(self.v.times(x)))

  def attend(self, x, memory, bias, packing):
    """<float>[P, M], Memory, <float>[B or 1, N or 1, T, S], Packing of B x T -> <float>[P, M]"""
    scores = tf.matmul(packing.split(self.q.times(x)), memory.keys, transpose_b=True) + bias
    # In float32, as the released models were trained; the sum of many bfloat16 numbers would be off by percents.
    likely = tf.cast(tf.nn.softmax(tf.cast(scores, tf.float32)), scores.dtype)
    return self.o.times(packing.join(tf.matmul(likely, memory.values)))

  def attend_once(self, x, memory, bias):
    """The same for one query of each sequence.

    Args:
      x: <float>[B, M]
      memory: Memory; keys and values may be of different types
      bias: of the keys' type, [B or 1, N or 1, 1, S]
    Returns:
      <float>[B, M]
    """
    queries = self.of_one(self.q.times_few(x))
    scores = product_of_few(queries, memory.keys, transpose_b=True) + bias
    seen = tf.cast(product_of_few(softmax_of_few(tf.cast(scores, tf.float32)), memory.values), x.dtype)
    return self.o.times_few(tf.reshape(seen, [-1, self.heads * self.d_kv]))

  def of_one(self, x):
    """<float>[B, N * D] -> <float>[B, N, 1, D]"""
    return tf.reshape(x, [-1, self.heads, 1, self.d_kv])

  def remember(self, x, cache, rows):
    """Writes one more token into a cache, which must be nobody else's; what is returned takes its place.

    Args:
      x: <float>[B, M]
      cache: Memory of <float32>[B, N, C, D]
      rows: <int32>[B * N], the token's places in a cache seen as [B * N * C, D]
    """
    keys, values = self.k.times_few(x), self.v.times_few(x)
    return Memory(self._written(cache.keys, keys, rows), self._written(cache.values, values, rows))

  def _written(self, cache, new, rows):
    # tf.tensor_scatter_nd_update copies the whole cache for every token, even where nobody else reads it.
    flat, new = (tf.reshape(part, [-1, self.d_kv]) for part in (cache, tf.cast(new, cache.dtype)))
    return tf.reshape(tf.raw_ops.InplaceUpdate(x=flat, i=rows, v=new), tf.shape(cache))


class FeedForward(tf.Module):
  """The dense layer, or that with experts."""

  def __init__(self, config, weights, sparse):
    super().__init__()
    self.activation = checked_activation(config.ff_activation)
    self.inward = [weights.matrix(f'{name}/kernel') for name in inward_names(self.activation)]
    self.wo = weights.matrix('wo/kernel')
    self.router = None
    if sparse:
      self.choice = TopK.of(config.router, config.experts_per_token)
      self.router = weights._replace(dtype=tf.float32).variable(f'{config.router_kernels[0]}/kernel')

  def __call__(self, x):
    """<float>[R, M] -> <float>[R, M]"""
    return self._through(by_expert, x, Matrix.times)

  def few(self, x):
    """The same for few rows."""
    return self._through(by_expert_few, x, Matrix.times_few)

  def _through(self, each_by_its_expert, x, times):
    network = functools.partial(self._network, times=times)
    if self.router is None:
      return network(x)
    expert, gate = self.choice.best(softmax_of_few(tf.matmul(tf.cast(x, tf.float32), self.router)))
    k = self.choice.k
    rows = x if k == 1 else tf.repeat(x, k, axis=0)  # a row for each choice of a token
    y = each_by_its_expert(rows, tf.reshape(expert, [-1]), network) * tf.cast(tf.reshape(gate, [-1, 1]), x.dtype)
    return y if k == 1 else tf.reduce_sum(tf.reshape(y, [-1, k, y.shape[-1]]), 1)

  def _network(self, x, expert=None, *, times):
    factors = [times(matrix, x, expert) for matrix in self.inward]
    return times(self.wo, activated(factors, self.activation), expert)


class Sublayer(tf.Module):
  """A norm and what follows it, added to what was there."""

  def __init__(self, config, weights, scope):
    super().__init__()
    self.scope = scope
    self.norm = Norm(weights)
    if scope in ATTENTION:
      self.layer = Attention(config, weights.below(scope))
    else:
      self.layer = FeedForward(config, weights.below(scope), scope == EXPERTS)

  def attend_itself(self, x, bias, packing):
    """<float>[P, M], bias as `Attention.attend`, Packing -> <float>[P, M]"""
    y = self.norm(x)
    return x + self.layer.attend(y, self.layer.memory(y, packing), bias, packing)

  def attend_inputs(self, x, memory, bias, packing):
    """<float>[P, M], Memory and bias as `Attention.attend`, Packing of x -> <float>[P, M]"""
    return x + self.layer.attend(self.norm(x), memory, bias, packing)

  def compute(self, x):
    """<float>[P, M] -> <float>[P, M]"""
    return x + self.layer(self.norm(x))

  def attend_itself_once(self, x, cache, bias, rows):
    """<float>[B, M], cache and rows as `Attention.remember` -> <float>[B, M] and the cache"""
    y = self.norm(x)
    cache = self.layer.remember(y, cache, rows)
    return x + self.layer.attend_once(y, cache, bias), cache

  def attend_inputs_once(self, x, memory, bias):
    """<float>[B, M], Memory and bias as `Attention.attend_once` -> <float>[B, M]"""
    return x + self.layer.attend_once(self.norm(x), memory, bias)

  def compute_few(self, x):
    """<float>[B, M] -> <float>[B, M]"""
    return x + self.layer.few(self.norm(x))


class Block(tf.Module):
  """The sublayers that a stack repeats."""

  def __init__(self, config, weights, scopes):
    super().__init__()
    self.sublayers = [
      Sublayer(config, weights.below(f'layer_{index:03d}'), scope) for index, scope in enumerate(scopes)
    ]

  def memories(self, encoded, packing):
    """What its attentions over the encoder read of it. <float>[P, M], Packing -> Memory of [B, N, S, D] of each"""
    return tuple(s.layer.memory(encoded, packing) for s in self.sublayers if s.scope == 'EncDecAttention')

  def read(self, x, bias, packing, memories=(), hidden=None):
    """Whole sequences.

    Args:
      x: <float>[P, M]
      bias: of the self-attentions, as `Attention.attend`
      packing: Packing of x
      memories: of `memories`
      hidden: bias of the attentions over the encoder
    Returns:
      <float>[P, M]
    """
    memories = iter(memories)
    for sublayer in self.sublayers:
      if sublayer.scope == 'SelfAttention':
        x = sublayer.attend_itself(x, bias, packing)
      elif sublayer.scope == 'EncDecAttention':
        x = sublayer.attend_inputs(x, next(memories), hidden, packing)
      else:
        x = sublayer.compute(x)
    return x

  def read_one(self, x, caches, bias, rows, memories, hidden):
    """One token of each sequence.

    Args:
      x: <float>[B, M]
      caches, bias, rows: of the self-attentions, as `Attention.remember`
      memories, hidden: as `read`
    Returns:
      <float>[B, M], and the caches with this token
    """
    caches, memories, kept = iter(caches), iter(memories), []
    for sublayer in self.sublayers:
      if sublayer.scope == 'SelfAttention':
        x, cache = sublayer.attend_itself_once(x, next(caches), bias, rows)
        kept.append(cache)
      elif sublayer.scope == 'EncDecAttention':
        x = sublayer.attend_inputs_once(x, next(memories), hidden)
      else:
        x = sublayer.compute_few(x)
    return x, tuple(kept)
