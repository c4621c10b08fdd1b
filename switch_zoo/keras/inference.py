"""A Keras model's weights, laid out for decoding token by token: the encoder once, then steps of the decoder.

Values are those of the Keras model. Nothing here trains.

B batch  S input tokens  T targets  C capacity of a cache in tokens  N heads  D d_kv  M d_model  V vocabulary  R rows
P tokens without padding (without_padding.py)
"""

import contextlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from switch_zoo.keras import padding_ids
from switch_zoo.keras.attention import MASK_BIAS, Memory, relative_bucket
from switch_zoo.keras.inference_blocks import InferenceBlock
from switch_zoo.keras.inference_layers import InferenceNorm, ScopedWeights
from switch_zoo.keras.repeated import Repeated
from switch_zoo.keras.sequence_slots import CapacitySetting, chosen_capacity
from switch_zoo.keras.stacked_variables import StackedVariables
from switch_zoo.keras.without_padding import WithoutPadding
from switch_zoo.spec.config import ModelConfig
from switch_zoo.spec.token_ids import PADDING

# Tokens by which a cache grows. Appending each new token to it (tf.concat along C) would copy it for every token.
CACHE_GROWTH = 32
# For each block of the decoder, the Memory of each of its attentions.
Memories = tuple[tuple[Memory, ...], ...]


class Encoded(NamedTuple):
  """What the decoder reads of the inputs.

  memories: for each block of the decoder, Memory of [B, N, S, D] of each attention over the encoder
  bias: <float>[B, 1, 1, S], MASK_BIAS for padding
  """

  memories: Memories
  bias: tf.Tensor

  def for_steps(self) -> 'Encoded':
    """The same for many steps of one token: values in float32, whose products with few numbers are faster."""
    wide = lambda memory: Memory(memory.keys, tf.cast(memory.values, tf.float32))
    return self._replace(memories=tuple(tuple(map(wide, block)) for block in self.memories))


class Inference(tf.Module):
  """A model for generation and scoring; `SwitchTransformer.for_inference` makes one."""

  def __init__(
    self,
    config: ModelConfig,
    read: Callable[[str], Any],
    dtype: str | tf.DType,
    expert_capacity: CapacitySetting = None,
  ) -> None:
    """
    Args:
      config: ModelConfig
      read: Mesh-TensorFlow's name of a variable -> its value; called once for each, so that a checkpoint need not be
        in memory
      dtype: of weights and activations
      expert_capacity: tokens of a sequence that an expert has room for when whole sequences are read, a number or
        'checkpoint'; None: all
    Raises:
      UserError: the model has a router that runs in Mesh-TensorFlow only, or the capacity makes no sense for it
    """
    super().__init__()
    self.config, self.dtype = config, tf.as_dtype(dtype)
    self.expert_capacity = chosen_capacity(expert_capacity, config)
    weights = ScopedWeights(read, self.dtype)
    encoder, decoder = weights.below('encoder'), weights.below('decoder')
    self.encoder = self._blocks(encoder, config.encoder_block, config.num_encoder_blocks)
    self.decoder = self._blocks(decoder, config.decoder_block, config.num_decoder_blocks)
    self.encoder_norm, self.decoder_norm = InferenceNorm(encoder), InferenceNorm(decoder)
    self.encoder_positions, self.decoder_positions = self._positions(encoder), self._positions(decoder)
    shared = config.shared_embedding
    self.embedding = weights.variable('shared/embedding' if shared else 'encoder/embedding')
    self.target_embedding = self.embedding if shared else weights.variable('decoder/embedding')
    self.logits = None if config.tied_embeddings else weights.matrix('decoder/logits/kernel')
    self._variables = StackedVariables(self)
    self.stacks = self._variables.stacks  # where tf.Module finds them: the layers hold none
    self._call = Repeated()

  def _blocks(self, weights: ScopedWeights, scopes: Sequence[str], count: int) -> list[InferenceBlock]:
    block = lambda number: weights.below(f'block_{number:03d}')
    return [InferenceBlock(self.config, block(number), scopes, self.expert_capacity) for number in range(count)]

  def _positions(self, weights: ScopedWeights) -> tf.Variable | None:
    """Learned bias of a stack's positions, <float>[N, buckets]; None: it has none."""
    if not self.config.relative_attention_num_buckets:
      return None
    return weights.variable('block_000/layer_000/SelfAttention/relative_attention_bias')

  def read(self) -> tuple[tf.Tensor, ...]:
    """The current weights, for `using`."""
    return self._variables.read()

  def using(self, weights: Sequence[tf.Tensor]) -> contextlib.AbstractContextManager[None]:
    """A context in which the methods below compute with these weights; the body of a loop must enter it itself.

    Args:
      weights: as `read` returns them
    """
    return self._variables.using(weights)

  def encode(self, ids: tf.Tensor) -> Encoded:
    """<int32>[B, S], 0 is padding."""
    real, positions = tf.not_equal(ids, PADDING), tf.range(tf.shape(ids)[1])
    packing = WithoutPadding.keeping(real, self.config.num_heads)
    encoded_bias = self._mask(tf.logical_not(real))[:, None, None, :]
    bias = encoded_bias + self._position_bias(self.encoder_positions, positions, positions, bidirectional=True)
    x = tf.gather(self.embedding, packing.pack(ids))
    for block in self.encoder:
      x = self._call(InferenceBlock.read, block, x, bias, packing)
    x = self.encoder_norm(x)
    memories = tuple(self._call(InferenceBlock.memories, block, x, packing) for block in self.decoder)
    return Encoded(memories, encoded_bias)

  def decode(self, ids: tf.Tensor, encoded: Encoded, packing: WithoutPadding) -> tf.Tensor:
    """Reads all targets at once.

    Args:
      ids: <int32>[B, T]
      encoded: of `encode`
      packing: of ids; a token that is kept has all tokens before it kept
    Returns:
      <float>[P, M], for `to_logits`
    """
    positions = tf.range(tf.shape(ids)[1])
    bias = self._position_bias(self.decoder_positions, positions, positions)
    bias += self._mask(positions > positions[:, None])
    x = tf.gather(self.target_embedding, packing.pack(ids))
    for block, memories in zip(self.decoder, encoded.memories, strict=True):
      x = self._call(InferenceBlock.read, block, x, bias, packing, memories, encoded.bias)
    return x

  def caches(self, batch: tf.Tensor | int) -> Memories:
    """Empty caches: Memory of <float32>[B, N, 0, D] for each self-attention of each block of the decoder.

    `grown` makes room in them.
    """
    empty = tf.zeros([batch, self.config.num_heads, 0, self.config.d_kv])
    block = (Memory(empty, empty),) * self.config.decoder_block.count('SelfAttention')
    return (block,) * self.config.num_decoder_blocks

  def step(self, ids: tf.Tensor, position: tf.Tensor, encoded: Encoded, caches: Memories) -> tuple[tf.Tensor, Memories]:
    """Reads one token of each sequence.

    Args:
      ids: <int32>[B]
      position: <int32>[], how many tokens were read before; less than C
      encoded: of `Encoded.for_steps`
      caches: Memory of <float32>[B, N, C, D], of the step before; they are written into
    Returns:
      <float32>[B, V], the logits of the next token, and the caches with this one
    """
    capacity = cache_capacity(caches)
    keys = tf.range(capacity)
    bias = self._position_bias(self.decoder_positions, position[None], keys) + self._mask(keys > position)
    bias = tf.cast(bias, tf.float32)
    rows = tf.range(tf.shape(ids)[0] * self.config.num_heads) * capacity + position
    x, updated = tf.gather(self.target_embedding, ids), []
    for block, cache, memories in zip(self.decoder, caches, encoded.memories, strict=True):
      x, cache = self._call(InferenceBlock.read_one, block, x, cache, bias, rows, memories, encoded.bias)
      updated.append(cache)
    return self.to_logits(x), tuple(updated)

  def to_logits(self, x: tf.Tensor) -> tf.Tensor:
    """<float>[R, M] -> <float32>[R, V]; ids that only pad the table get `padding_ids.MASKED`."""
    x = self.decoder_norm(x)
    if self.logits is not None:
      return padding_ids.masked(tf.cast(self.logits.times(x), tf.float32), self.config)
    x *= tf.cast(self.config.d_model**-0.5, x.dtype)
    logits = tf.matmul(x, self.target_embedding, transpose_b=True)
    return padding_ids.masked(tf.cast(logits, tf.float32), self.config)

  def _position_bias(
    self, learned: tf.Tensor | None, queries: tf.Tensor, keys: tf.Tensor, bidirectional: bool = False
  ) -> tf.Tensor:
    """<float>[N, buckets], positions <int32>[T], <int32>[S] -> <float>[1, N, T, S], or zeros that broadcast to it."""
    if learned is None:
      return tf.zeros([1, 1, 1, 1], self.dtype)
    buckets = self.config.relative_attention_num_buckets
    return tf.gather(learned, relative_bucket(keys - queries[:, None], buckets, bidirectional), axis=1)[None]

  def _mask(self, masked: tf.Tensor) -> tf.Tensor:
    """<bool>[...] -> <float>[...], MASK_BIAS where it is True"""
    return tf.where(masked, tf.cast(MASK_BIAS, self.dtype), tf.cast(0.0, self.dtype))


def cache_capacity(caches: Memories) -> tf.Tensor:
  """C, the tokens that caches have room for, <int32>[]."""
  return tf.shape(caches[0][0].keys)[2]


def grown(caches: Memories) -> Memories:
  """Caches with room for CACHE_GROWTH more tokens: always new tensors, which `step` may write into."""
  return tf.nest.map_structure(lambda cache: tf.pad(cache, [[0, 0], [0, 0], [0, CACHE_GROWTH], [0, 0]]), caches)
