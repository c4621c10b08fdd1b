"""Records of a file, what a malformed one is, and the bytes and lines that every reader begins with."""

import contextlib
import gzip
import io
import zlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import tensorflow as tf

CHUNK = 1 << 18  # bytes read at a time
DAMAGED = (EOFError, zlib.error, gzip.BadGzipFile)
_BYTE_ORDER_MARK = b'\xef\xbb\xbf'
_GZIP = b'\x1f\x8b'


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


@contextlib.contextmanager
def open_bytes(path: str) -> Iterator[io.BufferedReader]:
  """Opens a file, local or of a bucket; what gzip has packed (by content, whatever the name) is unpacked.

  What comes before a place where a gzip file is damaged is given out before the error is raised.
  """
  with contextlib.ExitStack() as stack:
    file = stack.enter_context(tf.io.gfile.GFile(path, 'rb') if '://' in path else open(path, 'rb'))  # noqa: SIM115
    packed = file.read(2) == _GZIP
    file.seek(0)
    read = stack.enter_context(gzip.GzipFile(fileobj=file)).read1 if packed else file.read
    yield io.BufferedReader(_Raw(read), CHUNK)


class _Raw(io.RawIOBase):
  """A function that reads at most so many bytes, as the buffered reader of Python wants it."""

  def __init__(self, read):
    self._read_at_most = read

  def readable(self):
    return True

  def readinto(self, buffer):
    data = self._read_at_most(len(buffer))
    buffer[: len(data)] = data
    return len(data)


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
  except DAMAGED as error:
    number += 1
    yield Malformed(path, number, damaged(error))
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
      yield Malformed(path, number, not_utf8(error))


def not_utf8(error: UnicodeDecodeError) -> str:
  """What is said of a line that is not UTF-8."""
  return f'no UTF-8: byte 0x{error.object[error.start]:02x} at byte {error.start + 1} ({error.reason}).'


def damaged(error: Exception) -> str:
  """What is said of a gzip file that cannot be unpacked."""
  return f'the gzip file is cut off or damaged here ({error}). Copy or download it again.'


def is_utf8(text: str) -> bool:
  """Whether a text has no half of a surrogate pair in it, of which UTF-8 cannot be made."""
  try:
    text.encode('utf-8')
  except UnicodeEncodeError:
    return False
  return True
