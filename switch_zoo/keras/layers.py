"""The pieces of T5 that do not depend on experts: named weights, RMS norm and the dense feed-forward layer.

B batch  T length  M d_model  H d_ff.  Weights have the names and shapes of the Mesh-TensorFlow variables.
"""

import contextlib
import contextvars
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import tensorflow as tf
from tensorflow import keras

from switch_zoo.errors import UserError, did_you_mean
from switch_zoo.spec.shape import DROPOUT_RATE, NORM_EPSILON

ACTIVATIONS: Mapping[str, Callable[[tf.Tensor], tf.Tensor]] = {
  'relu': tf.nn.relu,
  'gelu': functools.partial(tf.nn.gelu, approximate=True),  # the form of Mesh-TensorFlow and T5 1.1
  'swish': tf.nn.silu,
  'sigmoid': tf.nn.sigmoid,
  'tanh': tf.nn.tanh,
  'elu': tf.nn.elu,
  'selu': tf.nn.selu,
  'softplus': tf.nn.softplus,
  'squared_relu': lambda x: tf.square(tf.nn.relu(x)),
  'linear': tf.identity,
}


_zero_initialization = contextvars.ContextVar('zero_initialization', default=False)


@contextlib.contextmanager
def zero_initialization() -> Iterator[None]:
  """Weights created inside are zeros: drawing billions of numbers that a checkpoint replaces is slow."""
  token = _zero_initialization.set(True)
  try:
    yield
  finally:
    _zero_initialization.reset(token)


class Layer(keras.layers.Layer):
  """A layer whose weights are initialized from a normal distribution; `__init__` makes all of them."""

  def build(self, input_shape: Any = None) -> None:
    """Does nothing: the weights exist already. Without it Keras 3 calls the layer once more to find out."""
    del input_shape
    self.built = True

  if TYPE_CHECKING:
    # Keras passes all arguments on to `call`; its stubs know only the first.
    def __call__(self, *args: Any, **kwargs: Any) -> Any: ...

  def normal(
    self, name: str, shape: Sequence[int], stddev: float, initializer: Callable[..., Any] | None = None
  ) -> tf.Variable:
    """A new weight.

    Args:
      name: of the weight
      shape: of the weight
      stddev: of its initial values
      initializer: a class of keras.initializers that takes stddev; None: RandomNormal
    """
    initial = 'zeros' if _zero_initialization.get() else (initializer or keras.initializers.RandomNormal)(stddev=stddev)
    return self.add_weight(name=name, shape=shape, initializer=initial)


class Kernel(Layer):
  """One matrix, or one for each expert; the layer that uses it decides how."""

  def __init__(self, shape: Sequence[int], stddev: float, **kwargs: Any) -> None:
    """
    Args:
      shape: of the weight `kernel`
      stddev: of its initial values, before they are truncated at twice that
      **kwargs: of keras.layers.Layer
    """
    super().__init__(**kwargs)
    self.kernel_shape, self.stddev = tuple(shape), stddev
    self.kernel = self.normal('kernel', self.kernel_shape, stddev, keras.initializers.TruncatedNormal)

  def get_config(self) -> dict[str, Any]:
    return {**super().get_config(), 'shape': self.kernel_shape, 'stddev': self.stddev}

  def call(self, x: tf.Tensor) -> tf.Tensor:
    """<float>[..., M] -> <float>[..., N], for a kernel [M, N]"""
    return tf.matmul(x, self.kernel)


class RMSNorm(Layer):
  """x / sqrt(mean(x^2)) * scale; the mean is taken in float32. Source: arXiv:1910.07467, without a bias as in T5."""

  def __init__(self, d_model: int, **kwargs: Any) -> None:
    """
    Args:
      d_model: M
      **kwargs: of keras.layers.Layer
    """
    super().__init__(**kwargs)
    self.d_model = d_model
    self.scale = self.add_weight(name='scale', shape=[d_model], initializer='ones')

  def get_config(self) -> dict[str, Any]:
    return {**super().get_config(), 'd_model': self.d_model}

  def call(self, x: tf.Tensor) -> tf.Tensor:
    """<float>[..., M] -> same shape and dtype"""
    variance = tf.reduce_mean(tf.square(tf.cast(x, tf.float32)), axis=-1, keepdims=True)
    return x * tf.cast(tf.math.rsqrt(variance + NORM_EPSILON), x.dtype) * self.scale


class DenseReluDense(Layer):
  """The feed-forward layer. Source: arXiv:1910.10683, section 2.1; gated (GEGLU): arXiv:2002.05202."""

  def __init__(
    self,
    d_model: int,
    d_ff: int,
    activation: str | Sequence[str] = ('relu',),
    dropout_rate: float = DROPOUT_RATE,
    **kwargs: Any,
  ) -> None:
    """
    Args:
      d_model: M
      d_ff: H
      activation: names; the hidden layer is the product of one projection for each
      dropout_rate: of the hidden layer, the same for all tokens of a sequence, as in Mesh-TensorFlow's T5
      **kwargs: of keras.layers.Layer
    Raises:
      UserError: an activation is unknown
    """
    super().__init__(**kwargs)
    self.d_model, self.d_ff, self.dropout_rate = d_model, d_ff, dropout_rate
    self.activation = checked_activation(activation)
    self.inward = add_inward_kernels(self, (d_model, d_ff), d_model**-0.5, self.activation)
    self.wo = Kernel((d_ff, d_model), d_ff**-0.5, name='wo')
    self.dropout = keras.layers.Dropout(dropout_rate, noise_shape=(None, 1, None))

  def get_config(self) -> dict[str, Any]:
    own_config = {'d_model': self.d_model, 'd_ff': self.d_ff, 'activation': self.activation}
    return {**super().get_config(), **own_config, 'dropout_rate': self.dropout_rate}

  def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
    """<float>[B, T, M] -> same shape"""
    hidden = activated([getattr(self, name)(x) for name in self.inward], self.activation)
    return self.wo(self.dropout(hidden, training=training))


def add_inward_kernels(layer: Layer, shape: Sequence[int], stddev: float, activation: Sequence[str]) -> tuple[str, ...]:
  """Gives a layer the kernels that lead to its hidden layer; returns the names of the attributes."""
  names = inward_names(activation)
  for name in names:
    setattr(layer, name, Kernel(shape, stddev, name=name))
  return names


def inward_names(activation: Sequence[str]) -> tuple[str, ...]:
  """`wi`, or `wi_0` and `wi_1` for two activations."""
  return ('wi',) if len(activation) == 1 else tuple(f'wi_{i}' for i in range(len(activation)))


def activated(factors: Sequence[tf.Tensor], activation: Sequence[str]) -> tf.Tensor:
  """The product of projections, each through its activation. <float>[..., H] each -> <float>[..., H]"""
  return functools.reduce(tf.multiply, (ACTIVATIONS[n](x) for n, x in zip(activation, factors, strict=True)))


def checked_activation(names: str | Sequence[str]) -> tuple[str, ...]:
  """Names of activations as a tuple.

  Raises:
    UserError: one is unknown
  """
  names = (names,) if isinstance(names, str) else tuple(names)
  for name in names:
    if name not in ACTIVATIONS:
      hint = did_you_mean(name, ACTIVATIONS) or f' Known are {", ".join(ACTIVATIONS)}.'
      raise UserError(f'There is no activation "{name}".{hint}')
  return names
