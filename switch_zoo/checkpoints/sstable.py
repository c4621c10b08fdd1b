"""The sorted table of keys and values in the `.index` file of a TensorFlow checkpoint.

It has blocks of entries, each of which omits what its key shares with the one before; then a block with the last key
and the position of every block; then a footer. Format: github.com/google/leveldb, doc/table_format.md. TensorFlow's, in
tensorflow/core/lib/io/table*, is the same with another block size, and its checkpoints are not compressed.
"""

import struct
from collections.abc import Iterator, Mapping, Sequence

from switch_zoo.checkpoints import crc32c

# (offset, size) of a block, and (key, value) of an entry.
Handle = tuple[int, int]
Entry = tuple[bytes, bytes]
MAGIC = 0xDB4775248B80FB57
FOOTER_SIZE = 48
TRAILER_SIZE = 5  # the kind of compression and a checksum
BLOCK_SIZE = 1 << 18
RESTART_INTERVAL = 16
NO_COMPRESSION = b'\0'


class TableError(ValueError):
  """Not a table, or a damaged one."""


def read(data: bytes) -> dict[bytes, bytes]:
  """All entries of a table.

  Raises:
    TableError: with what is wrong
  """
  if len(data) < FOOTER_SIZE or struct.unpack('<Q', data[-8:])[0] != MAGIC:
    raise TableError('it does not end as an index does (cut off, or another format)')
  position = len(data) - FOOTER_SIZE
  _, position = _read_handle(data, position)
  index, _ = _read_handle(data, position)
  entries: dict[bytes, bytes] = {}
  last = None
  for _, value in _entries(_block(data, index)):
    handle, _ = _read_handle(value, 0)
    for key, content in _entries(_block(data, handle)):
      if last is not None and key <= last:
        raise TableError('its names are not in order')
      entries[key] = content
      last = key
  return entries


def write(entries: Mapping[bytes, bytes]) -> bytes:
  """A table of entries."""
  table = bytearray()
  index: list[Entry] = [(block[-1][0], _append(table, block)) for block in _blocks(entries)]
  metaindex = _append(table, [])
  handles = metaindex + _append(table, index)
  return bytes(table) + handles.ljust(FOOTER_SIZE - 8, b'\0') + struct.pack('<Q', MAGIC)


def varint(number: int) -> bytes:
  """A whole number in groups of seven bits, the lowest first."""
  octets = bytearray()
  while number > 127:
    octets.append(number & 127 | 128)
    number >>= 7
  return bytes([*octets, number])


def read_varint(data: bytes, position: int) -> tuple[int, int]:
  """A number written by `varint`, and the position after it.

  Raises:
    TableError: the data ends inside the number
  """
  number = shift = 0
  while True:
    if position >= len(data) or shift > 63:
      raise TableError('a number in it has no end')
    octet = data[position]
    position += 1
    number |= (octet & 127) << shift
    shift += 7
    if octet < 128:
      return number, position


def _read_handle(data: bytes, position: int) -> tuple[Handle, int]:
  """The handle of a block, and the position after it."""
  offset, position = read_varint(data, position)
  size, position = read_varint(data, position)
  return (offset, size), position


def _block(data: bytes, handle: Handle) -> bytes:
  offset, size = handle
  contents = data[offset : offset + size + TRAILER_SIZE]
  if len(contents) != size + TRAILER_SIZE:
    raise TableError('a block of it is beyond its end')
  if contents[size : size + 1] != NO_COMPRESSION:
    raise TableError('it is compressed, which a checkpoint of TensorFlow is not')
  if crc32c.masked(crc32c.checksum(contents[: size + 1])) != struct.unpack('<I', contents[size + 1 :])[0]:
    raise TableError('a checksum in it is wrong')
  return contents[:size]


def _entries(block: bytes) -> Iterator[Entry]:
  restarts = int.from_bytes(block[-4:], 'little')
  end = len(block) - 4 - 4 * restarts
  if end < 0:
    raise TableError('a block of it is too short')
  position, key = 0, b''
  while position < end:
    shared, position = read_varint(block, position)
    unshared, position = read_varint(block, position)
    size, position = read_varint(block, position)
    if shared > len(key) or position + unshared + size > end:
      raise TableError('an entry of it is longer than its block')
    key = key[:shared] + block[position : position + unshared]
    position += unshared
    yield key, block[position : position + size]
    position += size


def _blocks(entries: Mapping[bytes, bytes]) -> Iterator[list[Entry]]:
  """The entries in order of their keys, in blocks of about BLOCK_SIZE bytes."""
  block: list[Entry] = []
  size = 0
  for key in sorted(entries):
    block.append((key, entries[key]))
    size += len(key) + len(entries[key])
    if size >= BLOCK_SIZE:
      yield block
      block, size = [], 0
  if block:
    yield block


def _append(table: bytearray, entries: Sequence[Entry]) -> bytes:
  """Adds a block to a table; gives its handle, encoded."""
  block, restarts, previous = bytearray(), [], b''
  for number, (key, value) in enumerate(entries):
    if number % RESTART_INTERVAL == 0:
      restarts.append(len(block))
      previous = b''
    shared = _common_prefix(previous, key)
    block += varint(shared) + varint(len(key) - shared) + varint(len(value)) + key[shared:] + value
    previous = key
  restarts = restarts or [0]
  block += struct.pack(f'<{len(restarts) + 1}I', *restarts, len(restarts))
  handle = varint(len(table)) + varint(len(block))
  block += NO_COMPRESSION
  table += block + struct.pack('<I', crc32c.masked(crc32c.checksum(bytes(block))))
  return handle


def _common_prefix(one: bytes, other: bytes) -> int:
  """The number of bytes at the beginning that are the same."""
  length = 0
  for a, b in zip(one, other, strict=False):
    if a != b:
      break
    length += 1
  return length
