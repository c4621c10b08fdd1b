"""Readers of the formats official releases come in: a file in, records out, one at a time.

A reader yields a `Record` for every good row and a `Malformed` for every other, and goes on; what a malformed row means
is for the source to decide. No file is held in memory, and plain and gzip files, local ones and those of a bucket, are
read alike.
"""
import contextlib
import csv
import dataclasses
import gzip
import io
import json
import zlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Protocol

import tensorflow as tf

_BYTE_ORDER_MARK = b'\xef\xbb\xbf'
_GZIP = b'\x1f\x8b'
_CHUNK = 1 << 18  # characters of a JSON document read at a time


class BadField(ValueError):  # noqa: N818 - it names what is bad
  """A field of a row that is not what it must be. Whoever knows the file and the line adds them."""

  def __init__(self, field: str, rule: str):
    """
    Args:
      field: its name, as the file has it ('label', 'passage.text')
      rule: what is wrong, with the value and the rule ('is "maybe"; must be one of: yes, no')
    """
    super().__init__(f'field "{field}" {rule}')
    self.field = field
    self.rule = rule


class Record(NamedTuple):
  """A row of a file.

  path: of the file
  line: where the row begins, from 1
  value: what it holds, by field
  item: in a JSON document, which one of its list the row is, from 1
  """

  path: str
  line: int
  value: dict[str, Any]
  item: int | None = None


class Malformed(NamedTuple):
  """A row, or the rest of a file, that cannot be read.

  path, line, item: as in `Record`
  what: what is wrong, with the field where one is known
  """

  path: str
  line: int
  what: str
  item: int | None = None

  def __str__(self):
    item = f', item {self.item}' if self.item else ''
    return f'{self.path}, line {self.line}{item}: {self.what}'


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


@contextlib.contextmanager
def open_bytes(path: str) -> Iterator[io.BufferedIOBase]:
  """Opens a file, local or of a bucket; what gzip has packed (by content, whatever the name) is unpacked."""
  with contextlib.ExitStack() as stack:
    file = stack.enter_context(tf.io.gfile.GFile(path, 'rb') if '://' in path else open(path, 'rb'))  # noqa: SIM115
    packed = file.read(2) == _GZIP
    file.seek(0)
    if packed:
      file = stack.enter_context(io.BufferedReader(stack.enter_context(gzip.GzipFile(fileobj=file)), 1 << 20))
    yield file


def lines(path: str) -> Iterator[tuple[int, bytes] | Malformed]:
  """(number from 1, line without its end) of a file; a byte order mark at its start is dropped.

  A file without a byte, and a gzip file that ends too early or is damaged, give a `Malformed` at that place.
  """
  number = 0
  try:
    with open_bytes(path) as file:
      for number, line in enumerate(file, 1):
        if number == 1:
          line = line.removeprefix(_BYTE_ORDER_MARK)
        yield number, line.rstrip(b'\r\n')
  except (EOFError, zlib.error, gzip.BadGzipFile) as error:
    number += 1
    yield Malformed(path, number, f'the gzip file is cut off or damaged here ({error}). Copy or download it again.')
  if number == 0:
    yield Malformed(path, 1, 'the file is empty.')


def text_lines(path: str) -> Iterator[tuple[int, str] | Malformed]:
  """As `lines`, decoded from UTF-8; a line that is none gives a `Malformed`."""
  for found in lines(path):
    if isinstance(found, Malformed):
      yield found
      continue
    number, line = found
    try:
      yield number, line.decode('utf-8')
    except UnicodeDecodeError as error:
      yield Malformed(path, number, _not_utf8(error))


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
    return Malformed(path, number, _not_utf8(error))
  except json.JSONDecodeError as error:
    return Malformed(path, number, f'no JSON: {error.msg} at column {error.colno}.')
  if not isinstance(value, dict):
    return Malformed(path, number, f'a JSON {type(value).__name__}, not an object ({{"field": value, ...}}).')
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
      try:
        '\n'.join(cells).encode('utf-8')
      except UnicodeEncodeError:
        yield Malformed(path, begin, 'the row holds bytes that are not UTF-8.')
        continue
      yield begin, cells


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
    text = _Document(path)
    item = 0
    try:
      text.enter(self.at)
      while text.more_items(first=item == 0):
        item += 1
        line = text.line
        value = text.value()
        if isinstance(value, dict):
          yield Record(path, line, value, item)
        else:
          yield Malformed(path, line, f'a JSON {type(value).__name__}, not an object.', item)
    except json.JSONDecodeError as error:
      yield Malformed(path, text.line, f'no JSON: {error.msg}.', item or None)
    except BadField as error:
      yield Malformed(path, text.line, f'{error}.')
    except UnicodeDecodeError as error:
      yield Malformed(path, text.line, _not_utf8(error), item or None)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
      what = f'the gzip file is cut off or damaged here ({error}). Copy or download it again.'
      yield Malformed(path, text.line, what, item or None)
    finally:
      text.close()


class _Document:
  """The text of a JSON document from the present place on, of which no more is read than the next value needs."""

  def __init__(self, path):
    self._stack = contextlib.ExitStack()
    file = self._stack.enter_context(open_bytes(path))
    self._read = io.TextIOWrapper(_Readable(file), 'utf-8-sig').read
    self._text, self._place, self._ended = '', 0, False
    self._decoder = json.JSONDecoder()
    self.line = 1

  def close(self):
    self._stack.close()

  def enter(self, keys):
    """Goes to the list that the keys lead to."""
    for depth, key in enumerate(keys):
      self._expect('{')
      while True:
        if self._peek() == '}':
          raise BadField('.'.join(keys[: depth + 1]), 'is missing')
        name = self.value()
        self._expect(':')
        if name == key:
          break
        self.value()
        if self._peek() == ',':
          self._expect(',')
    if self._peek() != '[':
      raise BadField('.'.join(keys) or 'document', 'is no JSON list')
    self._expect('[')

  def more_items(self, first):
    """Whether the list goes on; the comma is passed over."""
    if self._peek() == ']':
      return False
    if not first:
      self._expect(',')
    return True

  def value(self):
    """The next value; more text is read until it is whole."""
    self._peek()
    while True:
      try:
        value, end = self._decoder.raw_decode(self._text, self._place)
        # A number at the end of what was read may go on.
        if end < len(self._text) or self._ended or isinstance(value, (dict, list, str)):
          self._advance(end)
          return value
      except json.JSONDecodeError:
        if self._ended:
          raise
      self._fill(max(_CHUNK, len(self._text) - self._place))

  def _expect(self, character):
    if self._peek() != character:
      raise json.JSONDecodeError(f'{character!r} expected, {self._peek() or "the end"!r} found', self._text, 0)
    self._advance(self._place + 1)

  def _peek(self):
    """The next character that is no blank, '' at the end."""
    while True:
      end = json.decoder.WHITESPACE.match(self._text, self._place).end()
      self._advance(end)
      if self._place < len(self._text) or self._ended:
        return self._text[self._place : self._place + 1]
      self._fill(_CHUNK)

  def _advance(self, end):
    self.line += self._text.count('\n', self._place, end)
    self._place = end

  def _fill(self, size):
    more = self._read(size)
    self._text, self._place, self._ended = self._text[self._place :] + more, 0, not more


class _Readable(io.RawIOBase):
  """What `open_bytes` gives, as the text layer of Python wants it."""

  def __init__(self, file):
    self._file = file

  def readable(self):
    return True

  def readinto(self, buffer):
    data = self._file.read(len(buffer))
    buffer[: len(data)] = data
    return len(data)


def _not_utf8(error):
  return f'no UTF-8: byte 0x{error.object[error.start]:02x} at byte {error.start + 1} ({error.reason}).'
