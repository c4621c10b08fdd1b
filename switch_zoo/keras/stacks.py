"""The encoder and the decoder: blocks of sublayers, each `x + dropout(sublayer(rms_norm(x)))`.

Attributes are named after the scopes of the Mesh-TensorFlow variables, so that the paths of weights are the same:
`encoder/block_000/layer_001/DenseReluDense/wi/kernel`.

B batch  T length  S length of the encoder's output  N heads  M d_model
"""

from typing import Any, Literal, NamedTuple

import tensorflow as tf
from tensorflow import keras

from switch_zoo.keras.attention import MASK_BIAS, EncDecAttention, SelfAttention
from switch_zoo.keras.experts import SwitchFeedForward
from switch_zoo.keras.layers import DenseReluDense, Kernel, Layer, RMSNorm
from switch_zoo.spec.config import ModelConfig
from switch_zoo.spec.sublayers import ATTENTION, DENSE, ENC_DEC_ATTENTION, EXPERTS, SELF_ATTENTION


class SublayerContext(NamedTuple):
  """What sublayers read besides the tokens.

  real: <bool>[B, T], False for padding
  bias: <float>[B or 1, N, T, T], positions and the mask of self-attention
  encoded: <float>[B, S, M], the encoder's output; None in the encoder
  encoded_bias: <float>[B, 1, 1, S], MASK_BIAS for padding; None in the encoder
  """

  real: tf.Tensor
  bias: tf.Tensor
  encoded: tf.Tensor | None = None
  encoded_bias: tf.Tensor | None = None


class Sublayer(Layer):
  """A norm, a layer and the residual."""

  def __init__(self, layer: Layer, scope: str, d_model: int, dropout_rate: float, **kwargs: Any) -> None:
    """
    Args:
      layer: one of the layers that `Stack` makes
      scope: the attribute that holds it, its name in checkpoints
      d_model, dropout_rate: of the model
      **kwargs: of keras.layers.Layer
    """
    super().__init__(**kwargs)
    self.rms_norm = RMSNorm(d_model, name='rms_norm')
    self.scope = scope
    setattr(self, scope, layer)
    self.dropout = keras.layers.Dropout(dropout_rate, noise_shape=(None, 1, None))

  @property
  def layer(self) -> Any:
    """The layer between the norm and the residual; its class depends on the scope."""
    return getattr(self, self.scope)

  def call(self, x: tf.Tensor, context: SublayerContext, training: bool = False) -> tf.Tensor:
    """<float>[B, T, M], SublayerContext -> <float>[B, T, M]"""
    y = self.rms_norm(x)
    if self.scope == SELF_ATTENTION:
      y = self.layer(y, context.bias, training=training)
    elif self.scope == ENC_DEC_ATTENTION:
      y = self.layer(y, context.encoded, context.encoded_bias, training=training)
    elif self.scope == EXPERTS:
      y = self.layer(y, context.real, training=training)
    else:
      y = self.layer(y, training=training)
    return x + self.dropout(y, training=training)


class Block(Layer):
  """The sublayers of one block, as attributes layer_000, layer_001, ..."""

  def __init__(self, sublayers: list[Sublayer], **kwargs: Any) -> None:
    super().__init__(**kwargs)
    self.names = [f'layer_{i:03d}' for i in range(len(sublayers))]
    for name, sublayer in zip(self.names, sublayers, strict=True):
      setattr(self, name, sublayer)

  @property
  def sublayers(self) -> list[Sublayer]:
    """In order."""
    return [getattr(self, name) for name in self.names]


class Stack(Layer):
  """An encoder or a decoder, as attributes block_000, block_001, ... and the last norm."""

  def __init__(
    self,
    config: ModelConfig,
    stack: Literal['encoder', 'decoder'],
    capacity_factor: float | None = None,
    expert_capacity: int | None = None,
    **kwargs: Any,
  ) -> None:
    """
    Args:
      config: ModelConfig
      stack: which of the two
      capacity_factor: of experts outside training; None: room for all
      expert_capacity: tokens of a sequence that an expert has room for; None: what the factors say
      **kwargs: of keras.layers.Layer
    Raises:
      UserError: the model has a router that runs in Mesh-TensorFlow only
    """
    super().__init__(**{'name': stack, **kwargs})
    self.config, self.capacity_factor, self.expert_capacity = config, capacity_factor, expert_capacity
    self.is_decoder = stack == 'decoder'
    if not config.shared_embedding:
      self.embedding = self.normal('embedding', [self._vocab_size, config.d_model], 1.0)
    num_blocks = config.num_decoder_blocks if self.is_decoder else config.num_encoder_blocks
    self.names = [f'block_{number:03d}' for number in range(num_blocks)]
    for number, name in enumerate(self.names):
      setattr(self, name, self._block(number))
    self.rms_norm = RMSNorm(config.d_model, name='rms_norm')
    self.dropout = keras.layers.Dropout(config.dropout_rate, noise_shape=(None, 1, None))
    if self.is_decoder and not config.tied_embeddings:
      self.logits = Kernel((config.d_model, config.target_vocab_size), config.d_model**-0.5, name='logits')

  @property
  def _vocab_size(self) -> int:
    return self.config.target_vocab_size if self.is_decoder else self.config.vocab_size

  @property
  def sublayers(self) -> list[Sublayer]:
    """Those of all blocks, in order."""
    return [sublayer for name in self.names for sublayer in getattr(self, name).sublayers]

  def call(self, x: tf.Tensor, context: SublayerContext, training: bool = False) -> tf.Tensor:
    """Embedded tokens <float>[B, T, M], SublayerContext without positions -> <float>[B, T, M]"""
    context = context._replace(bias=self._position_bias(tf.shape(x)[1], x.dtype) + context.bias)
    x = self.dropout(x, training=training)
    for sublayer in self.sublayers:
      x = sublayer(x, context, training=training)
    return self.dropout(self.rms_norm(x), training=training)

  def _position_bias(self, length: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    """The bias of relative positions, and in a decoder the mask of later tokens. -> <float>[1, N or 1, T, T]"""
    positions = tf.range(length)
    bias = tf.zeros([1, 1, length, length], dtype)
    if self.config.relative_attention_num_buckets:
      bias += tf.cast(self.sublayers[0].layer.position_bias(positions, positions, not self.is_decoder), dtype)
    if self.is_decoder:
      bias += tf.where(positions[None, :] > positions[:, None], tf.cast(MASK_BIAS, dtype), tf.cast(0.0, dtype))
    return bias

  def _block(self, number: int) -> Block:
    config = self.config
    scopes = config.decoder_block if self.is_decoder else config.encoder_block
    sublayers = [
      Sublayer(self._layer(scope, number == index == 0), scope, config.d_model, config.dropout_rate)
      for index, scope in enumerate(scopes)
    ]
    return Block(sublayers, name=self.names[number])

  def _layer(self, scope: str, holds_positions: bool) -> Layer:
    config = self.config
    if scope in ATTENTION:
      sizes = {'d_model': config.d_model, 'num_heads': config.num_heads, 'd_kv': config.d_kv}
      if scope == ENC_DEC_ATTENTION:
        return EncDecAttention(**sizes, dropout_rate=config.dropout_rate, name=scope)
      buckets = config.relative_attention_num_buckets if holds_positions else 0
      return SelfAttention(**sizes, buckets=buckets, dropout_rate=config.dropout_rate, name=scope)
    if scope == DENSE:
      return DenseReluDense(config.d_model, config.d_ff, config.ff_activation, config.dropout_rate, name=scope)
    return experts_layer(config, self.capacity_factor, self.expert_capacity)


def experts_layer(
  config: ModelConfig, capacity_factor: float | None = None, expert_capacity: int | None = None
) -> SwitchFeedForward:
  """The layer with experts of a ModelConfig.

  Args:
    config: ModelConfig
    capacity_factor, expert_capacity: as in `Stack`
  """
  return SwitchFeedForward(
    d_model=config.d_model,
    d_ff=config.expert_d_ff,
    num_experts=config.num_experts,
    activation=config.ff_activation,
    router=config.router,
    router_kernel=config.router_kernels[0],
    experts_per_token=config.experts_per_token,
    balance_loss_coef=config.balance_loss_coef,
    expert_dropout_rate=config.expert_dropout_rate,
    capacity_factor_train=config.capacity_factor_train,
    capacity_factor=capacity_factor,
    expert_capacity=expert_capacity,
    min_expert_capacity=config.min_expert_capacity,
    group_size=config.group_size,
    name=EXPERTS,
  )
