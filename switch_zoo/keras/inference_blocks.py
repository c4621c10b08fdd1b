"""The blocks of a model for inference: sublayers, each a norm, a layer and the residual.

Like the layers, each has a form for whole sequences and one for a single token of each sequence.

B batch  T queries  S keys  C capacity of a cache in tokens  N heads  D d_kv  M d_model
P tokens without padding (without_padding.py)
"""

from collections.abc import Sequence

import tensorflow as tf

from switch_zoo.keras.attention import Memory
from switch_zoo.keras.inference_layers import InferenceAttention, InferenceFeedForward, InferenceNorm, ScopedWeights
from switch_zoo.keras.without_padding import WithoutPadding
from switch_zoo.spec.config import ModelConfig
from switch_zoo.spec.sublayers import ENC_DEC_ATTENTION, EXPERTS, SELF_ATTENTION


class SelfAttentionSublayer(tf.Module):
  """x + self-attention(norm(x))."""

  def __init__(self, config: ModelConfig, weights: ScopedWeights) -> None:
    super().__init__()
    self.norm = InferenceNorm(weights)
    self.layer = InferenceAttention(config, weights.below(SELF_ATTENTION))

  def read(self, x: tf.Tensor, bias: tf.Tensor, packing: WithoutPadding) -> tf.Tensor:
    """<float>[P, M], bias as in `InferenceAttention.attend`, packing of x -> <float>[P, M]"""
    y = self.norm(x)
    return x + self.layer.attend(y, self.layer.memory(y, packing), bias, packing)

  def read_one(self, x: tf.Tensor, cache: Memory, bias: tf.Tensor, rows: tf.Tensor) -> tuple[tf.Tensor, Memory]:
    """<float>[B, M], cache and rows as in `InferenceAttention.remember` -> <float>[B, M] and the cache"""
    y = self.norm(x)
    cache = self.layer.remember(y, cache, rows)
    return x + self.layer.attend_once(y, cache, bias), cache


class EncDecAttentionSublayer(tf.Module):
  """x + attention over the encoder(norm(x))."""

  def __init__(self, config: ModelConfig, weights: ScopedWeights) -> None:
    super().__init__()
    self.norm = InferenceNorm(weights)
    self.layer = InferenceAttention(config, weights.below(ENC_DEC_ATTENTION))

  def read(self, x: tf.Tensor, memory: Memory, bias: tf.Tensor, packing: WithoutPadding) -> tf.Tensor:
    """<float>[P, M], memory and bias as in `InferenceAttention.attend`, packing of x -> <float>[P, M]"""
    return x + self.layer.attend(self.norm(x), memory, bias, packing)

  def read_one(self, x: tf.Tensor, memory: Memory, bias: tf.Tensor) -> tf.Tensor:
    """<float>[B, M], memory and bias as in `InferenceAttention.attend_once` -> <float>[B, M]"""
    return x + self.layer.attend_once(self.norm(x), memory, bias)


class FeedForwardSublayer(tf.Module):
  """x + feed-forward(norm(x)), dense or with experts."""

  def __init__(self, config: ModelConfig, weights: ScopedWeights, scope: str, expert_capacity: int | None) -> None:
    super().__init__()
    self.norm = InferenceNorm(weights)
    self.layer = InferenceFeedForward(config, weights.below(scope), scope == EXPERTS, expert_capacity)

  def read(self, x: tf.Tensor, packing: WithoutPadding) -> tf.Tensor:
    """<float>[P, M], packing of x -> <float>[P, M]"""
    return x + self.layer(self.norm(x), packing.first)

  def read_one(self, x: tf.Tensor) -> tf.Tensor:
    """<float>[B, M] -> <float>[B, M]"""
    return x + self.layer.few(self.norm(x))


InferenceSublayer = SelfAttentionSublayer | EncDecAttentionSublayer | FeedForwardSublayer


class InferenceBlock(tf.Module):
  """The sublayers that a stack repeats."""

  def __init__(
    self, config: ModelConfig, weights: ScopedWeights, scopes: Sequence[str], expert_capacity: int | None = None
  ) -> None:
    """
    Args:
      config: ModelConfig
      weights: of the block
      scopes: kinds of its sublayers, as in `spec.sublayers`
      expert_capacity: as in `InferenceFeedForward`
    Raises:
      UserError: the model has a router that runs in Mesh-TensorFlow only
    """
    super().__init__()
    self.sublayers = [
      _sublayer(config, weights.below(f'layer_{index:03d}'), scope, expert_capacity)
      for index, scope in enumerate(scopes)
    ]

  def memories(self, encoded: tf.Tensor, packing: WithoutPadding) -> tuple[Memory, ...]:
    """What each attention over the encoder reads of its output. <float>[P, M] -> Memory of [B, N, S, D] for each"""
    attentions = [s.layer for s in self.sublayers if isinstance(s, EncDecAttentionSublayer)]
    return tuple(attention.memory(encoded, packing) for attention in attentions)

  def read(
    self,
    x: tf.Tensor,
    bias: tf.Tensor,
    packing: WithoutPadding,
    memories: Sequence[Memory] = (),
    encoded_bias: tf.Tensor | None = None,
  ) -> tf.Tensor:
    """Whole sequences.

    Args:
      x: <float>[P, M]
      bias: of the self-attentions, as in `InferenceAttention.attend`
      packing: of x
      memories: of `memories`
      encoded_bias: <float>[B, 1, 1, S], of the attentions over the encoder; None in the encoder
    Returns:
      <float>[P, M]
    """
    next_memory = iter(memories)
    for sublayer in self.sublayers:
      if isinstance(sublayer, SelfAttentionSublayer):
        x = sublayer.read(x, bias, packing)
      elif isinstance(sublayer, EncDecAttentionSublayer):
        assert encoded_bias is not None, 'only a decoder has this attention'
        x = sublayer.read(x, next(next_memory), encoded_bias, packing)
      else:
        x = sublayer.read(x, packing)
    return x

  def read_one(
    self,
    x: tf.Tensor,
    caches: Sequence[Memory],
    bias: tf.Tensor,
    rows: tf.Tensor,
    memories: Sequence[Memory],
    encoded_bias: tf.Tensor,
  ) -> tuple[tf.Tensor, tuple[Memory, ...]]:
    """One token of each sequence.

    Args:
      x: <float>[B, M]
      caches, bias, rows: of the self-attentions, as in `InferenceAttention.remember` and `attend_once`
      memories, encoded_bias: as in `read`
    Returns:
      <float>[B, M], and the caches with this token
    """
    next_cache, next_memory, updated = iter(caches), iter(memories), []
    for sublayer in self.sublayers:
      if isinstance(sublayer, SelfAttentionSublayer):
        x, cache = sublayer.read_one(x, next(next_cache), bias, rows)
        updated.append(cache)
      elif isinstance(sublayer, EncDecAttentionSublayer):
        x = sublayer.read_one(x, next(next_memory), encoded_bias)
      else:
        x = sublayer.read_one(x)
    return x, tuple(updated)


def _sublayer(
  config: ModelConfig, weights: ScopedWeights, scope: str, expert_capacity: int | None
) -> InferenceSublayer:
  if scope == SELF_ATTENTION:
    return SelfAttentionSublayer(config, weights)
  if scope == ENC_DEC_ATTENTION:
    return EncDecAttentionSublayer(config, weights)
  return FeedForwardSublayer(config, weights, scope, expert_capacity)
