"""The texts whose tokens are routed, by domain, as ids of inputs and targets."""

import os
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol, TypeAlias

from switch_zoo.errors import UserError
from switch_zoo.spec.token_ids import END, PADDING
from switch_zoo.tasks import own_file_formats
from switch_zoo.tasks.raw_files import MalformedRow

Encode: TypeAlias = Callable[[Sequence[str]], Sequence[list[int]]]
_PLAIN = ('.txt', '.md', '.text', '')


class TextPair(NamedTuple):
  """A pair of token sequences.

  domain: number of the source
  inputs: ids of the encoder's tokens, with their end
  targets: ids of the targets, with their end
  """

  domain: int
  inputs: list[int]
  targets: list[int]


class TextSource(Protocol):
  """A domain of texts.

  name: of the domain
  """

  name: str

  def ids(self, limit: int, encode: Encode) -> list[tuple[Sequence[int], Sequence[int]]]:
    """Ids of inputs and targets of the first texts, without an end; no targets where there are none.

    Raises:
      UserError: there is no text, or it is malformed
    """
    ...


class TextFile:
  """A file: lines of text, .jsonl, .json, .tsv or .csv."""

  def __init__(self, path: str) -> None:
    self.name, self._path = os.path.basename(path), path

  def ids(self, limit: int, encode: Encode) -> list[tuple[Sequence[int], Sequence[int]]]:
    """As in `TextSource`."""
    pairs = _pairs(self._path, limit)
    if not pairs:
      raise UserError(f'--data {self._path} has no text.')
    inputs, targets = (encode([pair[side] for pair in pairs]) for side in (0, 1))
    return list(zip(inputs, targets, strict=True))


def read(sources: Sequence[TextSource], encode: Encode, limit: int, max_length: int) -> list[TextPair]:
  """Reads the same number of texts from each source.

  Fields `inputs` and `targets` are such a pair. A line of plain text, or a row with `text`, is cut in two: the first
  half of its tokens is the input, the second the target.

  Args:
    sources: of the texts
    encode: texts -> ids
    limit: texts in all
    max_length: tokens of each sequence; longer ones are truncated
  Raises:
    UserError: a source has no text, or it is malformed
  """
  pairs: list[TextPair] = []
  for domain, source in enumerate(sources):
    for inputs, targets in source.ids(max(1, limit // len(sources)), encode):
      if not targets:
        half = (len(inputs) + 1) // 2
        inputs, targets = inputs[:half], inputs[half:]
      pairs.append(TextPair(domain, _ended(inputs, max_length), _ended(targets, max_length)))
  return pairs


def shifted(targets: Sequence[int]) -> list[int]:
  """What the decoder reads: the targets behind a 0, without their end."""
  return [PADDING, *targets[:-1]]


def _ended(ids: Sequence[int], max_length: int) -> list[int]:
  return [*ids[: max_length - 1], END]


def _pairs(path: str, limit: int) -> list[tuple[str, str]]:
  """The first texts of a file, each with its target or ''."""
  if os.path.splitext(path)[1].lower() in _PLAIN:
    return [(line, '') for line in _lines(path, limit)]
  pairs = []
  for row in own_file_formats.reader_for([path]).rows(path):
    if isinstance(row, MalformedRow):
      raise UserError(f'{row.path}, line {row.line}: {row.what}')
    text = row.value.get('inputs', row.value.get('text'))
    if not isinstance(text, str):
      raise UserError(
        f'--data {path}, line {row.line} has neither a field "inputs" nor "text"; its fields are '
        f'{", ".join(map(str, row.value))}.'
      )
    target = row.value.get('targets', '')
    pairs.append((text, target if isinstance(target, str) else str(target)))
    if len(pairs) == limit:
      break
  return pairs


def _lines(path: str, limit: int) -> list[str]:
  """The first lines that are not empty."""
  lines: list[str] = []
  with open(path, 'rb') as file:
    for number, line in enumerate(file, 1):
      try:
        text = line.decode('utf-8-sig').strip()
      except UnicodeDecodeError as error:
        raise UserError(f'--data {path}, line {number} is not UTF-8. Convert the file first.') from error
      if text:
        lines.append(text)
      if len(lines) == limit:
        break
  return lines
