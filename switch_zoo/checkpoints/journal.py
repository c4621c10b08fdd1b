"""The record of a conversion in progress: what was requested, and which parts are on the disk."""

import json
import os
from collections.abc import Iterable, Mapping
from typing import Any

from switch_zoo.checkpoints.weights import WeightPart
from switch_zoo.errors import UserError

FILE = 'conversion.journal'
# Its name until its first line is on the disk.
NEW = f'{FILE}.new'
# Suffix of the folder until it is complete.
PARTIAL = '.partial'


def unfinished(folder: str) -> bool:
  """Whether a folder is that of a conversion in progress: it has a record, and not yet its final name."""
  return os.path.abspath(folder).endswith(PARTIAL) and os.path.isfile(os.path.join(folder, FILE))


def is_begun(folder: str) -> bool:
  """Whether a folder has the record of a request, so that its conversion can be resumed."""
  path = os.path.join(folder, FILE)
  if not os.path.isfile(path):
    return False
  with open(path, encoding='utf-8', errors='replace') as file:
    return isinstance(_parse(file.readline()), dict)


def is_abandoned(folder: str) -> bool:
  """Whether a folder is what a conversion that was killed before its record was written left: nothing else is in it."""
  return os.path.isdir(folder) and not is_begun(folder) and set(os.listdir(folder)) <= {FILE, NEW}


class Journal:
  """One line for the request, then one for each part: variable, expert, checksum.

  A part is recorded after its file was synced, so the record is true after a loss of power too.
  """

  def __init__(self, folder: str, request: Mapping[str, Any]):
    self.path = os.path.join(folder, FILE)
    self._request = json.loads(json.dumps(request))
    self.checksums: dict[WeightPart, int] = {}
    self._unsynced: list[tuple[WeightPart, int]] = []
    self._unsynced_paths: set[str] = set()

  def begin(self) -> None:
    """Starts a new record."""
    new = os.path.join(os.path.dirname(self.path), NEW)
    with open(new, 'w', encoding='utf-8') as file:
      file.write(json.dumps(self._request) + '\n')
      file.flush()
      os.fsync(file.fileno())
    os.replace(new, self.path)

  def resume(self) -> None:
    """Reads the record of an interrupted conversion.

    Raises:
      UserError: it was of another request, or of another state of the source
    """
    with open(self.path, encoding='utf-8') as file:
      first, *lines = file.read().split('\n')
    self._check_request(_parse(first))
    for line in lines:
      entry = _parse(line)
      # The last line may be cut off.
      if isinstance(entry, list) and len(entry) == 3:
        variable, expert, checksum = entry
        self.checksums[WeightPart(variable, expert)] = checksum

  def note(self, part: WeightPart, checksum: int, paths: Iterable[str]) -> None:
    """Takes a part that was written; `sync` records it."""
    self._unsynced.append((part, checksum))
    self._unsynced_paths.update(paths)

  def sync(self) -> None:
    """Syncs the files of the parts noted, then the record."""
    for path in self._unsynced_paths:
      _sync(path)
    with open(self.path, 'a', encoding='utf-8') as file:
      file.writelines(json.dumps([part.variable, part.expert, checksum]) + '\n' for part, checksum in self._unsynced)
      file.flush()
      os.fsync(file.fileno())
    self.checksums.update(self._unsynced)
    self._unsynced, self._unsynced_paths = [], set()

  def _check_request(self, recorded: Any) -> None:
    if recorded == self._request:
      return
    known = recorded if isinstance(recorded, dict) else {}
    fields = [key for key in self._request if key not in known or known[key] != self._request[key]]
    raise UserError(
      f'{os.path.dirname(self.path)} is of another conversion: {", ".join(fields)} differ. Give the same source and '
      'options, or delete that folder and start again.'
    )


def _parse(line: str) -> Any:
  """The JSON on a line; None if it is cut off."""
  try:
    return json.loads(line)
  except ValueError:
    return None


def _sync(path: str) -> None:
  descriptor = os.open(path, os.O_RDONLY)
  try:
    os.fsync(descriptor)
  finally:
    os.close(descriptor)
