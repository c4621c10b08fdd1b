"""Layers that are alike as one function of TensorFlow: a graph holds their operations once, and each layer is a call.

What gets smaller is the SavedModel, and the time and memory to load it and to run it for the first time.
"""

import tensorflow as tf

from switch_zoo.keras.stacked_variables import replaced


class Repeated:
  """Calls methods of layers through one function for all layers that are alike."""

  def __init__(self):
    self._functions = {}

  def __call__(self, method, layer, *arguments):
    """What `method(layer, *arguments)` returns.

    Args:
      method: function of a layer
      layer: tf.Module whose weights are tensors; layers with weights of the same names, shapes and types are alike
      arguments: tensors, or structures of them
    """
    places = [(part, name) for part in (layer, *layer.submodules) for name in _tensors(part)]
    weights = [getattr(*place) for place in places]
    alike = tuple((name, weight.dtype, *weight.shape) for (_, name), weight in zip(places, weights, strict=True))
    if (method, alike) not in self._functions:
      self._functions[method, alike] = _function(method, layer, places)
    return self._functions[method, alike](weights, arguments)


def _function(method, layer, places):
  """A function of weights and arguments; one layer stands for all that are alike."""

  def call(weights, arguments):
    with replaced(places, weights):
      return method(layer, *arguments)

  # Or TensorFlow puts the operations in the place of each call before it runs them, and the graph is large again.
  return tf.function(call, autograph=False, experimental_attributes={'_noinline': True})


def _tensors(part):
  return [name for name, value in vars(part).items() if isinstance(value, tf.Tensor)]
