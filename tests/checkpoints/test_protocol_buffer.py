"""Messages against TensorFlow's own classes for them."""

import pytest
from tensorflow.core.protobuf import tensor_bundle_pb2

from switch_zoo.checkpoints import protocol_buffer
from switch_zoo.checkpoints.protocol_buffer import bytes_field, fixed32_field, varint_field
from switch_zoo.checkpoints.sstable import TableError


def test_decodes_what_tensorflow_encodes():
  entry = tensor_bundle_pb2.BundleEntryProto(dtype=14, shard_id=3, offset=1 << 40, size=24, crc32c=0xDEADBEEF)
  for size in (2, 0, 300):
    entry.shape.dim.add(size=size)
  message = protocol_buffer.decode(entry.SerializeToString())
  assert [message.number(field) for field in (1, 3, 4, 5, 6)] == [14, 3, 1 << 40, 24, 0xDEADBEEF]
  dims = protocol_buffer.decode(message.text(2)).texts[2]
  assert [protocol_buffer.decode(dim).number(1) for dim in dims] == [2, 0, 300]
  assert message.number(9, default=7) == 7 and message.text(9) == b''


def test_encodes_as_tensorflow_does():
  dims = b''.join(bytes_field(2, varint_field(1, size)) for size in (2, 0, 300))
  data = varint_field(1, 14) + bytes_field(2, dims) + varint_field(3, 0) + varint_field(4, 1 << 40)
  data += varint_field(5, 24) + fixed32_field(6, 0xDEADBEEF)
  entry = tensor_bundle_pb2.BundleEntryProto.FromString(data)
  assert [dim.size for dim in entry.shape.dim] == [2, 0, 300]
  assert (entry.dtype, entry.shard_id, entry.offset, entry.size, entry.crc32c) == (14, 0, 1 << 40, 24, 0xDEADBEEF)
  assert entry.SerializeToString() == data


@pytest.mark.parametrize(
  ('data', 'words'), [(b'\x0b', 'unknown wire type 3'), (b'\x08\x80', 'has no end')], ids=['group', 'cut off']
)
def test_a_damaged_message_is_refused(data, words):
  with pytest.raises(TableError, match=words):
    protocol_buffer.decode(data)
