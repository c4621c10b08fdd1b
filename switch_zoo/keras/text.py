"""Vocabularies as TensorFlow operations, for text in and text out of a SavedModel. Needs tensorflow_text, not seqio.

Ids are T5's: 0 padding, 1 end, 2 unknown.
"""

from typing import TypeAlias

import tensorflow as tf

from switch_zoo.spec.token_ids import END, FIRST_PIECE, NUM_SENTINELS, UNKNOWN
from switch_zoo.vocabulary import choosing
from switch_zoo.vocabulary.choosing import BYTES, VARIABLE
from switch_zoo.vocabulary.opening import open_table
from switch_zoo.vocabulary.tensor_text import TensorText

__all__ = ['BYTES', 'VARIABLE', 'Bytes', 'Pieces', 'Vocabulary', 'vocabulary']


class Pieces(tf.Module):
  """A sentencepiece model or a tokenizer.json, with sentinels and added tokens.

  name_of_file: its path
  size: number of ids
  """

  def __init__(self, path: str) -> None:
    """
    Args:
      path: of the file
    Raises:
      UserError: it is neither, or asks for what cannot be done
    """
    super().__init__()
    table = open_table(path)
    self._text = TensorText(table)
    self.name_of_file, self.size = path, table.size

  def encode(self, texts: tf.Tensor) -> tf.RaggedTensor:
    """<string>[B] -> ragged <int32>[B, any]; what is not UTF-8 becomes U+FFFD."""
    return self._text.encode(texts)

  def decode(self, ids: tf.Tensor) -> tf.Tensor:
    """<int32>[B, any], padding after the end -> <string>[B]"""
    ids = tf.where(ids < self.size, ids, UNKNOWN)
    before_end = tf.RaggedTensor.from_tensor(ids, lengths=_lengths(ids))  # pyright: ignore[reportAttributeAccessIssue] - missing in the stubs
    return self._text.decode(before_end)


class Bytes(tf.Module):
  """The bytes of UTF-8 as ids from 3 on (arXiv:2105.13626)."""

  name_of_file = BYTES
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
    choice: a sentencepiece model, a tokenizer.json or 'bytes'; None: the one in the folder, or else that of
      SWITCH_ZOO_VOCAB
    folder: of the model
  Raises:
    UserError: there is none
  """
  chosen = choosing.chosen(choice, folder)
  return Bytes() if chosen == BYTES else Pieces(chosen)


def _lengths(ids: tf.Tensor) -> tf.Tensor:
  """Ids before the end or the first padding. <int32>[B, any] -> <int32>[B]"""
  before_end = tf.math.cumprod(tf.cast(ids > END, tf.int32), axis=1)
  return tf.reduce_sum(before_end, 1)
