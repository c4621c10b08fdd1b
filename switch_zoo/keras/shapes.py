"""Sizes of tensors that are known when the graph is made."""

import tensorflow as tf


def static_size(x: tf.Tensor, axis: int) -> int:
  """The size of one axis as an integer.

  Raises:
    ValueError: it is known only when the graph runs
  """
  size = x.shape[axis]
  if size is None:
    raise ValueError(f'Axis {axis} of {x} must have a size that is known when the graph is made.')
  return size
