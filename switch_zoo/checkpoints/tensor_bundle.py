"""TensorFlow's checkpoint files (PREFIX.index and PREFIX.data-*), read and written without TensorFlow.

TensorFlow reads a variable whole, and 2048 experts of Switch-C are 105 GB. Here a tensor is a region of a data file, so
that one expert of it can be read or written. What is written is what `tf.train.Saver` writes: whole variables, one
entry each. Format: tensorflow/core/protobuf/tensor_bundle.proto and tensorflow/core/util/tensor_bundle.
"""

import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from switch_zoo.checkpoints import crc32c, file_checks, protocol_buffer, sstable
from switch_zoo.checkpoints.arrays import BFLOAT16, CheckpointTensors, FileRegion, TensorInfo, read_region
from switch_zoo.checkpoints.protocol_buffer import bytes_field, fixed32_field, varint_field
from switch_zoo.errors import UserError

# Numbers of tensorflow/core/framework/types.proto. Tensors of other types (strings) are not weights.
DTYPES = {
    1: np.dtype(np.float32), 2: np.dtype(np.float64), 3: np.dtype(np.int32), 9: np.dtype(np.int64),
    14: BFLOAT16, 19: np.dtype(np.float16),
}  # fmt: skip
NUMBERS = {dtype: number for number, dtype in DTYPES.items()}
# Fields of the messages: BundleHeaderProto, VersionDef, BundleEntryProto, TensorShapeProto and its Dim.
NUM_SHARDS, ENDIANNESS, VERSION, PRODUCER = 1, 2, 3, 1
DTYPE, SHAPE, SHARD, OFFSET, SIZE, CHECKSUM, SLICES = 1, 2, 3, 4, 5, 6, 7
DIM, DIM_SIZE = 2, 1
MAX_INDEX = 1 << 30
REMEDY = ' Copy it again.'


class BundleEntry(NamedTuple):
  """A tensor in the index: which data file, where in it, and the tensor's checksum (not masked)."""

  info: TensorInfo
  shard: int
  offset: int
  crc: int


class TensorBundle(CheckpointTensors):
  """A checkpoint by its prefix, DIR/model.ckpt-1000.

  Checksums are those of whole tensors: a tensor that is read in parts is checked with its last part.
  """

  def __init__(self, prefix: str):
    self.prefix = prefix
    self._stored = {name: (region, crc) for name, region, crc in _regions(prefix)}
    self.infos = {name: region.info for name, (region, _) in self._stored.items()}
    self._part_checksums: dict[str, dict[int, int]] = {}
    self._lock = threading.Lock()

  def read(self, name: str, index: int | None = None) -> np.ndarray:
    region, expected = self._stored[name]
    array = read_region(region.part(index))
    actual = self._checksum(name, index, array)
    if actual not in (None, expected):
      raise DamagedCheckpointError(
        f'{region.path} is damaged: {name} has the checksum {actual:08x}, but {self.prefix}.index says '
        f'{expected:08x}.{REMEDY}'
      )
    return array

  def region(self, name: str) -> tuple[FileRegion, int]:
    """Where a tensor is, to read any part of it, and its checksum."""
    return self._stored[name]

  def _checksum(self, name: str, index: int | None, array: np.ndarray) -> int | None:
    """The checksum of a tensor; None as long as parts of it are missing."""
    crc = crc32c.checksum(array)
    if index is None:
      return crc
    with self._lock:
      parts = self._part_checksums.setdefault(name, {})
      parts[index] = crc
      if len(parts) < self.infos[name].shape[0]:
        return None
    return joined_crc([parts[number] for number in range(len(parts))], array.nbytes)


class DamagedCheckpointError(UserError):
  """Files of a checkpoint that are missing, truncated or not what their names say."""


def damage(prefix: str) -> str:
  """What is wrong with a checkpoint's files, in a sentence; '' if they are all there and as long as the index says.

  A tensor's checksum is checked when it is read.
  """
  index = f'{prefix}.index'
  if not os.path.lexists(index):
    return f'{index} is missing.'
  try:
    file_checks.check_regular(index)
  except UserError as error:
    return str(error).removesuffix(REMEDY)
  try:
    for _ in _regions(prefix):
      pass
  except DamagedCheckpointError as error:
    return str(error).removesuffix(REMEDY)
  except UserError:
    return ''  # stored in a way that we do not read, but TensorFlow does
  return ''


def has_prefix(path: str) -> bool:
  """Whether a path is the prefix of a checkpoint."""
  return os.path.lexists(f'{path}.index')


def data_file(prefix: str, shard: int, shards: int) -> str:
  """The path of a data file."""
  return f'{prefix}.data-{shard:05d}-of-{shards:05d}'


def write_index(prefix: str, entries: Mapping[str, BundleEntry], shards: int) -> None:
  """Writes PREFIX.index; to be called after the data files are written, since without it nothing is a checkpoint."""
  # The byte order is left out: 0, the default, is little-endian.
  header = varint_field(NUM_SHARDS, shards) + bytes_field(VERSION, varint_field(PRODUCER, 1))
  table = {b'': header} | {name.encode(): _encode(entry) for name, entry in entries.items()}
  with open(f'{prefix}.index', 'wb') as file:
    file.write(sstable.write(table))
    os.fsync(file.fileno())


def joined_crc(parts: Sequence[int], part_size: int) -> int:
  """The checksum of a tensor from those of its parts along the first axis, each of `part_size` bytes."""
  crc = parts[0]
  for part in parts[1:]:
    crc = crc32c.combine(crc, part, part_size)
  return crc


def _regions(prefix: str) -> Iterator[tuple[str, FileRegion, int]]:
  """(name, region, checksum) of every tensor of numbers."""
  index = f'{prefix}.index'
  shards, entries = _read_index(index)
  sizes = [_size(data_file(prefix, shard, shards), index) for shard in range(shards)]
  for name, entry in entries.items():
    if entry.shard >= shards:
      raise DamagedCheckpointError(
        f'{index} is damaged: {name} is in data file {entry.shard}, and there are {shards}, counted from 0.{REMEDY}'
      )
    file = data_file(prefix, entry.shard, shards)
    end = entry.offset + entry.info.nbytes
    if end > sizes[entry.shard]:
      raise DamagedCheckpointError(
        f'{file} is truncated: {name} ends at byte {end:,}, the file at {sizes[entry.shard]:,}.{REMEDY}'
      )
    yield name, FileRegion(file, entry.offset, entry.info), entry.crc


def _read_index(path: str) -> tuple[int, dict[str, BundleEntry]]:
  """The number of data files, and the entry of every tensor of numbers."""
  try:
    file_checks.check_weights(path)
    if os.path.getsize(path) > MAX_INDEX:
      raise sstable.TableError(f'it has more than {MAX_INDEX:,} bytes')
    with open(path, 'rb') as file:
      table = sstable.read(file.read())
    header = protocol_buffer.decode(table.pop(b'', b''))
    # Keys that begin with a zero are of slices of a tensor, whose own entry is refused.
    tensors = {key.decode(): value for key, value in table.items() if not key.startswith(b'\0')}
    entries = {name: _decode(name, value, path) for name, value in tensors.items()}
  except (sstable.TableError, UnicodeDecodeError) as error:
    raise DamagedCheckpointError(f'{path} is not the index of a TensorFlow checkpoint: {error}.{REMEDY}') from error
  if header.number(ENDIANNESS):
    raise UserError(f'{path} was written on a big-endian machine. Save the checkpoint again on another.')
  return header.number(NUM_SHARDS, 1), {name: entry for name, entry in entries.items() if entry is not None}


def _size(path: str, index: str) -> int:
  if not file_checks.exists(path):
    raise DamagedCheckpointError(
      f'{path} is missing: {index} says that tensors are in it. Copy all files of the checkpoint.'
    )
  return os.path.getsize(path)


def _decode(name: str, value: bytes, path: str) -> BundleEntry | None:
  """An entry of the index; None for a tensor that does not hold numbers."""
  message = protocol_buffer.decode(value)
  if SLICES in message.texts:
    raise UserError(
      f'{path} stores {name} in slices (partitioned variables). Save it again with tf.compat.v1.train.Saver and '
      'without a partitioner.'
    )
  dtype = DTYPES.get(message.number(DTYPE))
  if dtype is None:
    return None
  info = TensorInfo(_decode_shape(message.text(SHAPE)), dtype)
  crc = crc32c.unmasked(message.number(CHECKSUM))
  if message.number(SIZE) != info.nbytes:
    raise sstable.TableError(f'{name} has {message.number(SIZE):,} bytes, and a shape of {info.nbytes:,}')
  return BundleEntry(info, message.number(SHARD), message.number(OFFSET), crc)


def _decode_shape(value: bytes) -> tuple[int, ...]:
  dims = protocol_buffer.decode(value).texts.get(DIM, [])
  return tuple(protocol_buffer.decode(dim).number(DIM_SIZE) for dim in dims)


def _encode(entry: BundleEntry) -> bytes:
  dims = b''.join(bytes_field(DIM, varint_field(DIM_SIZE, size)) for size in entry.info.shape)
  return b''.join(
    (
      varint_field(DTYPE, NUMBERS[entry.info.dtype]),
      bytes_field(SHAPE, dims),
      varint_field(SHARD, entry.shard),
      varint_field(OFFSET, entry.offset),
      varint_field(SIZE, entry.info.nbytes),
      fixed32_field(CHECKSUM, crc32c.masked(entry.crc)),
    )
  )
