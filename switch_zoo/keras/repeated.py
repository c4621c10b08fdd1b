"""Layers that are alike as one TensorFlow function: a graph holds their operations once, and each layer is a call.

This shrinks the SavedModel, and the time and memory to load it and to run it for the first time.
"""

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from switch_zoo.keras.stacked_variables import Attribute, replaced


class Repeated:
  """Calls methods of layers through one function for all layers that are alike."""

  def __init__(self) -> None:
    self._functions: dict[tuple[Any, ...], Callable[..., Any]] = {}

  def __call__(self, method: Callable[..., Any], layer: tf.Module, *arguments: Any) -> Any:
    """What `method(layer, *arguments)` returns.

    Args:
      method: function of a layer
      layer: tf.Module whose weights are tensors; layers with weights of the same names, shapes and dtypes are alike
      arguments: tensors, or structures of them
    """
    attributes = [(part, name) for part in (layer, *layer.submodules) for name in _tensors(part)]
    weights = [getattr(part, name) for part, name in attributes]
    signature = tuple((name, w.dtype, *w.shape) for (_, name), w in zip(attributes, weights, strict=True))
    if (method, signature) not in self._functions:
      self._functions[method, signature] = _function(method, layer, attributes)
    return self._functions[method, signature](weights, arguments)


def _function(method: Callable[..., Any], layer: tf.Module, attributes: Sequence[Attribute]) -> Callable[..., Any]:
  """A function of weights and arguments; one layer represents all that are alike."""

  def call(weights: Sequence[tf.Tensor], arguments: Sequence[Any]) -> Any:
    with replaced(attributes, weights):
      return method(layer, *arguments)

  # Otherwise TensorFlow inlines the operations at each call before it runs them, and the graph is large again.
  return tf.function(call, autograph=False, experimental_attributes={'_noinline': True})


def _tensors(part: tf.Module) -> list[str]:
  return [name for name, value in vars(part).items() if isinstance(value, tf.Tensor)]
