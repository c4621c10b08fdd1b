"""Whether the quotation marks of a TSV file enclose cells, as pandas and Excel write them, or are text, as in GLUE.

A cell is enclosed only where it must be: around a tab, a line end or a quotation mark, which is then doubled; or every
cell is. So most files say which of the two they are, and one that does not is an error rather than a guess.
"""

import functools
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from switch_zoo.errors import UserError
from switch_zoo.tasks import data_folder
from switch_zoo.tasks.raw_files import MalformedRow, lines

_QUOTE = b'"'
_CELL = re.compile(rb'"[^"]*(?:""[^"]*)*"')  # an enclosed cell
_LONGEST = 1000  # lines of an enclosed cell
_SETTING = (
  'Set --gin_param="zoo_file.quoted = True" if quotation marks enclose cells, as pandas and Excel write them, or '
  '"zoo_file.quoted = False" if they are part of the text.'
)
ENCLOSING, TEXT, EITHER = 'encloses a cell', 'is text', 'may be either'


class Place(NamedTuple):
  """Where a row begins."""

  path: str
  line: int

  def __str__(self) -> str:
    return f'{self.path}, line {self.line}'


def are_enclosing(paths: Sequence[str], delimiter: str = '\t') -> bool:
  """Whether the quotation marks in some files of one origin enclose cells; False if they have none.

  The files are read to the end, once: lines without a quotation mark cost next to nothing.

  Raises:
    UserError: it cannot be known, with the line and the setting that decides
  """
  return _are_enclosing(tuple((path, data_folder.version(path)) for path in paths), delimiter)


@functools.lru_cache(maxsize=64)
def _are_enclosing(versions: tuple[tuple[str, int], ...], delimiter: str) -> bool:
  places: dict[str, Place] = {}
  for path, _ in versions:
    for kind, line in kinds(path, delimiter):
      places.setdefault(kind, Place(path, line))
  if ENCLOSING in places and TEXT in places:
    raise UserError(
      f'{places[ENCLOSING]}: a quotation mark encloses a cell, but in {places[TEXT]}, it is text. {_SETTING}'
    )
  if EITHER in places and len(places) == 1:
    raise UserError(
      f'{places[EITHER]}: a cell begins and ends with a quotation mark, which may be text or not. {_SETTING}'
    )
  return ENCLOSING in places


def kinds(path: str, delimiter: str) -> Iterator[tuple[str, int]]:
  """(ENCLOSING, TEXT or EITHER, the line from 1) for every row of a file that has a quotation mark."""
  separator = delimiter.encode()
  shape = _Shape(separator)
  num_separators, is_header = -1, False
  begin, pending = 0, list[bytes]()
  for row in lines(path):
    if isinstance(row, MalformedRow):
      break  # an error, or reported, when the file is read
    number, line = row
    is_header, num_separators = num_separators < 0, line.count(separator) if num_separators < 0 else num_separators
    if pending:
      pending.append(line)
      if line.count(_QUOTE) % 2 or len(pending) > _LONGEST:
        yield shape.of_several_lines(pending, num_separators), begin
        pending = []
    elif _QUOTE in line:
      if line.count(_QUOTE) % 2 and shape.opens_a_cell(line):
        begin, pending = number, [line]
      else:
        yield shape.of_a_line(line, is_header), number
  if pending:
    yield TEXT, begin


class _Shape:
  """What the quotation marks in a row can be, for a separator of cells."""

  def __init__(self, separator: bytes) -> None:
    cell = rb'(?:' + _CELL.pattern + rb'|[^"' + separator + rb']*)'
    self._separator = separator
    self._row = re.compile(cell + rb'(?:' + separator + cell + rb')*')
    self._open = re.compile(rb'(?:' + cell + separator + rb')*"[^"]*(?:""[^"]*)*')

  def opens_a_cell(self, line: bytes) -> bool:
    """Whether the last cell is enclosed and not closed."""
    return self._open.fullmatch(line) is not None

  def of_a_line(self, line: bytes, is_header: bool) -> str:
    """The kind of a row on one line."""
    if not self._row.fullmatch(line):
      return TEXT
    cells = _CELL.findall(line)
    needed = any(_QUOTE in cell[1:-1] or self._separator in cell for cell in cells)
    all_enclosed = len(cells) == _CELL.sub(b'', line).count(self._separator) + 1 > 1
    return ENCLOSING if is_header or needed or all_enclosed else EITHER

  def of_several_lines(self, several: Sequence[bytes], num_separators: int) -> str:
    """The kind of lines that are one row if the quotation marks enclose cells, and as many as they are if not."""
    whole = b'\n'.join(several)
    is_a_row = self._row.fullmatch(whole) and _CELL.sub(b'', whole).count(self._separator) == num_separators
    are_rows = all(line.count(self._separator) == num_separators for line in several)
    return ENCLOSING if is_a_row and not are_rows else TEXT
