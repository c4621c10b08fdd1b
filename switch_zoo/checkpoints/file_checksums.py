"""checksums.json in an export: the size and the CRC-32 of every file of a SavedModel.

It is in the folder of the version (EXPORT_DIR/1), so that a version that is copied takes it along. TensorFlow and
TensorFlow Serving read the files of a SavedModel by their names, and ignore any other.
"""

import json
import os
import zlib
from typing import Any, NamedTuple

from switch_zoo.checkpoints import file_checks, json_files
from switch_zoo.checkpoints.checksums import ALGORITHM, FILE
from switch_zoo.errors import UserError

CHUNK = 1 << 20  # bytes read at a time


class FileChecksum(NamedTuple):
  """The size of a file in bytes, and the CRC-32 of its contents."""

  size: int
  crc32: int


def write(folder: str) -> None:
  """Writes the checksums of all files of a folder and those below it, which must be complete."""
  names = sorted(
    os.path.relpath(os.path.join(place, name), folder) for place, _, files in os.walk(folder) for name in files
  )
  files = {name: _measured(os.path.join(folder, name))._asdict() for name in names if name != FILE}
  # Whole or not at all: half of one would keep a whole export from being served.
  path = os.path.join(folder, FILE)
  with open(f'{path}.partial', 'w', encoding='utf-8') as file:
    file.write(json.dumps({'algorithm': ALGORITHM, 'files': files}, indent=1) + '\n')
  os.replace(f'{path}.partial', path)


def check(folder: str, largest: int | None = None) -> None:
  """Checks the files of a folder; without checksums.json nothing is checked, nor is a file that it does not list.

  Args:
    folder: with checksums.json
    largest: of a file with more bytes than this, only the size is checked; None: every file is read
  Raises:
    UserError: a file is missing, or is not what was written; or checksums.json is damaged
  """
  path = os.path.join(folder, FILE)
  if not file_checks.exists(path):
    return
  expected = {os.path.join(folder, name): value for name, value in _read(path).items()}
  # All sizes first, because that takes no time.
  for name, (size, _) in expected.items():
    _check_size(name, size, path)
  for name, value in expected.items():
    if largest is not None and value.size > largest:
      continue
    try:
      same = _measured(name) == value
    except OSError as error:
      raise UserError(f'{name} cannot be read: {error.strerror}. Copy the export again.') from error
    if not same:
      raise UserError(f'{name} is not what was exported: its checksum is another than in {path}. {_REMEDY}')


_REMEDY = f'Copy the export again, or export again. If you have changed it yourself, delete {FILE}.'


def _check_size(path: str, size: int, source: str) -> None:
  if not os.path.lexists(path):
    raise UserError(f'{path} is missing: {source} lists it. {_REMEDY}')
  file_checks.check_regular(path)
  if os.path.getsize(path) != size:
    raise UserError(f'{path} has {os.path.getsize(path):,} bytes, and had {size:,} when it was exported. {_REMEDY}')


def _measured(path: str) -> FileChecksum:
  size = crc = 0
  with open(path, 'rb', buffering=0) as file:
    while chunk := file.read(CHUNK):
      size, crc = size + len(chunk), zlib.crc32(chunk, crc)
  return FileChecksum(size, crc)


def _read(path: str) -> dict[str, FileChecksum]:
  """The table of a checksums.json."""
  content = json_files.read(path, unique=True)
  files = content.get('files')
  if content.get('algorithm') != ALGORITHM or not isinstance(files, dict) or not all(map(_is_entry, files.items())):
    raise UserError(f'{path} is not a list of checksums that this version knows. Copy it again, or delete it.')
  return {name: FileChecksum(**value) for name, value in files.items()}


def _is_entry(item: tuple[str, Any]) -> bool:
  """Whether an entry names a file inside the folder, with its size and checksum."""
  name, value = item
  inside = bool(name) and '\0' not in name and not os.path.isabs(name) and '..' not in name.split('/')
  fields = isinstance(value, dict) and value.keys() == set(FileChecksum._fields)
  return inside and fields and all(map(json_files.is_size, value.values()))
