"""Text to ids and back, from the files of an export: vocabulary.model, and vocabulary.json with what is not in it.

The first is a sentencepiece model, or missing where bytes are the vocabulary.
"""

import base64
import dataclasses
import json
import os
from collections.abc import Iterable, Sequence
from typing import Any

from switch_zoo.errors import UserError
from switch_zoo.spec.token_ids import END, FIRST_PIECE, NUM_SENTINELS, UNKNOWN
from switch_zoo.vocabulary.python_text import PythonText
from switch_zoo.vocabulary.table import AddedToken, Rule, Table

MODEL, DETAILS = 'vocabulary.model', 'vocabulary.json'
_RULES = ('normal_rules', 'word_rules', 'text_rules')


class PieceIds:
  """A sentencepiece model with added tokens."""

  def __init__(self, table: Table) -> None:
    self.table, self.size, self._text = table, table.size, PythonText(table)

  def encode(self, text: bytes) -> list[int]:
    """Ids without an end; what is not UTF-8 becomes U+FFFD."""
    return self._text.encode(text.decode(errors='replace'))

  def decode(self, ids: Sequence[int]) -> str:
    """The text before the end, or before the first padding."""
    return self._text.decode(number if number < self.table.size else UNKNOWN for number in _before_end(ids))


class ByteIds:
  """The bytes of UTF-8 as ids from 3 on (arXiv:2105.13626)."""

  table = None
  size = 256 + FIRST_PIECE + NUM_SENTINELS

  def encode(self, text: bytes) -> list[int]:
    """As in `PieceIds`, but bytes that are not UTF-8 are kept."""
    return [byte + FIRST_PIECE for byte in text]

  def decode(self, ids: Sequence[int]) -> str:
    """As in `PieceIds`; sentinels and special ids are left out."""
    numbers = (number - FIRST_PIECE for number in _before_end(ids))
    return bytes(number for number in numbers if 0 <= number < 256).decode(errors='replace')


TextIds = PieceIds | ByteIds


def _before_end(ids: Iterable[int]) -> list[int]:
  before = []
  for number in ids:
    if number <= END:
      break
    before.append(int(number))
  return before


def write(vocabulary: TextIds, folder: str) -> None:
  """Writes the files of a vocabulary."""
  table = vocabulary.table
  details: dict[str, Any] = {'bytes': table is None}
  if table:
    with open(os.path.join(folder, MODEL), 'wb') as file:
      file.write(table.model)
    details |= {'size': table.size, 'hidden': sorted(table.hidden)}
    details['added'] = [dataclasses.asdict(token) for token in table.added]
    details['normalizer'] = table.normalizer and base64.b64encode(table.normalizer).decode()
    details |= {name: [dataclasses.asdict(rule) for rule in getattr(table, name)] for name in _RULES}
  with open(os.path.join(folder, DETAILS), 'w', encoding='utf-8') as file:
    json.dump(details, file, indent=1, ensure_ascii=False)


def read(folder: str) -> TextIds:
  """Reads what `write` wrote.

  Raises:
    UserError: a file is missing or damaged
  """
  path = os.path.join(folder, DETAILS)
  try:
    with open(path, encoding='utf-8') as file:
      details = json.load(file)
    if details['bytes']:
      return ByteIds()
    with open(os.path.join(folder, MODEL), 'rb') as file:
      model = file.read()
    rules = {name: tuple(Rule(**rule) for rule in details[name]) for name in _RULES}
    added = tuple(AddedToken(**token) for token in details['added'])
    normalizer = base64.b64decode(details['normalizer']) if details['normalizer'] else None
    hidden = frozenset(details['hidden'])
    table = Table(os.path.join(folder, MODEL), model, details['size'], added, normalizer, hidden=hidden, **rules)
  except OSError as error:
    raise UserError(f'{error.filename or path} cannot be read: {error.strerror}. Copy the export again.') from error
  except (ValueError, KeyError, TypeError) as error:
    raise UserError(f'{path} is not what an ONNX export has there: {error!r}. Copy the export again.') from error
  vocabulary = PieceIds(table)
  vocabulary.encode(b'')  # sentencepiece refuses a damaged model here, and not at the first text
  return vocabulary
