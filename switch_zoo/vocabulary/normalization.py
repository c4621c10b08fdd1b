"""Normalized text by the means of a sentencepiece model: its pieces are bytes, so its ids spell what it normalized to.

TensorFlow Text has no operation for the table of characters of a sentencepiece model (`precompiled_charsmap`). A model
with the table and nothing but bytes as pieces writes every normalized character as its bytes.
"""

import struct
from typing import Any

from sentencepiece import sentencepiece_model_pb2

_PROTO: Any = sentencepiece_model_pb2
# A table in which nothing is found: the size of a double-array trie, its units, and the texts that it refers to. The
# root refers to other units, because sentencepiece 0.2.3 refuses a trie whose root does not. Without a table
# sentencepiece replaces nothing either, but says so on stderr.
_NOTHING = struct.pack('<II', 1024, 1 << 10) + bytes(1020) + b'\0'
# Id of that model -> what it stands for. A unigram model needs one normal piece; here it is "a".
BYTES = (b'', *(bytes([byte]) for byte in range(256)), b'a')


def model(charsmap: bytes) -> bytes:
  """A ModelProto that normalizes and nothing else.

  Args:
    charsmap: `precompiled_charsmap` of a sentencepiece model; b'' for none, which changes nothing
  """
  proto = _PROTO.ModelProto()
  kinds = _PROTO.ModelProto.SentencePiece
  proto.pieces.add(piece='<unk>', score=0.0, type=kinds.UNKNOWN)
  for byte in range(256):
    proto.pieces.add(piece=f'<0x{byte:02X}>', score=0.0, type=kinds.BYTE)
  proto.pieces.add(piece='a', score=0.0, type=kinds.NORMAL)
  proto.trainer_spec.model_type = _PROTO.TrainerSpec.UNIGRAM
  proto.trainer_spec.byte_fallback = True
  proto.trainer_spec.unk_id, proto.trainer_spec.bos_id, proto.trainer_spec.eos_id, proto.trainer_spec.pad_id = (
    0,
    -1,
    -1,
    -1,
  )
  as_it_is(proto)
  proto.normalizer_spec.precompiled_charsmap = charsmap or _NOTHING
  return proto.SerializeToString()


def replaces_nothing(proto: Any) -> None:
  """Takes the table of characters away.

  Args:
    proto: ModelProto, which is changed
  """
  proto.normalizer_spec.precompiled_charsmap = _NOTHING


def as_it_is(proto: Any) -> None:
  """Sets a ModelProto to take text as it is: no character replaced, no blank added or removed.

  Args:
    proto: ModelProto, which is changed
  """
  replaces_nothing(proto)
  spec = proto.normalizer_spec
  spec.name = 'identity'
  spec.add_dummy_prefix = spec.remove_extra_whitespaces = spec.escape_whitespaces = False
