"""Text to ids and back as TensorFlow operations, which an export keeps. Needs tensorflow_text."""

import hashlib
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from switch_zoo.errors import UserError
from switch_zoo.vocabulary.normalization import BYTES
from switch_zoo.vocabulary.table import Rule, Table, pattern

# Occurs in no UTF-8.
_SEPARATOR = b'\xff'
_Encoder = Callable[[tf.Tensor], tf.RaggedTensor]


class TensorText(tf.Module):
  """Encodes and decodes as a Table says, in batches.

  pieces: tensorflow_text.SentencepieceTokenizer of the table's model
  """

  def __init__(self, table: Table) -> None:
    """
    Args:
      table: Table
    Raises:
      UserError: TensorFlow Text refuses its model
    """
    super().__init__()
    self._table = table
    try:
      self.pieces: Any = _tokenizer(table.model)
      self._bytes: Any = _tokenizer(table.normalizer) if table.normalizer else None
      if tf.executing_eagerly():  # sentencepiece looks at a model when it is first used
        self.pieces.vocab_size()
    except (tf.errors.OpError, ValueError) as error:
      raise UserError(f'The vocabulary {table.path} is not a sentencepiece model: {error}') from error

  def encode(self, texts: tf.Tensor) -> tf.RaggedTensor:
    """<string>[B] -> ragged <int32>[B, any]; what is not UTF-8 becomes U+FFFD."""
    texts = tf.strings.unicode_transcode(texts, 'UTF-8', 'UTF-8', errors='replace')
    return _around(texts, self._table.tokens(False), self._between)

  def _between(self, texts: tf.Tensor) -> tf.RaggedTensor:
    return _around(self._normalized(texts), self._table.tokens(True), self._words)

  def _normalized(self, texts: tf.Tensor) -> tf.Tensor:
    """<string>[N] -> <string>[N]"""
    if self._bytes is not None:
      spelled = self._bytes.tokenize(texts)
      characters = spelled.with_flat_values(tf.gather(tf.constant(BYTES), spelled.flat_values))
      texts = tf.strings.reduce_join(characters.to_tensor(''), axis=1)
    return _replaced(texts, self._table.normal_rules)

  def _words(self, texts: tf.Tensor) -> tf.RaggedTensor:
    return self.pieces.tokenize(_replaced(texts, self._table.word_rules))

  def decode(self, ids: tf.RaggedTensor) -> tf.Tensor:
    """Ids below the size of the vocabulary, ragged <int32>[B, any] -> <string>[B]; special tokens are left out."""
    if self._table.hidden:
      hidden = tf.constant(sorted(self._table.hidden), tf.int32)
      shown = tf.reduce_all(tf.not_equal(ids.flat_values[:, None], hidden), axis=1)
      ids = tf.ragged.boolean_mask(ids, ids.with_flat_values(shown))
    return _replaced(self.pieces.detokenize(ids), self._table.text_rules)


def _tokenizer(model: bytes) -> Any:
  import tensorflow_text

  # A SavedModel finds the models of a process by the names of their operations: equal names would be one model.
  return tensorflow_text.SentencepieceTokenizer(model, name=f'sentencepiece_{hashlib.sha256(model).hexdigest()[:16]}')


def _replaced(texts: tf.Tensor, rules: tuple[Rule, ...]) -> tf.Tensor:
  for rule in rules:
    texts = tf.strings.regex_replace(texts, rule.pattern, rule.replacement)
  return texts


def _around(texts: tf.Tensor, tokens: dict[str, int], inner: _Encoder) -> tf.RaggedTensor:
  """<string>[N] -> ragged <int32>[N, any]: ids of the tokens, and what `inner` makes of the text between them."""
  if not tokens:
    return inner(texts)
  separated = tf.strings.regex_replace(texts, pattern(tokens), _SEPARATOR + b'\\1' + _SEPARATOR)
  parts = tf.strings.split(separated, _SEPARATOR)
  flat = parts.flat_values
  # Every other part is a token.
  place = tf.range(tf.size(flat, tf.int64)) - tf.gather(parts.row_splits, parts.value_rowids())
  is_token = tf.equal(place % 2, 1)
  names, ids = tf.constant([name.encode() for name in tokens]), tf.constant(list(tokens.values()), tf.int32)
  found = tf.equal(tf.boolean_mask(flat, is_token)[:, None], names)
  values = tf.gather(ids, tf.argmax(tf.cast(found, tf.int32), axis=1))
  lengths = tf.cast(is_token, tf.int64)
  single = tf.RaggedTensor.from_row_lengths(values, lengths)  # pyright: ignore[reportAttributeAccessIssue] - missing in the stubs
  both = tf.concat([inner(tf.where(is_token, '', flat)), single], axis=1)
  return parts.with_flat_values(both).merge_dims(1, 2)
