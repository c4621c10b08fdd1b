"""Protocol buffers without their compiler: the wire format, for the few messages in a TensorFlow index.

Source: protobuf.dev/programming-guides/encoding.
"""

import struct
from collections.abc import Iterator
from typing import NamedTuple

from switch_zoo.checkpoints import sstable

# Wire types.
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
FIXED_SIZES = {FIXED64: 8, FIXED32: 4}


class Message(NamedTuple):
  """The fields of a message by their numbers: whole numbers, of which the last counts, and texts or messages."""

  numbers: dict[int, int]
  texts: dict[int, list[bytes]]

  def number(self, field: int, default: int = 0) -> int:
    return self.numbers.get(field, default)

  def text(self, field: int) -> bytes:
    """The last content of a field, empty if the message does not have it."""
    return self.texts.get(field, [b''])[-1]


def decode(data: bytes) -> Message:
  """The fields of an encoded message.

  Raises:
    TableError: it is cut off, or is not a message
  """
  message = Message({}, {})
  for field, content in _fields(data):
    if isinstance(content, int):
      message.numbers[field] = content
    else:
      message.texts.setdefault(field, []).append(content)
  return message


def varint_field(field: int, number: int) -> bytes:
  """A field with a whole number. As in the reference implementation, 0 is not written."""
  return _key(field, VARINT) + sstable.varint(number) if number else b''


def fixed32_field(field: int, number: int) -> bytes:
  """A field with a number of four bytes."""
  return _key(field, FIXED32) + struct.pack('<I', number)


def bytes_field(field: int, content: bytes) -> bytes:
  """A field with bytes: a text, or another message."""
  return _key(field, BYTES) + sstable.varint(len(content)) + content


def _key(field: int, wire_type: int) -> bytes:
  return sstable.varint(field << 3 | wire_type)


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
  """Number and content of each field."""
  position = 0
  while position < len(data):
    key, position = sstable.read_varint(data, position)
    field, wire_type = key >> 3, key & 7
    if wire_type == VARINT:
      content, position = sstable.read_varint(data, position)
    elif wire_type in FIXED_SIZES:
      size = FIXED_SIZES[wire_type]
      content = int.from_bytes(data[position : position + size], 'little')
      position += size
    elif wire_type == BYTES:
      size, position = sstable.read_varint(data, position)
      content = data[position : position + size]
      position += size
    else:
      raise sstable.TableError(f'an entry of it has the unknown wire type {wire_type}')
    if position > len(data):
      raise sstable.TableError('an entry of it is cut off')
    yield field, content
