"""T5 and Switch as a Keras model, from a ModelConfig."""

import contextlib
import dataclasses
import functools
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import tensorflow as tf
from tensorflow import keras

from switch_zoo.errors import UserError
from switch_zoo.keras import padding_ids, weights_file
from switch_zoo.keras.attention import MASK_BIAS
from switch_zoo.keras.layers import Layer
from switch_zoo.keras.sequence_slots import CapacitySetting, chosen_capacity
from switch_zoo.keras.stacks import Stack, SublayerContext
from switch_zoo.spec.config import ModelConfig
from switch_zoo.spec.token_ids import PADDING

if TYPE_CHECKING:
  from typing_extensions import Self

  from switch_zoo.keras.generation import Answers, Beam, Sampling
  from switch_zoo.keras.inference import Inference


TokenIds: TypeAlias = np.ndarray | tf.Tensor | Sequence[Sequence[int]]


class Embedding(Layer):
  """The table of vectors that encoder and decoder share."""

  def __init__(self, vocab_size: int, d_model: int, **kwargs: Any) -> None:
    """
    Args:
      vocab_size, d_model: V and M
      **kwargs: of keras.layers.Layer
    """
    super().__init__(**kwargs)
    self.vocab_size, self.d_model = vocab_size, d_model
    self.embedding = self.normal('embedding', [vocab_size, d_model], 1.0)

  def get_config(self) -> dict[str, Any]:
    return {**super().get_config(), 'vocab_size': self.vocab_size, 'd_model': self.d_model}


@keras.utils.register_keras_serializable(package='switch_zoo')
class SwitchTransformer(keras.Model):
  """Encoder and decoder. B batch  S input tokens  T target tokens  M d_model  V target vocabulary.

  model({'encoder_input_tokens': <int32>[B, S], 'decoder_input_tokens': <int32>[B, T]}) -> <float32>[B, T, V] logits

  0 is padding. `decoder_input_tokens` are the targets shifted right by one, with 0 before the first.
  """

  if TYPE_CHECKING:
    # In Keras' stubs an instance of a subclass is a Model, and takes one argument.
    def __new__(cls, *args: Any, **kwargs: Any) -> Self: ...
    def __call__(self, *args: Any, **kwargs: Any) -> tf.Tensor: ...

  def __init__(
    self,
    config: ModelConfig | Mapping[str, Any],
    capacity_factor: float | None = None,
    expert_capacity: CapacitySetting = None,
    **kwargs: Any,
  ) -> None:
    """
    Args:
      config: ModelConfig, or the fields of one as `get_config` returns them
      capacity_factor: of experts outside training, to see what Mesh-TensorFlow's evaluation does; None: every token
        has room. Generation never drops a token
      expert_capacity: tokens of each sequence that an expert has room for, in training too, as transformers counts
        them: a number, or 'checkpoint' for `config.expert_capacity`; None: what the factors say
      **kwargs: of keras.Model: name, dtype ('float32', 'bfloat16', 'mixed_bfloat16')
    Raises:
      UserError: the model has a router that runs in Mesh-TensorFlow only, or a capacity makes no sense for it
    """
    config = config if isinstance(config, ModelConfig) else ModelConfig(**_with_tuples(config))
    super().__init__(**{'name': config.name, **kwargs})
    self.config, self.capacity_factor = config, capacity_factor
    self.expert_capacity = chosen_capacity(expert_capacity, config)
    if capacity_factor is not None and self.expert_capacity is not None:
      raise UserError(
        f'capacity_factor={capacity_factor} counts slots in a group, expert_capacity={expert_capacity} in a sequence: '
        'give one of them.'
      )
    with _policy(kwargs.get('dtype')):
      if config.shared_embedding:
        self.shared = Embedding(config.vocab_size, config.d_model, name='shared')
      self.encoder = Stack(config, 'encoder', capacity_factor, self.expert_capacity)
      self.decoder = Stack(config, 'decoder', capacity_factor, self.expert_capacity)
    self.build()

  def get_config(self) -> dict[str, Any]:
    fields = {f.name: getattr(self.config, f.name) for f in dataclasses.fields(self.config)}
    config = {**fields, 'places': dict(self.config.places)}
    capacity = {'capacity_factor': self.capacity_factor, 'expert_capacity': self.expert_capacity}
    return {'config': config, **capacity, 'name': self.name}

  def build(self, input_shape: Any = None) -> None:
    """Does nothing: all weights are created in `__init__`."""
    del input_shape
    self.built = True

  @property
  def named_weights(self) -> dict[str, tf.Variable]:
    """Mesh-TensorFlow's name of a variable -> the weight; attributes are named after the scopes."""
    return {name: functools.reduce(getattr, name.split('/'), self) for name in self.config.variables}

  def save_weights(self, filepath: str | pathlib.Path, *args: Any, **kwargs: Any) -> None:
    """As in Keras; a file `*.weights.h5` has Mesh-TensorFlow's names in it, and `switch_zoo convert` reads it."""
    if not str(filepath).endswith(weights_file.SUFFIX):
      super().save_weights(filepath, *args, **kwargs)
      return
    weights_file.save(self.named_weights, str(filepath))

  def load_weights(self, filepath: str | pathlib.Path, *args: Any, **kwargs: Any) -> Any:
    """As in Keras.

    Raises:
      UserError: a file `*.weights.h5` of another model
    """
    if not str(filepath).endswith(weights_file.SUFFIX):
      return super().load_weights(filepath, *args, **kwargs)
    return weights_file.load(self.named_weights, str(filepath), self.name)

  def for_inference(self, dtype: str | None = None) -> 'Inference':
    """An `inference.Inference` with a copy of the current weights, for many answers.

    Args:
      dtype: of its weights and activations, 'float32' or 'bfloat16'; None: the model's
    """
    from switch_zoo.keras import inference

    read = self.named_weights.__getitem__
    return inference.Inference(self.config, read, dtype or self.compute_dtype, self.expert_capacity)

  def generate(
    self,
    encoder_input_tokens: TokenIds,
    max_new_tokens: int = 64,
    beam: 'Beam | None' = None,
    sampling: 'Sampling | None' = None,
    seed: int = 0,
  ) -> 'Answers':
    """Answers to token ids; for many calls keep `for_inference()` and use `switch_zoo.keras.generation`.

    Args:
      encoder_input_tokens: <int32>[B, S], 0 is padding
      max_new_tokens: the longest answer, including its end
      beam: generation.Beam; None: no beam search
      sampling: generation.Sampling; None: the most likely token every time
      seed: for sampling
    Returns:
      generation.Answers: ids <int32>[B, length] and scores <float32>[B]
    Raises:
      UserError: a setting that makes no sense
    """
    from switch_zoo.keras import generation

    inputs = tf.convert_to_tensor(encoder_input_tokens)
    return tf.function(generation.answer)(self.for_inference(), inputs, max_new_tokens, beam, sampling, seed)

  def score(self, encoder_input_tokens: TokenIds, targets: TokenIds) -> tf.Tensor:
    """Log-probability of targets, natural logarithm. <int32>[B, S], <int32>[B, T] -> <float32>[B]"""
    from switch_zoo.keras import generation

    inputs, targets = tf.convert_to_tensor(encoder_input_tokens), tf.convert_to_tensor(targets)
    return tf.function(generation.score)(self.for_inference(), inputs, targets)

  def call(self, inputs: Mapping[str, tf.Tensor], training: bool = False) -> tf.Tensor:
    """See the class."""
    encoder_ids, decoder_ids = inputs['encoder_input_tokens'], inputs['decoder_input_tokens']
    encoded = self.encode(encoder_ids, training)
    return self.decode(decoder_ids, encoded, encoder_ids, training)

  def encode(self, ids: tf.Tensor, training: bool = False) -> tf.Tensor:
    """<int32>[B, S] -> <float>[B, S, M]"""
    real = tf.not_equal(ids, PADDING)
    x = self.embedded(self.encoder, ids)
    return self.encoder(x, SublayerContext(real, _mask_bias(tf.logical_not(real), x.dtype)), training=training)

  def decode(self, ids: tf.Tensor, encoded: tf.Tensor, encoder_ids: tf.Tensor, training: bool = False) -> tf.Tensor:
    """<int32>[B, T], the encoder's output <float>[B, S, M] and input <int32>[B, S] -> <float32>[B, T, V]"""
    x = self.embedded(self.decoder, ids)
    encoded_bias = _mask_bias(tf.equal(encoder_ids, PADDING), x.dtype)
    real = _real_targets(ids, training, self.config.end_id)
    context = SublayerContext(real, tf.zeros([], x.dtype), encoded, encoded_bias)
    return self.to_logits(self.decoder(x, context, training=training))

  def embedded(self, stack: Stack, ids: tf.Tensor) -> tf.Tensor:
    """<int32>[...] -> <float>[..., M]"""
    table = tf.convert_to_tensor(self._table(stack))
    return tf.cast(tf.gather(table, ids), self.compute_dtype)

  def to_logits(self, x: tf.Tensor) -> tf.Tensor:
    """<float>[..., M] -> <float32>[..., V]; ids that only pad the table get `padding_ids.MASKED`."""
    if not self.config.tied_embeddings:
      return padding_ids.masked(tf.cast(self.decoder.logits(x), tf.float32), self.config)
    table = tf.cast(self._table(self.decoder), x.dtype)
    # The vectors of the table are large, those of a separate matrix would be small: arXiv:1910.10683, as
    # Mesh-TensorFlow.
    logits = tf.matmul(x * self.config.d_model**-0.5, table, transpose_b=True)
    return padding_ids.masked(tf.cast(logits, tf.float32), self.config)

  def _table(self, stack: Stack) -> tf.Variable:
    return self.shared.embedding if self.config.shared_embedding else stack.embedding


def _real_targets(ids: tf.Tensor, training: bool, end_id: int) -> tf.Tensor:
  """Which tokens the decoder reads are not padding; the leading 0 is real too. <int32>[B, T] -> <bool>[B, T]

  In training the end of a sequence, as an input, has no target: it counts in no loss and takes no expert's slot.
  """
  real = tf.not_equal(ids[:, 1:], PADDING)
  if training:
    has_next = tf.not_equal(tf.pad(ids[:, 2:], [[0, 0], [0, 1]]), PADDING)
    real &= tf.not_equal(ids[:, 1:], end_id) | has_next
  return tf.concat([tf.ones_like(ids[:, :1], tf.bool), real], 1)


@contextlib.contextmanager
def _policy(dtype: str | None) -> Iterator[None]:
  """Layers created inside have the model's dtype policy, as if it were Keras' global one."""
  before = keras.mixed_precision.global_policy()
  if dtype is not None:
    keras.mixed_precision.set_global_policy(dtype)
  try:
    yield
  finally:
    keras.mixed_precision.set_global_policy(before)


def _mask_bias(masked: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
  """<bool>[B, S] -> <float>[B, 1, 1, S], MASK_BIAS where it is True"""
  return tf.where(masked, tf.cast(MASK_BIAS, dtype), tf.cast(0.0, dtype))[:, None, None, :]


def _with_tuples(fields: Mapping[str, Any]) -> dict[str, Any]:
  """Fields of a ModelConfig that came back from JSON, where tuples are lists."""
  return {name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()}
