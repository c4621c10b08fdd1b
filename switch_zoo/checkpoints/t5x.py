"""T5X checkpoints (`switch_classic`, `t5_1_1`, ...), to read: a folder `target.A.B.C` with a zarr array for each.

Beside them lie the optimizer's `state.*`, which is left alone, and a file `checkpoint`, which only names the same
folders. Source: t5x/checkpoints.py (`_write_state_to_tensorstore`).
"""

import glob
import json
import os

import ml_dtypes  # noqa: F401 - gives NumPy the name bfloat16
import numpy as np

from switch_zoo.checkpoints.arrays import BFLOAT16, Info, Tensors
from switch_zoo.errors import UserError

PREFIX = 'target.'


class T5XTensors(Tensors):
  """The weights of a checkpoint by their path in the model: 'encoder/layers_0/mlp/wi/kernel'."""

  def __init__(self, folder: str):
    self._folders = {
      os.path.basename(path).removeprefix(PREFIX).replace('.', '/'): path for path in array_folders(folder)
    }
    self._open = {}
    self.infos = {name: _info(path) for name, path in self._folders.items()}

  def read(self, name, index=None):
    array = self._array(name)
    try:
      return (array if index is None else array[index]).read().result()
    except Exception as error:  # noqa: BLE001 - tensorstore raises ValueError for missing and damaged chunks alike
      raise UserError(f'{self._folders[name]} cannot be read: {str(error).splitlines()[0]}. Copy it anew.') from error

  def _array(self, name):
    if name not in self._open:
      try:
        import tensorstore
      except ImportError as error:
        raise UserError('Reading a T5X checkpoint needs tensorstore: pip install tensorstore.') from error
      spec = {
        'driver': 'zarr',
        'kvstore': {'driver': 'file', 'path': os.path.abspath(self._folders[name])},
        # A chunk that is not there means a damaged checkpoint, not zeros.
        'fill_missing_data_reads': False,
      }
      self._open[name] = tensorstore.open(spec, read=True).result()
    return self._open[name]


def array_folders(folder: str) -> list[str]:
  """Folders of the weights in a checkpoint; empty for a folder that is none."""
  marks = glob.glob(os.path.join(glob.escape(folder), f'{PREFIX}*', '.zarray'))
  return sorted(os.path.dirname(mark) for mark in marks)


def _info(path):
  try:
    with open(os.path.join(path, '.zarray'), encoding='utf-8') as file:
      metadata = json.load(file)
    kind = metadata['dtype']
    return Info(tuple(metadata['shape']), BFLOAT16 if kind == 'bfloat16' else np.dtype(kind))
  except (ValueError, KeyError, TypeError) as error:
    raise UserError(f'{path}/.zarray cannot be read ({error}). Copy it anew.') from error
