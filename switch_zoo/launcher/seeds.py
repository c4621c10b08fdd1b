"""One seed for everything random in a run: weights, dropout and the router's noise. The data has its own argument."""

import random
import zlib

import gin
import tensorflow.compat.v1 as tf
from mesh_tensorflow import placement_mesh_impl


@gin.configurable(module='launcher')
def reproducible(seed: int | None = None) -> None:
  """Makes the graph that is built next draw the same numbers in every process; None leaves them to chance.

  TensorFlow's graph seed covers the weights. Mesh-TensorFlow gives dropout and router noise a seed of their own:
  Python's `hash` of a text with a number of Python's generator (`PlacementMeshImpl.random`). The generator is seeded
  here, and `hash`, which differs from process to process for texts, gives way to a checksum in that module. Goes with
  a Mesh-TensorFlow release that takes a seed.
  """
  if seed is None:
    return
  tf.set_random_seed(seed)
  random.seed(seed)
  placement_mesh_impl.hash = _checksum


def _checksum(text: str) -> int:
  return zlib.crc32(text.encode())
