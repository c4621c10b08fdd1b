"""A Keras model's weights, laid out for reading one token after the other: encoder once, then steps of the decoder.

Matrices that read the same input are joined (queries, keys and values), and in bfloat16 all lie transposed, which the
processor's kernels read faster; values are those of the Keras model. Nothing here trains.

B batch  S input tokens  t targets so far  N heads  D d_kv  M d_model  V vocabulary  R rows (B, or B x S)
"""
import contextlib
from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

from switch_zoo.config import ATTENTION, EXPERTS
from switch_zoo.keras.attention import HIDDEN, Memory, relative_bucket
from switch_zoo.keras.layers import ACTIVATIONS, EPSILON, checked_activation, inward_names
from switch_zoo.keras.routing import TopK
from switch_zoo.keras.sparse import by_expert

PADDING = 0


class Encoded(NamedTuple):
  """What the decoder reads of the inputs.

  memories: of each layer of the decoder, Memory of [B, N, S, D]
  bias: <float>[B, 1, 1, S], HIDDEN for padding
  """

  memories: tuple[Memory, ...]
  bias: tf.Tensor


class Matrix(tf.Module):
  """One or several matrices that read the same input, [M, ...] or, of experts, [E, M, ...]."""

  def __init__(self, parts, dtype):
    super().__init__()
    joined = tf.cast(tf.concat([tf.convert_to_tensor(part) for part in parts], -1), dtype)
    self.transposed = dtype == tf.bfloat16
    self.weight = tf.Variable(tf.linalg.matrix_transpose(joined) if self.transposed else joined, trainable=False)

  def times(self, x, expert=None):
    """<float>[R, M] -> <float>[R, outputs], with an expert's matrix where there are several."""
    weight = self.weight if expert is None else tf.convert_to_tensor(self.weight)[expert]
    return tf.matmul(x, weight, transpose_b=self.transposed)


@contextlib.contextmanager
def read_once(module):
  """Inside, the variables of a module are tensors, read now: a loop would read them anew in each of its steps."""
  parts = [module, *module.submodules]
  held = [(part, name, value) for part in parts for name, value in vars(part).items() if isinstance(value, tf.Variable)]
  for part, name, variable in held:
    setattr(part, name, tf.convert_to_tensor(variable))
  try:
    yield
  finally:
    for part, name, variable in held:
      setattr(part, name, variable)


def softmax(x):
  """tf.nn.softmax in parts: for the few numbers of one step that operation takes several times as long.

  <float32>[..., n] -> same shape
  """
  likely = tf.exp(x - tf.reduce_max(x, -1, keepdims=True))
  return likely / tf.reduce_sum(likely, -1, keepdims=True)


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

  def matrix(self, *names):
    """The Matrix of some variables that read the same input."""
    return Matrix([self.value(name) for name in names], self.dtype)

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
    factor = tf.math.rsqrt(tf.reduce_mean(tf.square(wide), -1, keepdims=True) + EPSILON)
    return tf.cast(wide * factor, x.dtype) * self.scale


class Attention(tf.Module):
  """Self-attention (`qkv`, `o`), or attention over the encoder (`q`, `kv`, `o`)."""

  def __init__(self, config, weights, over_encoder):
    super().__init__()
    self.heads, self.d_kv = config.num_heads, config.d_kv
    self.o = weights.matrix('o')
    if over_encoder:
      self.q, self.kv = weights.matrix('q'), weights.matrix('k', 'v')
    else:
      self.qkv = weights.matrix('q', 'k', 'v')

  def split(self, x, parts, batch):
    """<float>[B * T, parts * N * D] -> parts times <float>[B, N, T, D]"""
    length = tf.shape(x)[0] // tf.maximum(batch, 1)
    x = tf.reshape(x, [batch, length, parts, self.heads, self.d_kv])
    return tf.unstack(tf.transpose(x, [2, 0, 3, 1, 4]), num=parts)

  def attend(self, queries, memory, bias):
    """<float>[B, N, T, D], Memory, <float>[B or 1, N or 1, T, S] -> <float>[B * T, M]"""
    scores = tf.matmul(queries, memory.keys, transpose_b=True) + bias
    weights = tf.cast(softmax(tf.cast(scores, tf.float32)), queries.dtype)
    seen = tf.transpose(tf.matmul(weights, memory.values), [0, 2, 1, 3])
    return self.o.times(tf.reshape(seen, [-1, self.heads * self.d_kv]))


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

  def __call__(self, x, real):
    """<float>[R, M], <bool>[R] -> <float>[R, M]"""
    if self.router is None:
      return self._network(x)
    probabilities = softmax(tf.matmul(tf.cast(x, tf.float32), self.router))
    expert, gate = self.choice.best(probabilities, real)
    k = self.choice.k
    y = by_expert(tf.repeat(x, k, axis=0) if k > 1 else x, tf.reshape(expert, [-1]), self._network)
    y *= tf.cast(tf.reshape(gate, [-1, 1]), y.dtype)
    return tf.reduce_sum(tf.reshape(y, [-1, k, x.shape[-1]]), 1) if k > 1 else y

  def _network(self, x, expert=None):
    hidden = None
    for name, matrix in zip(self.activation, self.inward, strict=True):
      factor = ACTIVATIONS[name](matrix.times(x, expert))
      hidden = factor if hidden is None else hidden * factor
    return self.wo.times(hidden, expert)


class Sublayer(tf.Module):
  """A norm and what follows it."""

  def __init__(self, config, weights, scope):
    super().__init__()
    self.scope = scope
    self.norm = Norm(weights)
    if scope in ATTENTION:
      self.layer = Attention(config, weights.below(scope), scope == 'EncDecAttention')
    else:
      self.layer = FeedForward(config, weights.below(scope), scope == EXPERTS)


class Inference(tf.Module):
  """A model for generation and scoring; `SwitchTransformer.for_inference` makes one."""

  def __init__(self, config, read, dtype):
    """Args:
      config: ModelConfig
      read: Mesh-TensorFlow's name of a variable -> its value; called once for each, so that a checkpoint need not be
        in memory
      dtype: of weights and activations
    Raises:
      UserError: the model has a router that runs in Mesh-TensorFlow only
    """
    super().__init__()
    self.config, self.dtype = config, tf.as_dtype(dtype)
    weights = Weights(read, self.dtype)
    self.encoder, self.encoder_norm = self._stack(weights.below('encoder'), config.encoder_block)
    self.decoder, self.decoder_norm = self._stack(weights.below('decoder'), config.decoder_block)
    self._positions = {}
    if config.relative_attention_num_buckets:
      first = 'block_000/layer_000/SelfAttention/relative_attention_bias'
      self._positions = {stack: weights.below(stack).variable(first) for stack in ('encoder', 'decoder')}
    shared = config.shared_embedding
    self.embedding = weights.variable('shared/embedding' if shared else 'encoder/embedding')
    self.target_embedding = self.embedding if shared else weights.variable('decoder/embedding')
    self.logits = None if config.tied_embeddings else weights.matrix('decoder/logits/kernel')

  def _stack(self, weights, block):
    """The sublayers of a stack, and its last norm."""
    blocks = self.config.num_encoder_blocks if weights.scope == 'encoder' else self.config.num_decoder_blocks
    sublayers = [
        Sublayer(self.config, weights.below(f'block_{number:03d}/layer_{index:03d}'), scope)
        for number in range(blocks) for index, scope in enumerate(block)]
    return sublayers, Norm(weights)

  def encode(self, ids) -> Encoded:
    """<int32>[B, S], 0 is padding."""
    batch, length = tf.shape(ids)[0], tf.shape(ids)[1]
    real = tf.not_equal(ids, PADDING)
    bias = self._hide(real)
    around = bias + self._bias('encoder', tf.range(length), tf.range(length))
    x = tf.gather(self.embedding, tf.reshape(ids, [-1]))
    for sublayer in self.encoder:
      y = sublayer.norm(x)
      if sublayer.scope == 'SelfAttention':
        queries, *memory = sublayer.layer.split(sublayer.layer.qkv.times(y), 3, batch)
        x += sublayer.layer.attend(queries, Memory(*memory), around)
      else:
        x += sublayer.layer(y, tf.reshape(real, [-1]))
    x = self.encoder_norm(x)
    layers = [sublayer.layer for sublayer in self.decoder if sublayer.scope == 'EncDecAttention']
    return Encoded(tuple(Memory(*layer.split(layer.kv.times(x), 2, batch)) for layer in layers), bias)

  def no_targets(self, batch) -> tuple[Memory, ...]:
    """The caches before the first step: Memory of [B, N, 0, D] for each self-attention of the decoder."""
    nothing = tf.zeros([batch, self.config.num_heads, 0, self.config.d_kv], self.dtype)
    return tuple(Memory(nothing, nothing) for s in self.decoder if s.scope == 'SelfAttention')

  def step(self, ids, encoded, caches):
    """Reads one token of each sequence.

    Args:
      ids: <int32>[B]
      encoded: of `encode`
      caches: of the step before
    Returns:
      <float32>[B, V], the logits of the next token, and the caches with this one
    """
    hidden, caches = self.read(ids[:, None], encoded, caches)
    return self.to_logits(hidden), caches

  def read(self, ids, encoded, caches):
    """Reads tokens that follow those in the caches: <int32>[B, T] -> <float>[B * T, M], caches."""
    batch, length = tf.shape(ids)[0], tf.shape(ids)[1]
    before = tf.shape(caches[0].keys)[2]
    places = before + tf.range(length)
    keys = tf.range(before + length)
    ahead = tf.where(keys > places[:, None], tf.cast(HIDDEN, self.dtype), tf.cast(0.0, self.dtype))
    bias = self._bias('decoder', places, keys) + ahead
    real = tf.ones([batch * length], tf.bool)
    x = tf.gather(self.target_embedding, tf.reshape(ids, [-1]))
    caches, memories, kept = list(caches), list(encoded.memories), []
    for sublayer in self.decoder:
      y = sublayer.norm(x)
      if sublayer.scope == 'SelfAttention':
        queries, *new = sublayer.layer.split(sublayer.layer.qkv.times(y), 3, batch)
        kept.append(Memory(*(tf.concat([old, more], 2) for old, more in zip(caches.pop(0), new, strict=True))))
        x += sublayer.layer.attend(queries, kept[-1], bias)
      elif sublayer.scope == 'EncDecAttention':
        queries, = sublayer.layer.split(sublayer.layer.q.times(y), 1, batch)
        x += sublayer.layer.attend(queries, memories.pop(0), encoded.bias)
      else:
        x += sublayer.layer(y, real)
    return x, tuple(kept)

  def to_logits(self, x):
    """<float>[R, M] -> <float32>[R, V]"""
    x = self.decoder_norm(x)
    if self.logits is not None:
      return tf.cast(self.logits.times(x), tf.float32)
    x *= tf.cast(self.config.d_model**-0.5, x.dtype)
    return tf.cast(tf.matmul(x, self.target_embedding, transpose_b=True), tf.float32)

  def _bias(self, stack, queries, keys):
    """Learned bias of positions. <int32>[T], <int32>[S] -> <float>[1, N, T, S], or zeros that broadcast to it."""
    if stack not in self._positions:
      return tf.zeros([1, 1, 1, 1], self.dtype)
    buckets = self.config.relative_attention_num_buckets
    bucket = relative_bucket(keys - queries[:, None], buckets, bidirectional=stack == 'encoder')
    return tf.gather(tf.convert_to_tensor(self._positions[stack]), bucket, axis=1)[None]

  def _hide(self, real):
    """<bool>[B, S] -> <float>[B, 1, 1, S]"""
    hidden = tf.where(real, tf.cast(0.0, self.dtype), tf.cast(HIDDEN, self.dtype))
    return hidden[:, None, None, :]
