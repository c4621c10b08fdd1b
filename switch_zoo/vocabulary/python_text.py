"""Text to ids and back in Python, one text at a time."""

import functools
import re
import threading
from collections.abc import Callable, Iterable

import sentencepiece

from switch_zoo.errors import UserError
from switch_zoo.vocabulary.normalization import BYTES
from switch_zoo.vocabulary.table import Rule, Table, pattern

_LOADING = threading.Lock()  # two models at a time can end in a segmentation fault (google/seqio, vocabularies.py)
_Encoder = Callable[[str], list[int]]


class PythonText:
  """Encodes and decodes as a Table says."""

  def __init__(self, table: Table) -> None:
    self.table = table

  @functools.cached_property
  def processor(self) -> sentencepiece.SentencePieceProcessor:
    """The sentencepiece model.

    Raises:
      UserError: sentencepiece refuses it
    """
    return _processor(self.table.path, self.table.model)

  @functools.cached_property
  def _normalizer(self) -> sentencepiece.SentencePieceProcessor:
    return _processor(self.table.path, self.table.normalizer or b'')

  def encode(self, text: str) -> list[int]:
    """Ids of a text, without an end."""
    inner = lambda part: _around(self.normalized(part), self.table.tokens(True), self._words)
    return _around(text.encode(errors='replace').decode(), self.table.tokens(False), inner)

  def normalized(self, text: str) -> str:
    """A text as the normalized added tokens are searched for in it."""
    if self.table.normalizer is not None:
      text = b''.join(BYTES[number] for number in self._normalizer.EncodeAsIds(text)).decode(errors='replace')
    return _replaced(text, self.table.normal_rules)

  def _words(self, text: str) -> list[int]:
    return self.processor.EncodeAsIds(_replaced(text, self.table.word_rules))

  def decode(self, ids: Iterable[int]) -> str:
    """The text of ids below the size of the vocabulary; special added tokens are left out."""
    text = self.processor.DecodeIds([int(number) for number in ids if number not in self.table.hidden])
    return _replaced(text, self.table.text_rules)


def _processor(path: str, model: bytes) -> sentencepiece.SentencePieceProcessor:
  processor = sentencepiece.SentencePieceProcessor()
  try:
    with _LOADING:
      processor.LoadFromSerializedProto(model)
  except RuntimeError as error:
    raise UserError(f'The vocabulary {path} is not a sentencepiece model: {error}') from error
  return processor


def _replaced(text: str, rules: tuple[Rule, ...]) -> str:
  for rule in rules:
    text = re.sub(rule.pattern.replace('$', r'\Z'), rule.replacement, text)
  return text


def _around(text: str, tokens: dict[str, int], inner: _Encoder) -> list[int]:
  """Ids of the tokens in a text, and what `inner` makes of the text between them."""
  if not tokens:
    return inner(text)
  parts = re.split(pattern(tokens), text)
  # Every other part is a token.
  return [id_ for number, part in enumerate(parts) for id_ in ([tokens[part]] if number % 2 else inner(part))]
