"""T5X checkpoints (`switch_classic`, `t5_1_1`, ...), to read: a zarr array for each variable, by tensorstore.

T5X itself writes a folder `target.A.B.C` for each array. Through Orbax the same arrays are in a folder of their own
(`state`, or another name of the item), either as such folders, or in one database of tensorstore's (OCDBT) with their
names as keys, in the second or the third version of zarr. Next to them are the optimizer's `state.*`, ignored here.
Sources: t5x/checkpoints.py (`_write_state_to_tensorstore`); orbax/checkpoint, type_handlers.py; the specifications of
zarr 2 and 3.
"""

import os
from collections.abc import Collection, Iterator
from typing import Any, NamedTuple

import ml_dtypes  # noqa: F401 - gives NumPy the name bfloat16
import numpy as np

from switch_zoo.checkpoints import file_checks, json_files
from switch_zoo.checkpoints.arrays import BFLOAT16, CheckpointTensors, TensorInfo
from switch_zoo.errors import UserError

# What the names of the weights begin with: in T5X's state, and in a file of parameters alone.
PREFIXES = ('target.', 'params.')
# What the names of arrays begin with if each has all layers of a stack.
SCANNED = ('encoder/encoder/', 'decoder/decoder/')
# Folders in which Orbax may have put the weights; '' is the checkpoint's own.
ITEM_FOLDERS = ('', 'state', 'default', 'items', 'params')
DATABASE = 'manifest.ocdbt'
# File with an array's shape and type -> tensorstore's driver, and the field with the type.
METADATA = {'.zarray': ('zarr', 'dtype'), 'zarr.json': ('zarr3', 'data_type')}
# More than deflate can shrink anything, for arrays larger than this.
MAX_RATIO, MIN_CHECKED = 1100, 1 << 30


class StoredArray(NamedTuple):
  """An array in a checkpoint. title: for messages; metadata: the text of its metadata file"""

  title: str
  driver: str
  type_field: str
  kvstore: dict[str, Any]
  metadata: bytes


class T5XTensors(CheckpointTensors):
  """The weights of a checkpoint by their path in the model: 'encoder/layers_0/mlp/wi/kernel'."""

  def __init__(self, folder: str):
    root = find_root(folder) or folder
    nbytes = _size_on_disk(root)
    stored = _database_arrays(root) if _is_database(root) else _folder_arrays(root)
    self._arrays = _weights(dict(stored))
    _check_scanned(root, self._arrays)
    self._open_arrays: dict[str, Any] = {}
    self.infos = {name: _info(array) for name, array in self._arrays.items()}
    claimed = sum(info.nbytes for info in self.infos.values())
    if claimed > max(MIN_CHECKED, MAX_RATIO * nbytes):
      raise UserError(f'{root} has {nbytes:,} bytes, and says that its arrays have {claimed:,}. Copy it again.')

  def read(self, name: str, index: int | None = None) -> np.ndarray:
    try:
      array = self._array(name)
      return (array if index is None else array[index]).read().result()
    except UserError:
      raise
    except Exception as error:  # noqa: BLE001 - tensorstore raises ValueError for missing and damaged chunks alike
      title = self._arrays[name].title
      raise UserError(f'{title} cannot be read: {str(error).splitlines()[0]}. Copy it again.') from error

  def _array(self, name: str) -> Any:
    """A tensorstore.TensorStore."""
    if name not in self._open_arrays:
      stored = self._arrays[name]
      # A missing chunk means a damaged checkpoint, not zeros.
      spec = {'driver': stored.driver, 'kvstore': stored.kvstore, 'fill_missing_data_reads': False}
      self._open_arrays[name] = _tensorstore().open(spec, read=True).result()
    return self._open_arrays[name]


def find_root(folder: str) -> str | None:
  """The folder that has the arrays, or the database of them; None if a folder is not a checkpoint of T5X."""
  roots = (os.path.join(folder, item) if item else folder for item in ITEM_FOLDERS)
  return next((root for root in roots if _is_database(root) or any(_metadata_files(root))), None)


def _is_database(root: str) -> bool:
  return os.path.lexists(os.path.join(root, DATABASE))


def _metadata_files(root: str) -> Iterator[tuple[str, str]]:
  """(folder of an array, file) of the weights in a folder."""
  if not os.path.isdir(root):
    return
  for name in sorted(os.listdir(root)):
    if name.startswith(PREFIXES):
      yield from ((name, file) for file in METADATA if os.path.lexists(os.path.join(root, name, file)))


def _size_on_disk(root: str) -> int:
  """Bytes of all files; what is not a file is refused, since tensorstore would wait for it."""
  total = 0
  for folder, _, files in os.walk(root):
    for file in files:
      path = os.path.join(folder, file)
      file_checks.check_regular(path)
      total += os.path.getsize(path)
  return total


def _folder_arrays(root: str) -> Iterator[tuple[str, StoredArray]]:
  for name, file in _metadata_files(root):
    path = os.path.join(root, name)
    with open(os.path.join(path, file), 'rb') as opened:
      metadata = opened.read(json_files.MAX_BYTES)
    kvstore = {'driver': 'file', 'path': os.path.abspath(path)}
    yield name, StoredArray(path, *METADATA[file], kvstore, metadata)


def _database_arrays(root: str) -> Iterator[tuple[str, StoredArray]]:
  base = {'driver': 'file', 'path': os.path.abspath(root) + '/'}
  try:
    database = _tensorstore().KvStore.open({'driver': 'ocdbt', 'base': base}).result()
    for key in database.list().result():
      name, _, file = key.decode().rpartition('/')
      if file in METADATA and name.startswith(PREFIXES):
        kvstore = {'driver': 'ocdbt', 'base': base, 'path': f'{name}/'}
        yield name, StoredArray(f'{root}, {name}', *METADATA[file], kvstore, database[key])
  except UserError:
    raise
  except Exception as error:  # noqa: BLE001 - tensorstore raises ValueError for anything
    raise UserError(f'{root}/{DATABASE} cannot be read: {str(error).splitlines()[0]}. Copy it again.') from error


def _weights(arrays: dict[str, StoredArray]) -> dict[str, StoredArray]:
  """The arrays of the model, by their path in it."""
  prefix = next((prefix for prefix in PREFIXES if any(name.startswith(prefix) for name in arrays)), '')
  named = {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
  return {name.replace('.', '/'): array for name, array in named.items()}


def _check_scanned(root: str, arrays: Collection[str]) -> None:
  """Refuses the arrays of T5X's scalable_t5, which have all layers of a stack along one of their axes."""
  scanned = next((name for name in arrays if name.startswith(SCANNED)), None)
  if scanned:
    raise UserError(
      f'{root} is a checkpoint of scalable_t5, with the layers of a stack in one array ({scanned}), which is not read. '
      "Convert it to Hugging Face's format (convert_t5x_checkpoint_to_pytorch.py of transformers, with "
      '--scalable_attention).'
    )


def _info(array: StoredArray) -> TensorInfo:
  metadata = json_files.parse(array.metadata, f'{array.title} cannot be read: its metadata')
  shape, dtype = metadata.get('shape'), metadata.get(array.type_field)
  try:
    if not isinstance(shape, list) or not all(map(json_files.is_size, shape)) or not isinstance(dtype, str):
      raise ValueError(f'no shape and type are in it, but {shape} and {dtype}')
    return TensorInfo(tuple(shape), BFLOAT16 if dtype == 'bfloat16' else np.dtype(dtype))
  except (ValueError, TypeError, SyntaxError) as error:
    raise UserError(f'The metadata of {array.title} cannot be read ({error}). Copy it again.') from error


def _tensorstore() -> Any:
  """The module, which has no stubs."""
  try:
    import tensorstore
  except ImportError as error:
    raise UserError('Reading a T5X checkpoint needs tensorstore: pip install tensorstore.') from error
  return tensorstore
