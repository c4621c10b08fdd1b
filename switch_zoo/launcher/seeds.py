"""One seed for everything random in a run: weights, dropout and the router's noise. The data has its own argument."""

import random
import zlib

import gin
import tensorflow.compat.v1 as tf

from switch_zoo.launcher import noise


@gin.configurable(module='launcher')  # pyright: ignore[reportCallIssue] - gin has no types
def reproducible(seed: int | None = None) -> None:
  """Makes the graph that is built next draw the same numbers in every process; None leaves them to chance.

  TensorFlow's graph seed covers the weights. Mesh-TensorFlow gives dropout and router noise a seed of their own: a hash
  of a text that contains a number of Python's generator (`PlacementMeshImpl.random`). The generator is seeded here, and
  `replacements` makes that hash `checksum`. In a training, `noise` adds the step.
  """
  if seed is None:
    return
  tf.set_random_seed(seed)
  random.seed(seed)
  noise.draw_from_step()


def checksum(text: str) -> int:
  """A number from a text that is the same in every process, unlike Python's `hash`."""
  return zlib.crc32(text.encode())
