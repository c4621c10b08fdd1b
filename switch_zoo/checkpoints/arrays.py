"""Tensors in files: their types, places and shapes, and reading and writing a part of one."""

import math
import os
from collections.abc import Mapping
from typing import NamedTuple

import ml_dtypes
import numpy as np

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
FLOAT_TYPES = {'float32': np.dtype(np.float32), 'bfloat16': BFLOAT16}
# A transposition goes by stripes, so that both sides of it stay in the cache: four times as fast as in one go.
STRIPE = 64


class Info(NamedTuple):
  """What is known of a tensor without reading it."""

  shape: tuple[int, ...]
  dtype: np.dtype

  @property
  def nbytes(self) -> int:
    return math.prod(self.shape) * self.dtype.itemsize


class Region(NamedTuple):
  """A tensor that lies in a file as it would in memory: row by row, little-endian."""

  path: str
  offset: int
  info: Info

  def part(self, index: int | None) -> 'Region':
    """The region of one entry along the first axis; of everything for None."""
    if index is None:
      return self
    part = Info(self.info.shape[1:], self.info.dtype)
    return Region(self.path, self.offset + index * part.nbytes, part)


class Tensors:
  """The tensors of a checkpoint by their names there; a reader for each format derives from it.

  infos: name -> Info
  """

  infos: Mapping[str, Info]

  def read(self, name: str, index: int | None = None) -> np.ndarray:
    """A tensor, or one entry of it along its first axis. -> <dtype>[shape] or <dtype>[shape after the first axis]"""
    raise NotImplementedError


def read_region(region: Region) -> np.ndarray:
  """Reads a region and nothing else of its file.

  Raises:
    EOFError: the file ends inside of it
  """
  array = np.empty(region.info.shape, region.info.dtype)
  view = memoryview(array.reshape(-1).view(np.uint8))
  with open(region.path, 'rb', buffering=0) as file:
    file.seek(region.offset)
    done = 0
    while done < len(view):
      count = file.readinto(view[done:])
      if not count:
        raise EOFError(f'{region.path} ends {len(view) - done:,} bytes inside a tensor.')
      done += count
  return array


def write_region(descriptor: int, offset: int, array: np.ndarray) -> None:
  """Writes an array at an offset of an open file; several threads may do so in one file."""
  view = memoryview(np.ascontiguousarray(array).reshape(-1).view(np.uint8))
  while view:
    count = os.pwrite(descriptor, view, offset)
    view, offset = view[count:], offset + count


def transposed(matrix: np.ndarray) -> np.ndarray:
  """A matrix with rows and columns exchanged, as an array of its own."""
  result = np.empty(matrix.shape[::-1], matrix.dtype)
  for start in range(0, matrix.shape[0], STRIPE):
    result[:, start : start + STRIPE] = matrix[start : start + STRIPE].T
  return result


def widest(dtypes) -> np.dtype:
  """The type among several floating-point types that holds every value of each.

  >>> widest([np.dtype('float16'), BFLOAT16])
  dtype('float32')
  """
  different = set(dtypes)
  return different.pop() if len(different) == 1 else np.dtype(np.float32)
