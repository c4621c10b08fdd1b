"""The formats that a file of `zoo_file` can have: its name says which, and its first bytes which kind of JSON."""

import dataclasses
import json
import os
from collections.abc import Callable, Iterator, Sequence

from switch_zoo.errors import UserError
from switch_zoo.tasks import quote_detection
from switch_zoo.tasks.raw_files import CHUNK, DAMAGED, MalformedRow, RawRow, open_bytes
from switch_zoo.tasks.readers import Delimited, JsonLines, JsonList, RowReader


@dataclasses.dataclass(frozen=True)
class JsonRows:
  """A list of JSON objects, or an object on every line, whatever the name of the file says."""

  def needs(self, path: str) -> tuple[str, ...]:
    """The file itself."""
    return (path,)

  def rows(self, path: str) -> Iterator[RawRow | MalformedRow]:
    """One row per object."""
    first, second = _first_lines(path)
    if first.startswith(b'[') and _opens_a_list(first, second):
      return JsonList().rows(path)
    if first.startswith(b'{') and _is_indented(first, second):
      return iter([MalformedRow(path, 1, _ONE_OBJECT, rest=True)])
    return JsonLines().rows(path)


def _first_lines(path: str) -> tuple[bytes, bytes]:
  """The first two lines that are not empty, without blanks around them; b'' where there is none."""
  try:
    with open_bytes(path) as file:
      begin = file.read1(CHUNK).removeprefix(b'\xef\xbb\xbf')
  except DAMAGED:
    return b'', b''  # the reader says where
  first, second, *_ = *filter(None, map(bytes.strip, begin.splitlines())), b'', b''
  return first, second


def _opens_a_list(first: bytes, second: bytes) -> bool:
  """Whether a line that begins with '[' is that of a list, and not a row with a mistake among lines of objects."""
  return not second or first.endswith((b'[', b'{', b',')) or second.startswith((b',', b']')) or _is_json(first)


def _is_indented(first: bytes, second: bytes) -> bool:
  """Whether an object begins on the first line and continues on the second."""
  is_open = first.endswith((b'{', b'[', b',')) and not _is_json(first.rstrip(b','))
  return is_open and second.startswith((b'"', b'{', b'[')) and not second.endswith(b'}')


def _is_json(text: bytes) -> bool:
  try:
    json.loads(text)
  except (ValueError, RecursionError):
    return False
  return True


_ONE_OBJECT = (
  'the file is one JSON object over several lines. It must be a list of objects ([{...}, {...}]) or have an object on '
  "every line, which `jq -c '.NAME[]' FILE` makes of the list that the object has under NAME."
)


@dataclasses.dataclass(frozen=True)
class TsvRows:
  """A TSV file whose quotation marks mean what the files of its split show that they mean.

  paths: of the split
  columns: of a table without a header
  """

  paths: tuple[str, ...]
  columns: tuple[str, ...] | None

  def needs(self, path: str) -> tuple[str, ...]:
    """The file itself."""
    return (path,)

  def rows(self, path: str) -> Iterator[RawRow | MalformedRow]:
    """One row per row of the table.

    Raises:
      UserError: the files do not show it
    """
    yield from Delimited(self.columns, quoted=quote_detection.are_enclosing(self.paths)).rows(path)


def reader_for(paths: Sequence[str], columns: tuple[str, ...] | None = None, quoted: bool | None = None) -> RowReader:
  """The reader of the format that the names of a split's files end in.

  Args:
    paths: of the files; '.gz' at their ends does not count
    columns: of a table without a header
    quoted: whether quotation marks enclose cells; None: always in a .csv, and in a .tsv where it shows that they do
  Raises:
    UserError: another ending
  """
  ending = os.path.splitext(paths[0].removesuffix('.gz'))[1].lower()
  if ending not in _READERS:
    raise UserError(
      f'zoo_file: the name of "{paths[0]}" does not tell the format. It must end in {", ".join(_READERS)}, or in one '
      'of these followed by .gz.'
    )
  return _READERS[ending](tuple(paths), columns, quoted)


def _tsv(paths: tuple[str, ...], columns: tuple[str, ...] | None, quoted: bool | None) -> RowReader:
  return TsvRows(paths, columns) if quoted is None else Delimited(columns, quoted=quoted)


_Make = Callable[[tuple[str, ...], tuple[str, ...] | None, bool | None], RowReader]
_READERS: dict[str, _Make] = {
  '.jsonl': lambda paths, columns, quoted: JsonRows(),
  '.json': lambda paths, columns, quoted: JsonRows(),
  '.tsv': _tsv,
  '.csv': lambda paths, columns, quoted: Delimited(columns, delimiter=',', quoted=quoted is not False),
}
