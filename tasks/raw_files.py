"""Rows of a file, good and malformed, and the bytes and lines that every reader starts from."""

import contextlib
import gzip
import io
import zlib
from collections.abc import Callable, Collection, Iterator
from typing import Any, NamedTuple

import tensorflow as tf

from switch_zoo.lfs_pointer import describe_pointer, is_pointer

CHUNK = 1 << 18  # bytes read at a time
DAMAGED = (EOFError, zlib.error, gzip.BadGzipFile)
_BYTE_ORDER_MARK = b'\xef\xbb\xbf'
_UTF16 = (b'\xff\xfe', b'\xfe\xff')
_GZIP = b'\x1f\x8b'
_SEPARATORS = (';', '\t', '|', ',')


class BadField(ValueError):  # noqa: N818 - it names what is bad
  """A field of a row that is not what it must be. The caller that knows the file and the line adds them."""

  def __init__(self, field: str, rule: str) -> None:
    """
    Args:
      field: its name, as the file has it ('label', 'passage.text')
      rule: what is wrong, with the value and the rule ('is "maybe"; must be one of: yes, no')
    """
    super().__init__(f'field "{field}" {rule}')
    self.field = field
    self.rule = rule


class RawRow(NamedTuple):
  """A row of a file.

  path: of the file
  line: where the row begins, from 1
  value: its fields by name
  item: in a JSON document, the position of the row in its list, from 1
  """

  path: str
  line: int
  value: dict[str, Any]
  item: int | None = None


class MalformedRow(NamedTuple):
  """A row, or the rest of a file, that cannot be read.

  path, line, item: as in `RawRow`
  what: what is wrong, with the field where one is known
  rest: whether it is the rest of the file: nothing after it is read
  """

  path: str
  line: int
  what: str
  item: int | None = None
  rest: bool = False

  def __str__(self) -> str:
    item = f', item {self.item}' if self.item else ''
    return f'{self.path}, line {self.line}{item}: {self.what}'


def separator_hint(columns: Collection[str]) -> str:
  """What a table with a single column is told if the name of the column contains another separator; else ''."""
  name = next(iter(columns), '')
  found = next((separator for separator in _SEPARATORS if separator in name), '') if len(columns) == 1 else ''
  return f' Is the table separated by {found!r}? A .csv must be separated by commas, a .tsv by tabs.' if found else ''


@contextlib.contextmanager
def open_bytes(path: str) -> Iterator[io.BufferedReader]:
  """Opens a file on a disk or in a bucket; gzip data (recognized by content, not by name) is unpacked.

  What precedes the damaged part of a gzip file is returned before the error is raised.
  """
  with contextlib.ExitStack() as stack:
    file = stack.enter_context(tf.io.gfile.GFile(path, 'rb') if '://' in path else open(path, 'rb'))  # noqa: SIM115
    packed = file.read(2) == _GZIP
    file.seek(0)
    read = stack.enter_context(gzip.GzipFile(fileobj=file)).read1 if packed else file.read
    yield io.BufferedReader(_RawReads(read), CHUNK)


class _RawReads(io.RawIOBase):
  """Presents a function that reads at most n bytes as the raw file that io.BufferedReader wants."""

  def __init__(self, read: Callable[[int], bytes]) -> None:
    self._read_at_most = read

  def readable(self) -> bool:
    return True

  def readinto(self, buffer: Any) -> int:
    data = self._read_at_most(len(buffer))
    buffer[: len(data)] = data
    return len(data)


def not_a_text(begin: bytes) -> str:
  """What keeps a file that begins with these bytes from being read as text; '' for nothing.

  Args:
    begin: its first bytes, as many as a Git LFS pointer has, or more
  """
  if begin.startswith(_UTF16):
    return 'the file is UTF-16. Save it as UTF-8.'
  return f'the file is {describe_pointer(begin)}' if is_pointer(begin) else ''


def lines(path: str) -> Iterator[tuple[int, bytes] | MalformedRow]:
  """(number from 1, line without its end) of a file; a byte order mark at its start is dropped.

  Lines end with LF or CRLF; in a file that begins with lines that end with CR, as on old Macs, with CR.
  An empty file, one in UTF-16, a Git LFS pointer, and a gzip file that is truncated or damaged, give a `MalformedRow`
  at that line.
  """
  number = 0
  try:
    with open_bytes(path) as file:
      begin = file.peek(CHUNK)
      if reason := not_a_text(begin):
        yield MalformedRow(path, 1, reason, rest=True)
        return
      for number, line in enumerate(_mac_lines(file) if _has_mac_lines(begin) else file, 1):
        if number == 1:
          line = line.removeprefix(_BYTE_ORDER_MARK)
        yield number, line.rstrip(b'\r\n')
  except DAMAGED as error:
    number += 1
    yield MalformedRow(path, number, damaged(error), rest=True)
  if number == 0:
    yield MalformedRow(path, 1, 'the file is empty.', rest=True)


def count_lines(path: str) -> int | None:
  """How many lines `lines` gives of a file; None if it cannot be read to its end, which reading it reports."""
  count, end = 0, b'\n'
  try:
    with open_bytes(path) as file:
      begin = file.peek(CHUNK)
      if not_a_text(begin):
        return None
      if _has_mac_lines(begin):
        return sum(1 for _ in _mac_lines(file))
      while chunk := file.read1(CHUNK):
        count, end = count + chunk.count(b'\n'), chunk[-1:]
  except DAMAGED:
    return None
  return count + (end != b'\n')


def _has_mac_lines(begin: bytes) -> bool:
  """Whether lines end with CR, from the first bytes of a file; a CR at the end may be half of a CRLF."""
  return b'\n' not in begin and b'\r' in begin[:-1]


def _mac_lines(file: io.BufferedReader) -> Iterator[bytes]:
  """The lines of a file that end with CR."""
  line = b''
  while chunk := file.read1(CHUNK):
    *whole, line = (line + chunk).split(b'\r')
    yield from whole
  if line:
    yield line


def text_lines(path: str) -> Iterator[tuple[int, str] | MalformedRow]:
  """As `lines`, decoded from UTF-8; a line that is not UTF-8 gives a `MalformedRow`."""
  for row in lines(path):
    if isinstance(row, MalformedRow):
      yield row
      continue
    number, line = row
    try:
      yield number, line.decode('utf-8')
    except UnicodeDecodeError as error:
      yield MalformedRow(path, number, not_utf8(error))


def not_utf8(error: UnicodeDecodeError) -> str:
  """The message about a line that is not UTF-8."""
  byte = error.object[error.start]
  return f'not UTF-8: byte 0x{byte:02x} at byte {error.start + 1} ({error.reason}). Save the file as UTF-8.'


def damaged(error: Exception) -> str:
  """The message about a gzip file that cannot be unpacked."""
  return f'the gzip file is truncated or damaged here ({error}). Copy or download it again.'
