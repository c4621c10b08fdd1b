"""A Keras model's weights, laid out for reading one token after the other: encoder once, then steps of the decoder.

Values are those of the Keras model. Nothing here trains.

B batch  S input tokens  T targets  C room in a cache  N heads  D d_kv  M d_model  V vocabulary  R rows
P tokens that are no padding (packing.py)
"""

from typing import NamedTuple

import tensorflow as tf

from switch_zoo.keras.attention import HIDDEN, Memory, relative_bucket
from switch_zoo.keras.inference_layers import Block, Norm, Weights
from switch_zoo.keras.repeated import Repeated
from switch_zoo.keras.stacked_variables import Rows
from switch_zoo.keras.without_padding import Packing
from switch_zoo.spec.token_ids import PADDING

# Tokens by which a cache grows. Joining each new token to it (tf.concat along C) would copy it for every token.
ROOM = 32


class Encoded(NamedTuple):
  """What the decoder reads of the inputs.

  memories: of each block of the decoder, Memory of [B, N, S, D] of each attention over the encoder
  bias: <float>[B, 1, 1, S], HIDDEN for padding
  """

  memories: tuple[tuple[Memory, ...], ...]
  bias: tf.Tensor

  def for_steps(self):
    """The same for many steps of one token: values in float32, whose products with few numbers are faster."""
    wide = lambda memory: Memory(memory.keys, tf.cast(memory.values, tf.float32))
    return self._replace(memories=tuple(tuple(map(wide, of_block)) for of_block in self.memories))


class Inference(tf.Module):
  """A model for generation and scoring; `SwitchTransformer.for_inference` makes one."""

  def __init__(self, config, read, dtype):
    """
    Args:
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
    self.encoder_positions = self._positions(weights.below('encoder'))
    self.decoder_positions = self._positions(weights.below('decoder'))
    shared = config.shared_embedding
    self.embedding = weights.variable('shared/embedding' if shared else 'encoder/embedding')
    self.target_embedding = self.embedding if shared else weights.variable('decoder/embedding')
    self.logits = None if config.tied_embeddings else weights.matrix('decoder/logits/kernel')
    self._rows = Rows(self)
    self.stacks = self._rows.stacks  # where tf.Module finds them: the layers hold none
    self._call = Repeated()

  def _stack(self, weights, scopes):
    """The blocks of a stack, and its last norm."""
    blocks = self.config.num_encoder_blocks if weights.scope == 'encoder' else self.config.num_decoder_blocks
    return [Block(self.config, weights.below(f'block_{n:03d}'), scopes) for n in range(blocks)], Norm(weights)

  def _positions(self, weights):
    """Learned bias of a stack's positions, <float>[N, buckets]; None: it has none."""
    if not self.config.relative_attention_num_buckets:
      return None
    return weights.variable('block_000/layer_000/SelfAttention/relative_attention_bias')

  def read(self):
    """The weights now, for `using`."""
    return self._rows.read()

  def using(self, weights):
    """A context in which the methods below compute with these weights; a loop must enter it in its own steps."""
    return self._rows.using(weights)

  def encode(self, ids) -> Encoded:
    """<int32>[B, S], 0 is padding."""
    real, places = tf.not_equal(ids, PADDING), tf.range(tf.shape(ids)[1])
    packing, bias = Packing.of(real, self.config.num_heads), self._hide(real)
    around = bias + self._bias(self.encoder_positions, places, places, bidirectional=True)
    x = tf.gather(self.embedding, packing.pack(ids))
    for block in self.encoder:
      x = self._call(Block.read, block, x, around, packing)
    x = self.encoder_norm(x)
    return Encoded(tuple(self._call(Block.memories, block, x, packing) for block in self.decoder), bias)

  def decode(self, ids, encoded, packing):
    """Reads all targets at once.

    Args:
      ids: <int32>[B, T]
      encoded: of `encode`
      packing: Packing; keeps all that is before what it keeps
    Returns:
      <float>[P, M], of which `to_logits` makes logits
    """
    places = tf.range(tf.shape(ids)[1])
    bias = self._bias(self.decoder_positions, places, places) + self._hide_if(places > places[:, None])
    x = tf.gather(self.target_embedding, packing.pack(ids))
    for block, memories in zip(self.decoder, encoded.memories, strict=True):
      x = self._call(Block.read, block, x, bias, packing, memories, encoded.bias)
    return x

  def caches(self, batch) -> tuple[tuple[Memory, ...], ...]:
    """Empty caches: Memory of <float32>[B, N, 0, D] for each self-attention of each block of the decoder.

    `more_room` makes room in them.
    """
    nothing = tf.zeros([batch, self.config.num_heads, 0, self.config.d_kv])
    of_block = (Memory(nothing, nothing),) * self.config.decoder_block.count('SelfAttention')
    return (of_block,) * self.config.num_decoder_blocks

  def step(self, ids, place, encoded, caches):
    """Reads one token of each sequence.

    Args:
      ids: <int32>[B]
      place: <int32>[], how many tokens were read before; less than C
      encoded: of `Encoded.for_steps`
      caches: Memory of <float32>[B, N, C, D], of the step before; they are written into
    Returns:
      <float32>[B, V], the logits of the next token, and the caches with this one
    """
    room = room_of(caches)
    keys = tf.range(room)
    bias = self._bias(self.decoder_positions, place[None], keys) + self._hide_if(keys > place)
    bias = tf.cast(bias, tf.float32)
    rows = tf.range(tf.shape(ids)[0] * self.config.num_heads) * room + place
    x, kept = tf.gather(self.target_embedding, ids), []
    for block, mine, memories in zip(self.decoder, caches, encoded.memories, strict=True):
      x, mine = self._call(Block.read_one, block, x, mine, bias, rows, memories, encoded.bias)
      kept.append(mine)
    return self.to_logits(x), tuple(kept)

  def to_logits(self, x):
    """<float>[R, M] -> <float32>[R, V]"""
    x = self.decoder_norm(x)
    if self.logits is not None:
      return tf.cast(self.logits.times(x), tf.float32)
    x *= tf.cast(self.config.d_model**-0.5, x.dtype)
    return tf.cast(tf.matmul(x, self.target_embedding, transpose_b=True), tf.float32)

  def _bias(self, positions, queries, keys, bidirectional=False):
    """Learned bias of positions. <int32>[T], <int32>[S] -> <float>[1, N, T, S], or zeros that broadcast to it."""
    if positions is None:
      return tf.zeros([1, 1, 1, 1], self.dtype)
    buckets = self.config.relative_attention_num_buckets
    return tf.gather(positions, relative_bucket(keys - queries[:, None], buckets, bidirectional), axis=1)[None]

  def _hide(self, real):
    """<bool>[B, S] -> <float>[B, 1, 1, S]"""
    return self._hide_if(tf.logical_not(real))[:, None, None, :]

  def _hide_if(self, hidden):
    """<bool>[...] -> <float>[...]"""
    return tf.where(hidden, tf.cast(HIDDEN, self.dtype), tf.cast(0.0, self.dtype))


def room_of(caches):
  """Tokens that there is room for in caches, <int32>[]."""
  return tf.shape(caches[0][0].keys)[2]


def more_room(caches):
  """Caches with room for ROOM more tokens: always new tensors, which `step` may write into."""
  return tf.nest.map_structure(lambda cache: tf.pad(cache, [[0, 0], [0, 0], [0, ROOM], [0, 0]]), caches)
