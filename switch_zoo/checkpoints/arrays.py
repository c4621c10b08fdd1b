"""Tensors in files: their types, places and shapes, and reading and writing a part of one."""

import math
import os
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import ml_dtypes
import numpy as np

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
FLOAT_TYPES = {'float32': np.dtype(np.float32), 'bfloat16': BFLOAT16}
# A matrix is transposed in stripes, so that both sides of a stripe stay in the cache: four times as fast as in one go.
STRIPE = 64


class TensorInfo(NamedTuple):
  """What is known of a tensor without reading it."""

  shape: tuple[int, ...]
  dtype: np.dtype

  @property
  def nbytes(self) -> int:
    return math.prod(self.shape) * self.dtype.itemsize


class FileRegion(NamedTuple):
  """A tensor stored in a file as it would be in memory: row by row, little-endian."""

  path: str
  offset: int
  info: TensorInfo

  def part(self, index: int | None) -> 'FileRegion':
    """The region of one entry along the first axis; the whole region for None."""
    if index is None:
      return self
    part = TensorInfo(self.info.shape[1:], self.info.dtype)
    return FileRegion(self.path, self.offset + index * part.nbytes, part)


class CheckpointTensors:
  """The tensors of a checkpoint by the names they have there; a reader for each format derives from it.

  infos: name -> TensorInfo
  """

  infos: Mapping[str, TensorInfo]

  def read(self, name: str, index: int | None = None) -> np.ndarray:
    """A tensor, or one entry of it along its first axis. -> <dtype>[shape] or <dtype>[shape after the first axis]"""
    raise NotImplementedError


def read_region(region: FileRegion) -> np.ndarray:
  """Reads a region and nothing else of its file.

  Raises:
    EOFError: the file ends inside the region
  """
  array = np.empty(region.info.shape, region.info.dtype)
  octets = array.reshape(-1).view(np.uint8).data
  with open(region.path, 'rb', buffering=0) as file:
    file.seek(region.offset)
    done = 0
    while done < len(octets):
      count = file.readinto(octets[done:])
      if not count:
        raise EOFError(f'{region.path} ends {len(octets) - done:,} bytes before the end of a tensor.')
      done += count
  return array


def write_region(descriptor: int, offset: int, array: np.ndarray) -> None:
  """Writes an array at an offset of an open file; several threads may do so in one file."""
  octets = np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
  while octets:
    count = os.pwrite(descriptor, octets, offset)
    octets, offset = octets[count:], offset + count


def transposed(matrix: np.ndarray) -> np.ndarray:
  """A copy of a matrix with rows and columns exchanged. <dtype>[rows, columns] -> <dtype>[columns, rows]"""
  result = np.empty(matrix.shape[::-1], matrix.dtype)
  for start in range(0, matrix.shape[0], STRIPE):
    result[:, start : start + STRIPE] = matrix[start : start + STRIPE].T
  return result


def widest(dtypes: Iterable[np.dtype]) -> np.dtype:
  """The floating-point type that holds every value of each of several.

  >>> widest([np.dtype('float16'), BFLOAT16])
  dtype('float32')
  """
  different = set(dtypes)
  return different.pop() if len(different) == 1 else np.dtype(np.float32)
