"""Vocabularies as TensorFlow operations, for text in and text out of a SavedModel. Needs tensorflow_text, not seqio.

Ids are T5's: 0 padding, 1 end, 2 unknown; 100 sentinels after the pieces, with `<extra_id_0>` the last of all.
"""

import os
from typing import Any, TypeAlias

import tensorflow as tf

from switch_zoo.errors import UserError
from switch_zoo.spec.token_ids import END, FIRST_PIECE, NUM_SENTINELS, UNKNOWN

BYTES = 'bytes'
VARIABLE = 'SWITCH_ZOO_VOCAB'
# As Hugging Face names it, and as `switch_zoo demo` does.
FILES = ('spiece.model', 'vocabulary.model')


class Pieces(tf.Module):
  """A sentencepiece model with sentinels."""

  def __init__(self, path: str) -> None:
    """
    Args:
      path: of the model
    Raises:
      UserError: it is not a sentencepiece model
    """
    import tensorflow_text

    super().__init__()
    try:
      self._tokenizer: Any = tensorflow_text.SentencepieceTokenizer(_with_sentinels(path))
      self.size = int(self._tokenizer.vocab_size())
    except (tf.errors.OpError, ValueError) as error:
      raise UserError(f'--vocab={path} is not a sentencepiece model: {error}') from error

  def encode(self, texts: tf.Tensor) -> tf.RaggedTensor:
    """<string>[B] -> ragged <int32>[B, any]; what is not UTF-8 becomes U+FFFD."""
    return self._tokenizer.tokenize(tf.strings.unicode_transcode(texts, 'UTF-8', 'UTF-8', errors='replace'))

  def decode(self, ids: tf.Tensor) -> tf.Tensor:
    """<int32>[B, any], padding after the end -> <string>[B]"""
    ids = tf.where(ids < self.size, ids, UNKNOWN)
    before_end = tf.RaggedTensor.from_tensor(ids, lengths=_lengths(ids))  # pyright: ignore[reportAttributeAccessIssue] - missing in the stubs
    return self._tokenizer.detokenize(before_end)


class Bytes(tf.Module):
  """The bytes of UTF-8 as ids from 3 on (arXiv:2105.13626)."""

  size = 256 + FIRST_PIECE + NUM_SENTINELS

  def encode(self, texts: tf.Tensor) -> tf.RaggedTensor:
    """As in `Pieces`, but bytes that are not UTF-8 are kept."""
    split = tf.strings.bytes_split(texts)
    values = tf.reshape(tf.io.decode_raw(split.flat_values, tf.uint8), [-1])
    return split.with_flat_values(tf.cast(values, tf.int32) + FIRST_PIECE)

  def decode(self, ids: tf.Tensor) -> tf.Tensor:
    """As in `Pieces`; sentinels and special ids are left out."""
    table = tf.constant([b''] * FIRST_PIECE + [bytes([byte]) for byte in range(256)] + [b''])
    pieces = tf.gather(table, tf.minimum(ids, 256 + FIRST_PIECE))
    kept = tf.sequence_mask(_lengths(ids), tf.shape(ids)[1])
    joined = tf.strings.reduce_join(tf.where(kept, pieces, ''), axis=1)
    return tf.strings.unicode_transcode(joined, 'UTF-8', 'UTF-8', errors='replace')


Vocabulary: TypeAlias = Pieces | Bytes


def vocabulary(choice: str | None, folder: str) -> Vocabulary:
  """The vocabulary of a model.

  Args:
    choice: a sentencepiece model, or 'bytes'; None: the one in the folder, or else that of SWITCH_ZOO_VOCAB
    folder: of the model
  Raises:
    UserError: there is none
  """
  in_folder = (os.path.join(folder, name) for name in FILES)
  choice = choice or next(filter(os.path.isfile, in_folder), None) or os.environ.get(VARIABLE)
  if not choice:
    raise UserError(
      f'There is no vocabulary: {folder} has neither {" nor ".join(FILES)}. Give --vocab FILE, a sentencepiece model, '
      f'or --vocab bytes, or set {VARIABLE}.'
    )
  if choice == BYTES:
    return Bytes()
  if not os.path.isfile(choice):
    raise UserError(f'There is no vocabulary "{choice}" ({os.path.abspath(choice)}). Give --vocab FILE.')
  return Pieces(choice)


def _lengths(ids: tf.Tensor) -> tf.Tensor:
  """Ids before the end or the first padding. <int32>[B, any] -> <int32>[B]"""
  before_end = tf.math.cumprod(tf.cast(ids > END, tf.int32), axis=1)
  return tf.reduce_sum(before_end, 1)


def _with_sentinels(path: str) -> bytes:
  """The bytes of a sentencepiece model with the sentinels as pieces, so that text may contain `<extra_id_0>`."""
  from google.protobuf.message import DecodeError
  from sentencepiece import sentencepiece_model_pb2

  model_proto: Any = sentencepiece_model_pb2.ModelProto  # pyright: ignore[reportAttributeAccessIssue] - made at import
  model = model_proto()
  try:
    with open(path, 'rb') as file:
      model.ParseFromString(file.read())
  except DecodeError as error:
    raise UserError(f'--vocab={path} is not a sentencepiece model.') from error
  if not model.pieces:
    raise UserError(f'--vocab={path} is not a sentencepiece model: it has no pieces.')
  for number in reversed(range(NUM_SENTINELS)):
    kind = model_proto.SentencePiece.USER_DEFINED
    model.pieces.add(piece=f'▁<extra_id_{number}>', score=0.0, type=kind)
  return model.SerializeToString()
