"""Keras' file of weights, `model.weights.h5`: HDF5, where a variable lies at its Mesh-TensorFlow name with `vars/`
before the last part (`encoder/block_000/layer_003/MoE1D/wi/vars/kernel`), with the same axes.

bfloat16, which HDF5 does not know, is stored as Keras 3 does it: two raw bytes, and the attribute dtype = 'bfloat16'.
"""

import os
import threading
from collections.abc import Mapping

import numpy as np

from switch_zoo.checkpoints.arrays import BFLOAT16, Info, Tensors
from switch_zoo.errors import UserError

WEIGHTS = 'model.weights.h5'
RAW_BFLOAT16 = np.dtype('V2')
DTYPE_ATTRIBUTE = 'dtype'
UNFINISHED = '.unfinished'


class KerasTensors(Tensors):
  """The variables of a file."""

  def __init__(self, path: str):
    import h5py

    try:
      self._file = h5py.File(path, 'r')
    except OSError as error:
      raise UserError(f'{path} is no HDF5 file, or is truncated. Copy it anew.') from error
    # HDF5 is not made for several threads.
    self._lock = threading.Lock()
    self.infos: dict[str, Info] = {}
    self._file.visititems(self._note)

  def read(self, name, index=None):
    with self._lock:
      dataset = self._file[name]
      array = dataset[()] if index is None else dataset[index]
    return array.view(self.infos[name].dtype) if array.dtype == RAW_BFLOAT16 else array

  def _note(self, name, item):
    if hasattr(item, 'shape'):
      raw = item.attrs.get(DTYPE_ATTRIBUTE) == 'bfloat16'
      self.infos[name] = Info(item.shape, BFLOAT16 if raw else item.dtype)


def create(path: str, tensors: Mapping[str, Info]) -> dict[str, int]:
  """Makes a file with room for the variables, and gives the offset of each in it: they are written there."""
  import h5py

  offsets = {}
  # Under its name only when it is complete.
  with h5py.File(path + UNFINISHED, 'w') as file:
    settings = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    # Room at once, and nothing written into it: then the variable has its place before it has its values.
    settings.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    settings.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    # The same weights give the same file.
    settings.set_obj_track_times(False)
    for name, info in tensors.items():
      raw = info.dtype == BFLOAT16
      group, _, last = name.rpartition('/')
      kind = h5py.h5t.py_create(RAW_BFLOAT16 if raw else info.dtype, logical=True)
      space = h5py.h5s.create_simple(info.shape)
      dataset = h5py.h5d.create(file.require_group(group).id, last.encode(), kind, space, settings)
      if raw:
        h5py.Dataset(dataset).attrs[DTYPE_ATTRIBUTE] = 'bfloat16'
      offsets[name] = dataset.get_offset()
  os.replace(path + UNFINISHED, path)
  return offsets


def fill(path: str, arrays: Mapping[str, np.ndarray]) -> None:
  """Writes the values of variables into a file made by `create`."""
  import h5py

  with h5py.File(path, 'r+') as file:
    for name, array in arrays.items():
      file[name][...] = array.view(RAW_BFLOAT16) if array.dtype == BFLOAT16 else array


def offsets(path: str) -> dict[str, int]:
  """The offset of each variable in a file made by `create`."""
  import h5py

  found = {}
  with h5py.File(path, 'r') as file:
    file.visititems(lambda name, item: found.update({name: item.id.get_offset()} if hasattr(item, 'shape') else {}))
  return found


def has_weights(folder: str) -> bool:
  """Whether a folder is one of Keras'."""
  return os.path.isfile(os.path.join(folder, WEIGHTS))
