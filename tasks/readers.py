"""Readers of the formats that official releases use: a file in, rows out, one at a time.

A reader yields a `RawRow` for every good row and a `MalformedRow` for every other, and continues; what to do about a
malformed row is for the source to decide. No file is held in memory. Plain and gzip files are read alike, from a disk
or a bucket.
"""

import csv
import dataclasses
import json
from collections.abc import Callable, Iterator
from typing import Protocol

from switch_zoo.errors import UserError
from switch_zoo.tasks import json_text
from switch_zoo.tasks.json_document import JsonDocument
from switch_zoo.tasks.raw_files import (
  DAMAGED,
  BadField,
  MalformedRow,
  RawRow,
  damaged,
  lines,
  not_utf8,
  separator_hint,
  text_lines,
)


class RowReader(Protocol):
  """Cuts a file into rows."""

  def rows(self, path: str) -> Iterator[RawRow | MalformedRow]:
    """The rows of a file, read as they are consumed."""
    ...

  def needs(self, path: str) -> tuple[str, ...]:
    """Every file that must exist to read this one."""
    ...


class _OneFile:
  """A reader that needs no other file."""

  def needs(self, path: str) -> tuple[str, ...]:
    """The file itself."""
    return (path,)


@dataclasses.dataclass(frozen=True)
class TextLines(_OneFile):
  """Lines of text, {field: line}. Empty lines are rows too: the position of a line can matter.

  field: the name that a line gets
  """

  field: str = 'text'

  def rows(self, path: str) -> Iterator[RawRow | MalformedRow]:
    """One row per line."""
    for row in text_lines(path):
      yield row if isinstance(row, MalformedRow) else RawRow(path, row[0], {self.field: row[1]})


@dataclasses.dataclass(frozen=True)
class JsonLines(_OneFile):
  """A JSON object on every line; empty lines are skipped."""

  def rows(self, path: str) -> Iterator[RawRow | MalformedRow]:
    """One row per line."""
    for row in lines(path):
      if isinstance(row, MalformedRow):
        yield row
      elif row[1].strip():
        yield _json_row(path, *row)


def _json_row(path: str, number: int, line: bytes) -> RawRow | MalformedRow:
  try:
    # Not left to json, which guesses encodings and lets surrogates pass.
    value = json_text.parsed(line.decode('utf-8'))
  except UnicodeDecodeError as error:
    return MalformedRow(path, number, not_utf8(error))
  except json_text.NotARow as error:
    return MalformedRow(path, number, str(error))
  if not isinstance(value, dict):
    return MalformedRow(path, number, f'a JSON {type(value).__name__}, not an object ({{"field": value, ...}}).')
  return RawRow(path, number, value)


@dataclasses.dataclass(frozen=True)
class AlignedText:
  """Two files whose lines correspond, {fields[0]: line of the first, fields[1]: line of the other}.

  other: from the path of the first file to that of the other
  fields: the names of the two
  """

  other: Callable[[str], str]
  fields: tuple[str, str] = ('source', 'target')

  def needs(self, path: str) -> tuple[str, ...]:
    """Both files."""
    return path, self.other(path)

  def rows(self, path: str) -> Iterator[RawRow | MalformedRow]:
    """One row per pair of lines."""
    other = self.other(path)
    others = text_lines(other)
    for first in text_lines(path):
      second = next(others, None)
      if second is None:
        yield _too_few_lines(other, path, _number(first))
        return
      if isinstance(first, MalformedRow):
        yield first
      elif isinstance(second, MalformedRow):
        yield second
      else:
        yield RawRow(path, first[0], {self.fields[0]: first[1], self.fields[1]: second[1]})
    extra = next(others, None)
    if extra is not None:
      yield _too_few_lines(path, other, _number(extra))


def _number(line: tuple[int, str] | MalformedRow) -> int:
  return line.line if isinstance(line, MalformedRow) else line[0]


def _too_few_lines(shorter: str, longer: str, number: int) -> MalformedRow:
  """The row at line `number` of the longer file, which has no counterpart."""
  return MalformedRow(
    longer, number, f'{shorter} has only {number - 1} lines; the two must have the same number of lines.'
  )


@dataclasses.dataclass(frozen=True)
class JsonList(_OneFile):
  """A JSON document that contains a list of objects, of which one at a time is in memory.

  at: the keys that lead to the list: () for a document that is a list, ('data',) for {"version": .., "data": [..]}
  """

  at: tuple[str, ...] = ()

  def rows(self, path: str) -> Iterator[RawRow | MalformedRow]:
    """One row per object of the list; a broken document ends at the break."""
    document = JsonDocument(path)
    item = 0
    try:
      document.enter(self.at)
      while document.more_items(first=item == 0):
        item += 1
        yield _item_row(path, document, item)
      if self.at:
        document.skip_to_end()
      elif after := document.text_after():
        yield MalformedRow(path, document.line, f'text after the end of the list: {after!r}.', rest=True)
    except json.JSONDecodeError as error:
      what = 'the file is empty.' if document.empty else f'not JSON: {error.msg}.'
      yield MalformedRow(path, document.line, what, item or None, rest=True)
    except json_text.NotARow as error:
      yield MalformedRow(path, document.line, str(error), rest=True)
    except BadField as error:
      yield MalformedRow(path, document.line, f'{error}.', rest=True)
    except DAMAGED as error:
      yield MalformedRow(path, document.line, damaged(error), item or None, rest=True)
    finally:
      document.close()


def _item_row(path: str, document: JsonDocument, item: int) -> RawRow | MalformedRow:
  line = document.line
  try:
    value = document.value()
  except json_text.NotARow as error:
    to = f' (to line {document.line})' if document.line > line else ''
    return MalformedRow(path, line, f'{error}{to}', item)
  if not json_text.is_utf8(document.last):
    return MalformedRow(path, line, 'the row contains bytes that are not UTF-8.', item)
  if not isinstance(value, dict):
    return MalformedRow(path, line, f'a JSON {type(value).__name__}, not an object.', item)
  return RawRow(path, line, value, item)


@dataclasses.dataclass(frozen=True)
class Delimited(_OneFile):
  """Columns, {column: text}: TSV or CSV.

  columns: their names; None: the first line that is not empty holds them
  delimiter: what separates them
  quoted: whether "..." may contain delimiters and line ends, as in CSV; the TSV files of GLUE quote nothing
  more: whether a row may have further columns after the named ones; they are dropped
  """

  columns: tuple[str, ...] | None = None
  delimiter: str = '\t'
  quoted: bool = False
  more: bool = False

  def rows(self, path: str) -> Iterator[RawRow | MalformedRow]:
    """One row, with all `columns`, per row of the table; empty lines are skipped.

    Raises:
      UserError: two columns have the same name
    """
    columns = self.columns
    for row in self._quoted_cells(path) if self.quoted else self._cells(path):
      if isinstance(row, MalformedRow):
        yield row
        continue
      begin, end, cells = row
      if not any(cells) or (columns is None and cells == ['sep=', '']):
        continue  # `sep=,` is how Excel is told the delimiter
      if columns is None:
        columns = _distinct(tuple(cells), f'{path}, line {begin}')
      else:
        yield self._named(path, begin, end, cells, columns)

  def _named(
    self, path: str, begin: int, end: int, cells: list[str], columns: tuple[str, ...]
  ) -> RawRow | MalformedRow:
    if len(cells) < len(columns) or (len(cells) > len(columns) and not self.more):
      missing = f'; field "{columns[len(cells)]}" is missing' if len(cells) < len(columns) else ''
      what = f'{len(cells)} columns instead of {len(columns)} ({", ".join(columns)}){missing}'
      return MalformedRow(path, begin, f'{what}{_to_line(begin, end)}.{separator_hint(columns)}')
    if len(columns) > 1 and tuple(cells) == columns:
      return MalformedRow(path, begin, 'the names of the columns, not a row: delete this line.')
    return RawRow(path, begin, dict(zip(columns, cells, strict=False)))

  def _cells(self, path: str) -> Iterator[tuple[int, int, list[str]] | MalformedRow]:
    for line in text_lines(path):
      yield line if isinstance(line, MalformedRow) else (line[0], line[0], line[1].split(self.delimiter))

  def _quoted_cells(self, path: str) -> Iterator[tuple[int, int, list[str]] | MalformedRow]:
    """(first line, last line, cells) of each row."""
    csv.field_size_limit(1 << 30)  # an article is longer than the module's 128 kB
    malformed: list[MalformedRow] = []
    reader = csv.reader(_decoded(path, malformed), delimiter=self.delimiter, strict=True)
    while True:
      begin = reader.line_num + 1
      try:
        cells = next(reader, None)
      except csv.Error as error:
        what = f'not a {self.delimiter!r}-separated row: {error}{_to_line(begin, reader.line_num)}.'
        yield MalformedRow(path, begin, what)
        continue
      yield from malformed
      malformed.clear()
      if cells is None:
        return
      good = json_text.is_utf8('\n'.join(cells))
      what = f'the row contains bytes that are not UTF-8{_to_line(begin, reader.line_num)}.'
      yield (begin, reader.line_num, cells) if good else MalformedRow(path, begin, what)


def _to_line(begin: int, end: int) -> str:
  """The last line of a row that has several: none of them is read as a row."""
  return f' (to line {end})' if end > begin else ''


def _distinct(columns: tuple[str, ...], place: str) -> tuple[str, ...]:
  """The names of columns; a column without a name, which nothing can ask for, may occur several times."""
  for number, name in enumerate(columns, 1):
    first = columns.index(name) + 1
    if name and first < number:
      raise UserError(f'{place}: columns {first} and {number} are both named "{name}". Rename one of them.')
  return columns


def _decoded(path: str, malformed: list[MalformedRow]) -> Iterator[str]:
  """Lines with their ends, as the csv module wants them; those that cannot be read are added to `malformed`.

  A byte that is not UTF-8 becomes a character that cannot be encoded again, so that its row can be recognized.
  """
  for line in lines(path):
    if isinstance(line, MalformedRow):
      malformed.append(line)
    else:
      yield line[1].decode('utf-8', 'surrogateescape') + '\n'
