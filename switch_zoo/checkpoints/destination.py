"""A checkpoint to be written: every tensor has its place in a file before any value is known.

So the parts come in any order, from several threads, and after an interruption only the missing ones are written.
"""

import os
from collections.abc import Callable, Mapping
from typing import ClassVar, NamedTuple

import numpy as np

from switch_zoo.checkpoints import arrays, checksums, safetensors_files
from switch_zoo.checkpoints.arrays import FileRegion, TensorInfo
from switch_zoo.checkpoints.format_names import FORMAT_NAMES
from switch_zoo.checkpoints.weights import WeightPart
from switch_zoo.spec.config import ModelConfig


class ExtraTensor(NamedTuple):
  """A tensor that is not a weight: the step, or a slot of the optimizer."""

  info: TensorInfo
  read: Callable[[], np.ndarray]


Dtypes = Mapping[str, np.dtype]
Extras = Mapping[str, ExtraTensor]
NO_EXTRAS: Extras = {}


class Destination:
  """A checkpoint in a folder; a class for each format derives from it.

  kind: of `names`; keeps_extras: whether the format has the step and the optimizer's slots next to the weights
  infos: name in the format -> type and shape of every tensor; regions: the same -> its place, after `create`
  shards: the tensors of each file
  """

  kind: ClassVar[str]
  keeps_extras: ClassVar[bool] = False

  def __init__(
    self, folder: str, config: ModelConfig, dtypes: Dtypes, max_shard_bytes: int, extras: Extras = NO_EXTRAS
  ):
    """
    Args:
      folder: where the files are written
      config: the model
      dtypes: variable -> type to write it in
      max_shard_bytes: of one file of weights, in formats with several
      extras: name -> tensor, in formats that keep them
    Raises:
      UserError: the format has no place for the model
    """
    self.folder = folder
    self.config = config
    self.dtypes = dtypes
    self.extras = extras
    self.names = FORMAT_NAMES[self.kind](config)
    self.infos = self.names.infos(dtypes) | {name: extra.info for name, extra in extras.items()}
    self.shards = self._split(max_shard_bytes)
    self.regions: dict[str, FileRegion] = {}

  def create(self) -> None:
    """Makes the files, with room for everything; those an interrupted conversion made stay as they are."""
    raise NotImplementedError

  def finish(self, checksums: Mapping[WeightPart, int]) -> None:
    """Writes what makes the files a checkpoint, after all parts."""

  def write(self, part: WeightPart, array: np.ndarray) -> tuple[list[str], int]:
    """Writes a part; gives the paths of its files, and its checksum.

    Args:
      part: of the model's weights, or the name of an extra tensor
      array: <dtype>[axes of Mesh-TensorFlow]
    """
    region, transposed = self._place(part)
    stored = np.ascontiguousarray(arrays.transposed(array) if transposed else array, region.info.dtype)
    regions = [region, *self._copies(part)]
    for place in regions:
      _write(place, stored)
    return [place.path for place in regions], self._checksum(stored)

  def notes(self) -> list[str]:
    """What a user should know about the checkpoint."""
    return []

  @property
  def nbytes(self) -> int:
    """Bytes of all tensors."""
    return sum(info.nbytes for info in self.infos.values())

  def _split(self, max_shard_bytes: int) -> list[dict[str, TensorInfo]]:
    """The tensors of each file."""
    return safetensors_files.shards(self.infos, max_shard_bytes)

  def _place(self, part: WeightPart) -> tuple[FileRegion, bool]:
    """The region of a part, and whether its axes are exchanged there."""
    location = self.names.locate(*part)
    return self.regions[location.name].part(location.index), location.transposed

  def _checksums_text(self, parts: Mapping[WeightPart, int]) -> str:
    """checksums.json, from the checksums of the parts."""
    tensors: dict[str, int | list[int]] = {}
    for part, crc in sorted(parts.items(), key=lambda item: (item[0].variable, item[0].expert or 0)):
      location = self.names.locate(*part)
      if location.index is None:
        tensors |= dict.fromkeys([location.name, *self._copied_to(part)], crc)
      else:
        entries = tensors.setdefault(location.name, [])
        assert isinstance(entries, list)
        entries.append(crc)
    return checksums.text(tensors)

  def _copied_to(self, part: WeightPart) -> list[str]:
    """Other tensors that get the same values."""
    return []

  def _copies(self, part: WeightPart) -> list[FileRegion]:
    """Other regions that get the same values."""
    return [self.regions[name] for name in self._copied_to(part)]

  def _checksum(self, stored: np.ndarray) -> int:
    return checksums.checksum(stored)


def allocate(path: str, size: int) -> None:
  """Makes a file of a size whose contents are not yet written; one that exists keeps its contents."""
  with open(path, 'ab') as file:
    file.truncate(size)


def write_text(path: str, text: str) -> None:
  """Writes a small file, and syncs it to the disk."""
  with open(path, 'w', encoding='utf-8') as file:
    file.write(text)
    file.flush()
    os.fsync(file.fileno())


def _write(region: FileRegion, array: np.ndarray) -> None:
  descriptor = os.open(region.path, os.O_WRONLY)
  try:
    arrays.write_region(descriptor, region.offset, array)
  finally:
    os.close(descriptor)
