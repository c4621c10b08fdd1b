"""Keras' weights file, `model.weights.h5`: HDF5, with a variable at its Mesh-TensorFlow name with `vars/` before the
last part (`encoder/block_000/layer_003/MoE1D/wi/vars/kernel`), with the same axes.

bfloat16, which HDF5 does not have, is stored as Keras 3 does: two raw bytes, and the attribute dtype = 'bfloat16'. The
attribute crc32, which only `fill` writes, is ours: Keras ignores it.
"""

import os
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from switch_zoo.checkpoints import checksums, file_checks, keras_datasets
from switch_zoo.checkpoints.arrays import BFLOAT16, CheckpointTensors, TensorInfo
from switch_zoo.checkpoints.keras_datasets import CHECKSUM_ATTRIBUTE, DTYPE_ATTRIBUTE, RAW_BFLOAT16
from switch_zoo.errors import UserError

if TYPE_CHECKING:
  import h5py

WEIGHTS = 'model.weights.h5'
UNFINISHED = '.unfinished'
# What h5py raises for damage inside a file that can be opened.
DAMAGE = (OSError, RuntimeError, ValueError, KeyError, TypeError, OverflowError)


class KerasTensors(CheckpointTensors):
  """The variables of a file."""

  def __init__(self, path: str):
    import h5py

    file_checks.check_weights(path)
    self._path = path
    # HDF5 is not made for several threads.
    self._lock = threading.Lock()
    try:
      self._file = h5py.File(path, 'r')
    except (OSError, ValueError, RuntimeError) as error:
      raise UserError(f'{path} is not an HDF5 file, or is truncated. Copy it again.') from error
    size = os.path.getsize(path)
    try:
      self._datasets = _datasets(self._file)
      problems = {name: keras_datasets.problem(dataset, size) for name, dataset in self._datasets.items()}
      whole = {name: dataset for name, dataset in self._datasets.items() if not problems[name]}
      self.infos = {name: _info(dataset) for name, dataset in whole.items()}
      self._checksums = {name: keras_datasets.checksums(dataset) for name, dataset in whole.items()}
    except DAMAGE as error:
      raise UserError(f'{path} is damaged: {_first_line(error)}. Copy it again.') from error
    for name, problem in problems.items():
      if problem:
        raise UserError(f'{path}: {name} {problem}')

  def read(self, name: str, index: int | None = None) -> np.ndarray:
    with self._lock:
      dataset = self._datasets[name]
      try:
        array: np.ndarray = dataset[()] if index is None else dataset[index]
      except DAMAGE as error:
        raise UserError(f'{self._path} is damaged: {name}: {_first_line(error)}. Copy it again.') from error
    array = array.view(self.infos[name].dtype) if array.dtype == RAW_BFLOAT16 else array
    if not checksums.match(self._checksums[name], index, array):
      raise UserError(
        f'{self._path}: {name} is not what was written: its checksum is another than in its attribute '
        f'{CHECKSUM_ATTRIBUTE}. The weights are damaged: copy them again. If you have changed them yourself, delete '
        'the attribute.'
      )
    return array


def create(path: str, tensors: Mapping[str, TensorInfo]) -> dict[str, int]:
  """Makes a file with room for the variables; gives the offset of each, where its values are to be written."""
  import h5py

  # It gets its name only when it is complete.
  with h5py.File(path + UNFINISHED, 'w') as file:
    settings = _dataset_settings()
    offsets = {name: _create_dataset(file, name, info, settings).id.get_offset() for name, info in tensors.items()}
  os.replace(path + UNFINISHED, path)
  return offsets


def fill(path: str, arrays: Mapping[str, np.ndarray]) -> None:
  """Writes the values of variables, and their checksums, into a file made by `create`."""
  import h5py

  with h5py.File(path, 'r+') as file:
    datasets = _datasets(file)
    for name, array in arrays.items():
      datasets[name][...] = array.view(RAW_BFLOAT16) if array.dtype == BFLOAT16 else array
      datasets[name].attrs[CHECKSUM_ATTRIBUTE] = np.asarray(checksums.checksums_of_entries(array), np.uint32)


def offsets(path: str) -> dict[str, int]:
  """The offset of each variable in a file made by `create`."""
  import h5py

  with h5py.File(path, 'r') as file:
    return {name: dataset.id.get_offset() for name, dataset in _datasets(file).items()}


def has_weights(folder: str) -> bool:
  """Whether a folder is one of Keras'."""
  return os.path.lexists(os.path.join(folder, WEIGHTS))


def _datasets(file: 'h5py.File') -> dict[str, 'h5py.Dataset']:
  """The variables of a file by their path."""
  import h5py

  datasets: dict[str, h5py.Dataset] = {}

  def note(name: str, item: object) -> None:
    if isinstance(item, h5py.Dataset):
      datasets[name] = item

  file.visititems(note)
  return datasets


def _first_line(error: Exception) -> str:
  return (str(error).splitlines() or [type(error).__name__])[0]


def _info(dataset: 'h5py.Dataset') -> TensorInfo:
  raw = dataset.attrs.get(DTYPE_ATTRIBUTE) == 'bfloat16'
  return TensorInfo(dataset.shape, BFLOAT16 if raw else dataset.dtype)


def _dataset_settings() -> 'h5py.h5p.PropDCID':
  import h5py

  settings = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
  # Space is allocated at once and nothing is written into it, so that a variable has its place before its values.
  settings.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
  settings.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
  # The same weights give the same file.
  settings.set_obj_track_times(False)
  return settings


def _create_dataset(file: 'h5py.File', name: str, info: TensorInfo, settings: 'h5py.h5p.PropDCID') -> 'h5py.Dataset':
  import h5py

  raw = info.dtype == BFLOAT16
  group, _, last = name.rpartition('/')
  dtype = h5py.h5t.py_create(RAW_BFLOAT16 if raw else info.dtype, logical=True)
  space = h5py.h5s.create_simple(info.shape)
  dataset = h5py.Dataset(h5py.h5d.create(file.require_group(group).id, last.encode(), dtype, space, settings))
  if raw:
    dataset.attrs[DTYPE_ATTRIBUTE] = 'bfloat16'
  return dataset
