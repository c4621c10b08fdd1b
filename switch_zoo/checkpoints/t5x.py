"""T5X checkpoints (`switch_classic`, `t5_1_1`, ...), to read: a folder `target.A.B.C` with a zarr array per variable.

Next to them are the optimizer's `state.*`, which is ignored, and a file `checkpoint`, which only names the same
folders. Source: t5x/checkpoints.py (`_write_state_to_tensorstore`).
"""

import glob
import json
import os
from typing import Any

import ml_dtypes  # noqa: F401 - gives NumPy the name bfloat16
import numpy as np

from switch_zoo.checkpoints.arrays import BFLOAT16, CheckpointTensors, TensorInfo
from switch_zoo.errors import UserError

PREFIX = 'target.'


class T5XTensors(CheckpointTensors):
  """The weights of a checkpoint by their path in the model: 'encoder/layers_0/mlp/wi/kernel'."""

  def __init__(self, folder: str):
    self._folders = {
      os.path.basename(path).removeprefix(PREFIX).replace('.', '/'): path for path in array_folders(folder)
    }
    self._open_arrays: dict[str, Any] = {}
    self.infos = {name: _read_info(path) for name, path in self._folders.items()}

  def read(self, name: str, index: int | None = None) -> np.ndarray:
    array = self._array(name)
    try:
      return (array if index is None else array[index]).read().result()
    except Exception as error:  # noqa: BLE001 - tensorstore raises ValueError for missing and damaged chunks alike
      raise UserError(f'{self._folders[name]} cannot be read: {str(error).splitlines()[0]}. Copy it again.') from error

  def _array(self, name: str) -> Any:
    """A tensorstore.TensorStore."""
    if name not in self._open_arrays:
      self._open_arrays[name] = _open_array(self._folders[name])
    return self._open_arrays[name]


def array_folders(folder: str) -> list[str]:
  """Folders of the weights in a checkpoint; empty if it is not one of T5X."""
  metadata_files = glob.glob(os.path.join(glob.escape(folder), f'{PREFIX}*', '.zarray'))
  return sorted(os.path.dirname(path) for path in metadata_files)


def _open_array(folder: str) -> Any:
  try:
    import tensorstore
  except ImportError as error:
    raise UserError('Reading a T5X checkpoint needs tensorstore: pip install tensorstore.') from error
  spec = {
    'driver': 'zarr',
    'kvstore': {'driver': 'file', 'path': os.path.abspath(folder)},
    # A missing chunk means a damaged checkpoint, not zeros.
    'fill_missing_data_reads': False,
  }
  return tensorstore.open(spec, read=True).result()  # pyright: ignore[reportAttributeAccessIssue] - compiled, no stubs


def _read_info(folder: str) -> TensorInfo:
  try:
    with open(os.path.join(folder, '.zarray'), encoding='utf-8') as file:
      metadata = json.load(file)
    dtype = metadata['dtype']
    return TensorInfo(tuple(metadata['shape']), BFLOAT16 if dtype == 'bfloat16' else np.dtype(dtype))
  except (ValueError, KeyError, TypeError) as error:
    raise UserError(f'{folder}/.zarray cannot be read ({error}). Copy it again.') from error
