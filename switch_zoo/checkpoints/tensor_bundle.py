"""TensorFlow's checkpoint files (PREFIX.index and PREFIX.data-*), read and written without TensorFlow.

TensorFlow reads a variable whole, and 2048 experts of Switch-C are 105 GB. Here a tensor is a place in a data file, so
that one expert of it can be read or written. What is written is what `tf.train.Saver` writes: whole variables, one
entry each. Format: tensorflow/core/protobuf/tensor_bundle.proto and tensorflow/core/util/tensor_bundle.
"""

import glob
import os
import struct
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from switch_zoo.checkpoints import crc32c, sstable
from switch_zoo.checkpoints.arrays import BFLOAT16, Info, Region, Tensors, read_region
from switch_zoo.errors import UserError

# Numbers of tensorflow/core/framework/types.proto. Other types (texts) are no weights.
DTYPES = {
    1: np.dtype(np.float32), 2: np.dtype(np.float64), 3: np.dtype(np.int32), 9: np.dtype(np.int64),
    14: BFLOAT16, 19: np.dtype(np.float16),
}  # fmt: skip
NUMBERS = {dtype: number for number, dtype in DTYPES.items()}
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5  # wire types of a protocol buffer


class Entry(NamedTuple):
  """A tensor in the index: which data file, where, and its checksum (not masked)."""

  info: Info
  shard: int
  offset: int
  crc: int


class TensorBundle(Tensors):
  """A checkpoint by its prefix, DIR/model.ckpt-1000.

  Checksums are those of whole tensors: one read in parts is checked with its last part.
  """

  def __init__(self, prefix: str):
    self.prefix = prefix
    self._stored = {name: (region, crc) for name, region, crc in _regions(prefix)}
    self.infos = {name: region.info for name, (region, _) in self._stored.items()}
    self._seen: dict[str, dict[int, int]] = {}
    self._lock = threading.Lock()

  def read(self, name, index=None):
    region, stored = self._stored[name]
    array = read_region(region.part(index))
    found = self._checksum(name, index, array)
    if found not in (None, stored):
      raise UserError(
        f'{region.path} is damaged: {name} has the checksum {found:08x}, and {self.prefix}.index says {stored:08x}. '
        'Copy it anew.'
      )
    return array

  def _checksum(self, name, index, array):
    """The checksum of a tensor; None as long as parts of it are lacking."""
    crc = crc32c.of(array)
    if index is None:
      return crc
    with self._lock:
      parts = self._seen.setdefault(name, {})
      parts[index] = crc
      if len(parts) < self.infos[name].shape[0]:
        return None
    return joined_crc([parts[number] for number in range(len(parts))], array.nbytes)


def latest(folder: str) -> str | None:
  """The prefix of a folder's latest checkpoint: what its `checkpoint` file says, else the one with the highest step.

  None where there is none.
  """
  prefixes = [path.removesuffix('.index') for path in glob.glob(os.path.join(glob.escape(folder), '*.index'))]
  said = os.path.join(folder, 'checkpoint')
  if os.path.isfile(said):
    # T5X has a file of this name that is no text.
    with open(said, encoding='utf-8', errors='replace') as file:
      line = file.readline()
    named = os.path.join(folder, line.partition('"')[2].rpartition('"')[0])
    if line.startswith('model_checkpoint_path:') and named in prefixes:
      return named
  step = lambda prefix: int(prefix.rpartition('-')[2]) if prefix.rpartition('-')[2].isdigit() else -1
  return max(prefixes, key=step, default=None)


def data_file(prefix: str, shard: int, shards: int) -> str:
  """Path of a data file."""
  return f'{prefix}.data-{shard:05d}-of-{shards:05d}'


def write_index(prefix: str, entries: Mapping[str, Entry], shards: int) -> None:
  """Writes PREFIX.index; after the data files, so that without it nothing looks like a checkpoint."""
  # Number of data files; little-endian (0, the default, is not written); version 1 of the format.
  header = _field(1, VARINT, shards) + _field(3, BYTES, _field(1, VARINT, 1))
  table = {b'': header} | {name.encode(): _encode(entry) for name, entry in entries.items()}
  with open(f'{prefix}.index', 'wb') as file:
    file.write(sstable.write(table))
    os.fsync(file.fileno())


def _regions(prefix) -> Iterator[tuple[str, Region, int]]:
  """(name, place, checksum) of every tensor that is a number."""
  path = f'{prefix}.index'
  try:
    with open(path, 'rb') as file:
      table = sstable.read(file.read())
    header = dict(_fields(table.pop(b'', b'')))
  except sstable.TableError as error:
    raise UserError(f'{path} is not the index of a TensorFlow checkpoint: {error}. Copy it anew.') from error
  shards = header.get(1, 1)
  sizes = [_size(data_file(prefix, shard, shards), path) for shard in range(shards)]
  for key, value in table.items():
    if key.startswith(b'\0'):
      continue  # a part of a tensor in slices, whose own entry is refused below
    name = key.decode()
    entry = _decode(name, value, path)
    if entry is None:
      continue
    file = data_file(prefix, entry.shard, shards)
    if entry.offset + entry.info.nbytes > sizes[entry.shard]:
      raise UserError(
        f'{file} is truncated: {name} ends at byte {entry.offset + entry.info.nbytes:,}, the file at '
        f'{sizes[entry.shard]:,}. Copy it anew.'
      )
    yield name, Region(file, entry.offset, entry.info), entry.crc


def _size(path, index):
  if not os.path.isfile(path):
    raise UserError(f'{path} is missing: {index} says that tensors are in it. Copy all files of the checkpoint.')
  return os.path.getsize(path)


def _decode(name, value, path):
  """An entry of the index; None for a tensor that is no number."""
  fields, dims = {}, []
  for number, content in _fields(value):
    if number == 2:
      dims = [dict(_fields(dim)).get(1, 0) for kind, dim in _fields(content) if kind == 2]
    fields[number] = content
  if 7 in fields:
    raise UserError(
      f'{path} stores {name} in slices (partitioned variables). Save it anew with tf.compat.v1.train.Saver and '
      'without a partitioner.'
    )
  dtype = DTYPES.get(fields.get(1, 0))
  if dtype is None:
    return None
  return Entry(Info(tuple(dims), dtype), fields.get(3, 0), fields.get(4, 0), crc32c.unmasked(fields.get(6, 0)))


def _encode(entry):
  dims = b''.join(_field(2, BYTES, _field(1, VARINT, size)) for size in entry.info.shape)
  return b''.join(
    (
      _field(1, VARINT, NUMBERS[entry.info.dtype]),
      _field(2, BYTES, dims),
      _field(3, VARINT, entry.shard),
      _field(4, VARINT, entry.offset),
      _field(5, VARINT, entry.info.nbytes),
      _field(6, FIXED32, crc32c.masked(entry.crc)),
    )
  )


def _field(number: int, wire: int, content: int | bytes) -> bytes:
  """A field of a protocol buffer. As there, a number 0 is not written."""
  if wire == VARINT:
    return sstable.varint(number << 3 | wire) + sstable.varint(content) if content else b''
  if wire == FIXED32:
    return sstable.varint(number << 3 | wire) + struct.pack('<I', content)
  return sstable.varint(number << 3 | wire) + sstable.varint(len(content)) + content


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
  """Numbers and contents of a protocol buffer's fields."""
  position = 0
  while position < len(data):
    key, position = sstable.read_varint(data, position)
    number, wire = key >> 3, key & 7
    if wire == VARINT:
      content, position = sstable.read_varint(data, position)
    elif wire in (FIXED32, FIXED64):
      size = 4 if wire == FIXED32 else 8
      content = int.from_bytes(data[position : position + size], 'little')
      position += size
    elif wire == BYTES:
      size, position = sstable.read_varint(data, position)
      content = data[position : position + size]
      position += size
    else:
      raise sstable.TableError(f'an entry of it has the unknown wire type {wire}')
    yield number, content


def joined_crc(parts: Sequence[int], part_size: int) -> int:
  """The checksum of a tensor from those of its parts along the first axis, each of `part_size` bytes."""
  crc = parts[0]
  for part in parts[1:]:
    crc = crc32c.combine(crc, part, part_size)
  return crc
