"""Readers of the formats official releases come in: a file in, records out, one at a time.

A reader yields a `Record` for every good row and a `Malformed` for every other, and goes on; what a malformed row means
is for the source to decide. No file is held in memory, and plain and gzip files, local ones and those of a bucket, are
read alike.
"""

import csv
import dataclasses
import json
from collections.abc import Callable, Iterator
from typing import Protocol

from switch_zoo.tasks.json_document import Document
from switch_zoo.tasks.raw_files import (
  DAMAGED,
  BadField,
  Malformed,
  Record,
  damaged,
  is_utf8,
  lines,
  not_utf8,
  text_lines,
)

_HALF = b'\\ud'  # how a half of a surrogate pair begins in JSON


class Reader(Protocol):
  """How a file is cut into records."""

  def records(self, path: str) -> Iterator[Record | Malformed]:
    """The rows of a file, read as they are asked for."""

  def needs(self, path: str) -> tuple[str, ...]:
    """Every file that has to be there to read this one."""


class _OneFile:
  """A reader that needs no file but its own."""

  def needs(self, path: str) -> tuple[str, ...]:
    """The file itself."""
    return (path,)


@dataclasses.dataclass(frozen=True)
class Text(_OneFile):
  """Lines of text, {field: line}. Empty lines are records too: a line's place can matter.

  field: the name a line gets
  """

  field: str = 'text'

  def records(self, path: str) -> Iterator[Record | Malformed]:
    """One record a line."""
    for found in text_lines(path):
      yield found if isinstance(found, Malformed) else Record(path, found[0], {self.field: found[1]})


@dataclasses.dataclass(frozen=True)
class JsonLines(_OneFile):
  """A JSON object on every line; empty lines are passed over."""

  def records(self, path: str) -> Iterator[Record | Malformed]:
    """One record a line."""
    for found in lines(path):
      if isinstance(found, Malformed):
        yield found
      elif found[1].strip():
        yield _json_record(path, *found)


def _json_record(path, number, line):
  try:
    value = json.loads(line)
  except UnicodeDecodeError as error:
    return Malformed(path, number, not_utf8(error))
  except json.JSONDecodeError as error:
    return Malformed(path, number, f'no JSON: {error.msg} at column {error.colno}.')
  if not isinstance(value, dict):
    return Malformed(path, number, f'a JSON {type(value).__name__}, not an object ({{"field": value, ...}}).')
  if _HALF in line.lower() and not is_utf8(json.dumps(value, ensure_ascii=False)):
    return Malformed(path, number, 'half of a surrogate pair (such as "\\ud83d" alone), which is no text.')
  return Record(path, number, value)


@dataclasses.dataclass(frozen=True)
class Delimited(_OneFile):
  """Columns, {column: text}: TSV or CSV.

  columns: their names; None: the first line holds them
  delimiter: what separates them
  quoted: whether "..." may hold delimiters and line ends, as in CSV; the TSV files of GLUE quote nothing
  more: whether a row may have further columns behind the named ones; they are left out
  """

  columns: tuple[str, ...] | None = None
  delimiter: str = '\t'
  quoted: bool = False
  more: bool = False

  def records(self, path: str) -> Iterator[Record | Malformed]:
    """One record a row, all of `columns`; empty lines are passed over."""
    columns = self.columns
    for found in self._rows(path):
      if isinstance(found, Malformed):
        yield found
      elif columns is None:
        columns = tuple(found[1])
      elif any(found[1]):
        yield self._record(path, found[0], found[1], columns)

  def _record(self, path, number, cells, columns):
    if len(cells) < len(columns) or (len(cells) > len(columns) and not self.more):
      missing = f'; field "{columns[len(cells)]}" is missing' if len(cells) < len(columns) else ''
      named = ', '.join(columns)
      return Malformed(path, number, f'{len(cells)} columns, not the {len(columns)} of {named}{missing}.')
    return Record(path, number, dict(zip(columns, cells, strict=False)))

  def _rows(self, path):
    if self.quoted:
      return self._quoted_rows(path)
    split = lambda found: found if isinstance(found, Malformed) else (found[0], found[1].split(self.delimiter))
    return map(split, text_lines(path))

  def _quoted_rows(self, path):
    csv.field_size_limit(1 << 30)  # an article is longer than the module's 128 kB
    trouble: list[Malformed] = []
    reader = csv.reader(_decoded(path, trouble), delimiter=self.delimiter, strict=True)
    while True:
      begin = reader.line_num + 1
      try:
        cells = next(reader, None)
      except csv.Error as error:
        yield Malformed(path, begin, f'no {self.delimiter!r}-separated row: {error}.')
        continue
      yield from trouble
      trouble.clear()
      if cells is None:
        return
      good = is_utf8('\n'.join(cells))
      yield (begin, cells) if good else Malformed(path, begin, 'the row holds bytes that are not UTF-8.')


def _decoded(path, trouble):
  """Lines for the csv module, which wants their ends; a byte that is no UTF-8 becomes what cannot be encoded again."""
  for found in lines(path):
    if isinstance(found, Malformed):
      trouble.append(found)
    else:
      yield found[1].decode('utf-8', 'surrogateescape') + '\n'


@dataclasses.dataclass(frozen=True)
class AlignedText:
  """Two files whose lines belong together, {fields[0]: line of the one, fields[1]: line of the other}.

  other: from the path of the first file to that of the second
  fields: the names of the two
  """

  other: Callable[[str], str]
  fields: tuple[str, str] = ('source', 'target')

  def needs(self, path: str) -> tuple[str, ...]:
    """Both files."""
    return path, self.other(path)

  def records(self, path: str) -> Iterator[Record | Malformed]:
    """One record a pair of lines."""
    other = self.other(path)
    ours, theirs = text_lines(path), text_lines(other)
    for one in ours:
      two = next(theirs, None)
      if two is None:
        number = one.line if isinstance(one, Malformed) else one[0]
        yield Malformed(path, number, f'{other} has only {number - 1} lines; the two must have the same number.')
        return
      trouble = next((found for found in (one, two) if isinstance(found, Malformed)), None)
      yield trouble or Record(path, one[0], {self.fields[0]: one[1], self.fields[1]: two[1]})
    more = next(theirs, None)
    if more is not None:
      number = more.line if isinstance(more, Malformed) else more[0]
      yield Malformed(other, number, f'{path} has only {number - 1} lines; the two must have the same number.')


@dataclasses.dataclass(frozen=True)
class Json(_OneFile):
  """A JSON document with a list of objects in it; one object of the list is in memory at a time.

  at: the keys that lead to the list: () for a document that is a list, ('data',) for {"version": .., "data": [..]}
  """

  at: tuple[str, ...] = ()

  def records(self, path: str) -> Iterator[Record | Malformed]:
    """One record an object of the list; a document that is broken ends there."""
    text = Document(path)
    item = 0
    try:
      text.enter(self.at)
      while text.more_items(first=item == 0):
        item += 1
        line = text.line
        value = text.value()
        if not is_utf8(text.last):
          yield Malformed(path, line, 'the row holds bytes that are not UTF-8.', item)
        elif isinstance(value, dict):
          yield Record(path, line, value, item)
        else:
          yield Malformed(path, line, f'a JSON {type(value).__name__}, not an object.', item)
    except json.JSONDecodeError as error:
      yield Malformed(path, text.line, 'the file is empty.' if text.empty else f'no JSON: {error.msg}.', item or None)
    except BadField as error:
      yield Malformed(path, text.line, f'{error}.')
    except DAMAGED as error:
      yield Malformed(path, text.line, damaged(error), item or None)
    finally:
      text.close()
