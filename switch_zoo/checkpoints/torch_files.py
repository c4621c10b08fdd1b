"""PyTorch's `.bin` files, read without PyTorch and without running anything that is in them.

Such a file is a zip archive: a pickle that says which tensors there are, and the bytes of each storage as a member. A
pickle can name any function for its reader to call. Here it can name only the few below, which build our own records;
everything else is refused, and the message names it. Format: torch/serialization.py (PyTorch 1.6 and later).
"""

import collections
import io
import math
import pickle
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from switch_zoo.checkpoints.arrays import BFLOAT16, FileRegion, TensorInfo, read_region
from switch_zoo.errors import UserError

# Class of a storage -> type of its entries.
STORAGES = {
    'FloatStorage': np.dtype(np.float32), 'BFloat16Storage': BFLOAT16, 'HalfStorage': np.dtype(np.float16),
    'DoubleStorage': np.dtype(np.float64), 'LongStorage': np.dtype(np.int64), 'IntStorage': np.dtype(np.int32),
}  # fmt: skip
PICKLE = 'data.pkl'
# Bytes of a zip archive's record before a member's name, and where in it are the lengths of the name and extra fields.
LOCAL_HEADER, NAME_LENGTH, EXTRA_LENGTH = 30, 26, 28


class TorchStorage(NamedTuple):
  """A member of the archive."""

  key: str
  dtype: np.dtype
  count: int


class TorchView(NamedTuple):
  """A tensor: a view of a storage."""

  storage: TorchStorage
  offset: int
  shape: tuple[int, ...]
  strides: tuple[int, ...]

  @property
  def contiguous(self) -> bool:
    expected, steps = 1, []
    for size in reversed(self.shape):
      steps.append(expected)
      expected *= size
    return all(
      size == 1 or step == given for size, step, given in zip(self.shape, reversed(steps), self.strides, strict=True)
    )


class TorchFile:
  """One `.bin` file: infos and `read` by name."""

  def __init__(self, path: str):
    self.path = path
    if not zipfile.is_zipfile(path):
      raise UserError(
        f'{path} is not an archive: it is cut off, or was written before PyTorch 1.6 as one pickle. Load and save it '
        'with a current PyTorch, best as safetensors.'
      )
    with zipfile.ZipFile(path) as archive:
      members = {member.filename: member for member in archive.infolist()}
      prefix = _find_pickle(path, members).removesuffix(PICKLE)
      self._views = _read_views(path, archive.read(prefix + PICKLE))
      byte_order = archive.read(prefix + 'byteorder') if prefix + 'byteorder' in members else b'little'
    if byte_order != b'little':
      raise UserError(f'{path} was written on a big-endian machine. Save it again as safetensors.')
    # For every view, not for every storage: a damaged file may describe one storage in two ways.
    self._starts = {
      view.storage.key: self._storage_start(f'{prefix}data/{view.storage.key}', view.storage, members)
      for view in self._views.values()
    }
    for name, view in self._views.items():
      self._check(name, view)
    self.infos = {name: TensorInfo(view.shape, view.storage.dtype) for name, view in self._views.items()}

  def read(self, name: str, index: int | None = None) -> np.ndarray:
    """A tensor, or one entry of it along its first axis. -> <dtype>[shape] or <dtype>[shape after the first axis]"""
    view = self._views[name]
    start = self._starts[view.storage.key]
    itemsize = view.storage.dtype.itemsize
    if view.contiguous:
      return read_region(FileRegion(self.path, start + view.offset * itemsize, self.infos[name]).part(index))
    flat = read_region(FileRegion(self.path, start, TensorInfo((view.storage.count,), view.storage.dtype)))
    strides = [step * itemsize for step in view.strides]
    whole = np.lib.stride_tricks.as_strided(flat[view.offset :], view.shape, strides, writeable=False)
    return np.ascontiguousarray(whole if index is None else whole[index])

  def _storage_start(self, name: str, storage: TorchStorage, members: Mapping[str, zipfile.ZipInfo]) -> int:
    """The offset in the file of a storage's first byte."""
    member = members.get(name)
    if member is None or member.file_size < storage.count * storage.dtype.itemsize:
      raise UserError(
        f'{self.path} does not have all bytes of a tensor ({name}): it is cut off or damaged. Copy it again.'
      )
    if member.compress_type != zipfile.ZIP_STORED:
      raise UserError(f'{self.path} is compressed, which torch.save does not do. Save it again as safetensors.')
    with open(self.path, 'rb') as file:
      file.seek(member.header_offset)
      header = file.read(LOCAL_HEADER)
    lengths = (int.from_bytes(header[at : at + 2], 'little') for at in (NAME_LENGTH, EXTRA_LENGTH))
    return member.header_offset + LOCAL_HEADER + sum(lengths)

  def _check(self, name: str, view: TorchView) -> None:
    """Refuses a view that reaches outside its storage."""
    numbers = (view.offset, *view.shape, *view.strides)
    if len(view.shape) != len(view.strides) or not all(isinstance(n, int) and n >= 0 for n in numbers):
      raise UserError(f'{self.path}: {name} has no valid shape. The file is damaged; copy it again.')
    last = view.offset + sum((size - 1) * step for size, step in zip(view.shape, view.strides, strict=True))
    if math.prod(view.shape) and last >= view.storage.count:
      raise UserError(f'{self.path}: {name} reaches outside its storage. The file is damaged; copy it again.')


class _RefusedError(Exception):
  """The pickle names something it must not."""


class _SafeUnpickler(pickle.Unpickler):
  """Builds TorchViews; whatever is not in `_ALLOWED` is refused."""

  def find_class(self, module: str, name: str) -> Any:
    if module == 'torch' and name in STORAGES:
      return STORAGES[name]
    if (module, name) not in _ALLOWED:
      raise _RefusedError(f'{module}.{name}')
    return _ALLOWED[module, name]

  def persistent_load(self, pid: Any) -> TorchStorage:
    kind, dtype, key, _, count = pid
    if kind != 'storage' or not isinstance(dtype, np.dtype) or not isinstance(count, int):
      raise _RefusedError('a storage of an unknown type')
    return TorchStorage(str(key), dtype, count)


def _rebuild_tensor(storage: Any, offset: int, size: Sequence[int], strides: Sequence[int], *_: Any) -> TorchView:
  if not isinstance(storage, TorchStorage):
    raise _RefusedError('a tensor without a storage')
  return TorchView(storage, offset, tuple(size), tuple(strides))


def _rebuild_parameter(view: TorchView, *_: Any) -> TorchView:
  return view


_ALLOWED = {
  ('torch._utils', '_rebuild_tensor_v2'): _rebuild_tensor,
  ('torch._utils', '_rebuild_parameter'): _rebuild_parameter,
  ('collections', 'OrderedDict'): collections.OrderedDict,
}


def _find_pickle(path: str, members: Mapping[str, zipfile.ZipInfo]) -> str:
  pickles = [name for name in members if name.rpartition('/')[2] == PICKLE]
  if len(pickles) != 1:
    raise UserError(f'{path} has no {PICKLE}: it was not written by torch.save. Save it as safetensors.')
  return pickles[0]


def _read_views(path: str, data: bytes) -> dict[str, TorchView]:
  """The tensors a pickle lists, by name."""
  content = _unpickle(path, data)
  if isinstance(content, dict) and isinstance(content.get('state_dict'), dict):
    content = content['state_dict']
  if not isinstance(content, dict) or not all(isinstance(view, TorchView) for view in content.values()):
    raise UserError(f"{path} holds no tensors by name. Save the model's state_dict, best as safetensors.")
  return content


def _unpickle(path: str, data: bytes) -> Any:
  try:
    return _SafeUnpickler(io.BytesIO(data)).load()
  except _RefusedError as error:
    raise UserError(
      f'{path} asks for {error} to be called when it is read. Weights need no such thing, and nothing in the file was '
      'run. Do not load it with torch.load either; ask its author for safetensors.'
    ) from error
  except Exception as error:  # noqa: BLE001 - a damaged pickle can raise nearly anything
    raise UserError(
      f'{path} cannot be read: its list of tensors is damaged ({type(error).__name__}). Copy it again.'
    ) from error
