"""Sentencepiece models: reading the file, and whether its special ids are T5's."""

from typing import Any

from google.protobuf.message import DecodeError
from sentencepiece import sentencepiece_model_pb2

from switch_zoo.errors import UserError
from switch_zoo.spec.token_ids import END, PADDING, UNKNOWN
from switch_zoo.vocabulary import files

PROTO: Any = sentencepiece_model_pb2
FLAGS = f'--pad_id={PADDING} --eos_id={END} --unk_id={UNKNOWN} --bos_id=-1'


def parse(path: str, data: bytes) -> Any:
  """The ModelProto of a file.

  Args:
    path: of the file, for messages
    data: what it contains
  Raises:
    UserError: it is not a sentencepiece model, or not the whole of one, or its special ids are not T5's
  """
  proto = PROTO.ModelProto()
  try:
    proto.ParseFromString(data)
  except DecodeError as error:
    raise UserError(f'The vocabulary {path} is not a sentencepiece model: {files.kind(data)}. {files.RULE}') from error
  if not proto.pieces:
    raise UserError(f'The vocabulary {path} is not a sentencepiece model: it has no pieces. {files.RULE}')
  # The settings follow the pieces.
  if not (proto.HasField('trainer_spec') and proto.HasField('normalizer_spec')):
    raise UserError(
      f'The vocabulary {path} is not a sentencepiece model, or only the beginning of one: after {len(proto.pieces):,} '
      'pieces its settings are missing. Copy or download it again.'
    )
  _check_special_ids(path, proto)
  return proto


def _check_special_ids(path: str, proto: Any) -> None:
  """Raises UserError if padding, end and unknown are not where T5 has them."""
  kinds = PROTO.ModelProto.SentencePiece
  right = (kinds.CONTROL, kinds.CONTROL, kinds.UNKNOWN)
  # As sentencepiece does: the end is the control piece of that name, wherever it is.
  end = proto.trainer_spec.eos_piece
  ends = [number for number, piece in enumerate(proto.pieces) if piece.piece == end and piece.type == kinds.CONTROL]
  if tuple(piece.type for piece in proto.pieces[:3]) == right and ends == [END]:
    return
  first = ', '.join(f'{number} {piece.piece}' for number, piece in enumerate(proto.pieces[:4]))
  raise UserError(
    f'The vocabulary {path} has other special ids than T5 and Switch: it begins with {first}, and these models need '
    f'{PADDING} for padding, {END} for the end ({end}) and {UNKNOWN} for unknown text. With this file, unknown text '
    f'would be taken for padding or an end. Train one with `spm_train {FLAGS}`, or give that of the model.'
  )
