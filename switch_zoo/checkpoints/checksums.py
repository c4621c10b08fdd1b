"""The CRC-32 of every tensor, for weights in formats that have no checksums of their own.

`convert` writes checksums.json next to those of Keras and Hugging Face; `save_weights` writes an attribute of each
variable into the file itself. What reads the weights here checks them as tensors are read; other programs ignore them.
A variable whose experts are one tensor has one checksum for each of them, because they are read and written one at a
time.
"""

import json
import os
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from switch_zoo.checkpoints import file_checks, json_files
from switch_zoo.errors import UserError

FILE = 'checksums.json'
ALGORITHM = 'crc32'


def checksum(array: np.ndarray) -> int:
  """The CRC-32 of an array's bytes in memory order."""
  return zlib.crc32(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)


def checksums_of_entries(array: np.ndarray) -> int | list[int]:
  """The checksum of a variable; one for each entry along the first of three axes, which is that of the experts."""
  return list(map(checksum, array)) if array.ndim == 3 else checksum(array)


def match(expected: int | list[int] | None, index: int | None, array: np.ndarray) -> bool:
  """Whether a tensor is what was written.

  Args:
    expected: the checksum of the tensor, or those of its entries along the first axis; None: not known
    index: of the entry that the array is; None: it is all of the tensor
    array: what was read
  """
  if isinstance(expected, list):
    entries = {index: array} if index is not None else dict(enumerate(array))
    return all(number < len(expected) and expected[number] == checksum(entry) for number, entry in entries.items())
  return expected is None or index is not None or expected == checksum(array)


def text(tensors: Mapping[str, int | list[int]]) -> str:
  """The file. tensors: name in the format -> checksum, or those of its entries along the first axis"""
  return json.dumps({'algorithm': ALGORITHM, 'tensors': tensors}, indent=1) + '\n'


class Checksums:
  """The checksums of a folder; without the file nothing is checked."""

  def __init__(self, folder: str):
    """
    Raises:
      UserError: the file is there and cannot be read
    """
    self.path = os.path.join(folder, FILE)
    content = json_files.read(self.path, unique=True) if file_checks.exists(self.path) else {}
    tensors = content.get('tensors', None if content else {})
    if content.get('algorithm', ALGORITHM) != ALGORITHM or not _is_table(tensors):
      raise UserError(f'{self.path} is not a list of checksums that this version knows. Copy it again, or delete it.')
    self._tensors: dict[str, int | list[int]] = tensors

  def check(self, name: str, index: int | None, array: np.ndarray) -> None:
    """Checks a tensor, or one entry of it along its first axis.

    Raises:
      UserError: its bytes are not those that were written
    """
    if not match(self._tensors.get(name), index, array):
      raise UserError(
        f'{name} is not what was written: its checksum is another than in {self.path}. The weights are damaged: copy '
        f'them again. If you have changed them yourself, delete {FILE}.'
      )


def _is_table(tensors: Any) -> bool:
  """Whether a value is a table of names with a checksum or a list of them."""
  if not isinstance(tensors, dict):
    return False
  return all(
    type(entry) is int for value in tensors.values() for entry in (value if isinstance(value, list) else [value])
  )
