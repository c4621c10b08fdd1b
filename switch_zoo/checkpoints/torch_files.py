"""PyTorch's `.bin` files, read without PyTorch and without running anything that is in them.

Such a file is a zip archive: a pickle that says which tensors there are, and the bytes of each storage as a member.
Format: torch/serialization.py (PyTorch 1.6 and later).
"""

import math
import threading
import zlib
from typing import Any

import numpy as np

from switch_zoo.checkpoints import torch_pickle
from switch_zoo.checkpoints.arrays import FileRegion, TensorInfo, read_region
from switch_zoo.checkpoints.torch_archive import MAX_PICKLE, PICKLE, TorchArchive
from switch_zoo.checkpoints.torch_pickle import TorchView
from switch_zoo.errors import UserError

BYTE_ORDER = 'byteorder'
# As torch has.
MAX_AXES = 64


class TorchFile:
  """One `.bin` file: infos and `read` by name.

  A tensor that is a whole storage, as nearly all are, is checked while it is read. For another, all of its storage is
  read through once before.
  """

  def __init__(self, path: str):
    self.path = path
    self._archive = TorchArchive(path)
    self._views = _read_views(path, self._archive.read(PICKLE, MAX_PICKLE))
    has_order = BYTE_ORDER in self._archive.members
    if has_order and self._archive.read(BYTE_ORDER, 16) != b'little':
      raise UserError(f'{path} was written on a big-endian machine. Save it again as safetensors.')
    for name, view in self._views.items():
      self._check(name, view)
    self.infos = {name: TensorInfo(view.shape, view.dtype) for name, view in self._views.items()}
    self._checked: set[str] = set()
    self._lock = threading.Lock()

  def read(self, name: str, index: int | None = None) -> np.ndarray:
    """A tensor, or one entry of it along its first axis. -> <dtype>[shape] or <dtype>[shape after the first axis]"""
    view, info = self._views[name], self.infos[name]
    member_name = _member_name(view)
    start = self._archive.members[member_name].offset
    itemsize = view.dtype.itemsize
    if _is_contiguous(view):
      region = FileRegion(self.path, start + view.offset * itemsize, info)
      if index is None and info.nbytes == view.storage.nbytes:
        array = read_region(region)
        self._archive.check(member_name, zlib.crc32(array.reshape(-1).view(np.uint8).data))
        return array
      self._check_storage(member_name)
      return read_region(region.part(index))
    self._check_storage(member_name)
    flat = read_region(FileRegion(self.path, start, TensorInfo((view.storage.nbytes // itemsize,), view.dtype)))
    strides = [step * itemsize for step in view.strides]
    whole = np.lib.stride_tricks.as_strided(flat[view.offset :], view.shape, strides, writeable=False)
    return np.ascontiguousarray(whole if index is None else whole[index])

  def _check_storage(self, member_name: str) -> None:
    with self._lock:
      if member_name not in self._checked:
        self._archive.check_all_of(member_name)
        self._checked.add(member_name)

  def _check(self, name: str, view: TorchView) -> None:
    """Refuses a view that is not inside its storage, or a storage whose bytes are not in the file."""
    member_name = _member_name(view)
    member = self._archive.members.get(member_name)
    # More bytes than the tensor's type takes would be another type's.
    if member is None or member.size != view.storage.nbytes:
      raise UserError(
        f'{self.path} does not have all bytes of a tensor ({member_name}), or has more: it is cut off or damaged. Copy '
        'it again.'
      )
    if not _is_valid(view):
      raise UserError(f'{self.path}: {name} has no valid shape. The file is damaged; copy it again.')
    count = view.storage.nbytes // view.dtype.itemsize
    last = view.offset + sum((size - 1) * step for size, step in zip(view.shape, view.strides, strict=True))
    if math.prod(view.shape) and last >= count:
      raise UserError(f'{self.path}: {name} reaches outside its storage. The file is damaged; copy it again.')
    if math.prod(view.shape) > count:
      raise UserError(
        f'{self.path}: {name} has more entries than are stored for it: it is damaged, or was saved as an expanded '
        'view. Save its .contiguous() copy.'
      )


def _member_name(view: TorchView) -> str:
  return f'data/{view.storage.key}'


def _is_valid(view: TorchView) -> bool:
  numbers = (view.offset, *view.shape, *view.strides)
  same_axes = len(view.shape) == len(view.strides) <= MAX_AXES
  return same_axes and all(type(number) is int and 0 <= number < 1 << 63 for number in numbers)


def _is_contiguous(view: TorchView) -> bool:
  step = 1
  for size, stride in zip(reversed(view.shape), reversed(view.strides), strict=True):
    if size != 1 and stride != step:
      return False
    step *= size
  return True


def _read_views(path: str, data: bytes) -> dict[str, TorchView]:
  """The tensors a pickle lists, by name."""
  content = _unpickle(path, data)
  if isinstance(content, dict) and isinstance(content.get('state_dict'), dict):
    content = content['state_dict']
  if isinstance(content, list) and all(isinstance(pair, tuple) and len(pair) == 2 for pair in content):
    content = _named(path, content)
  views: dict[str, TorchView] = {}
  for name, view in content.items() if isinstance(content, dict) else [(None, content)]:
    if not isinstance(name, str) or not isinstance(view, TorchView):
      raise UserError(f"{path} holds no tensors by name. Save the model's state_dict, best as safetensors.")
    views[name] = view
  return views


def _named(path: str, pairs: list[tuple[Any, Any]]) -> dict[Any, Any]:
  """The pairs of `list(model.named_parameters())` by name."""
  names = [name for name, _ in pairs if isinstance(name, str)]
  if len(set(names)) != len(pairs):
    raise UserError(f'{path} holds a list in which a name is missing or repeated. Save the state_dict, as safetensors.')
  return dict(pairs)


def _unpickle(path: str, data: bytes) -> Any:
  try:
    return torch_pickle.read(data)
  except torch_pickle.RefusedError as error:
    raise UserError(
      f'{path} {error}. Weights need no such thing, and nothing in the file was run. Do not load it '
      'with torch.load either; ask its author for safetensors.'
    ) from error
  except torch_pickle.QuantizedError as error:
    raise UserError(
      f'{path} holds quantized tensors (torch.quantize_per_tensor or a relative). Weights are read in float32, '
      'bfloat16 or float16: take the checkpoint it was made from.'
    ) from error
  except torch_pickle.PickleError as error:
    raise UserError(f'{path} cannot be read: its list of tensors is damaged ({error}). Copy it again.') from error
