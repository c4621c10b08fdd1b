"""The record of a conversion under way: what was asked for, and which parts are on the disk."""

import json
import os
from collections.abc import Iterable, Mapping
from typing import Any

from switch_zoo.checkpoints.destinations import Part
from switch_zoo.errors import UserError

FILE = 'conversion.journal'
# What the folder is called until it is complete.
PARTIAL = '.partial'


def unfinished(folder: str) -> bool:
  """Whether a folder is that of a conversion under way: it has a record, and not yet its final name."""
  return os.path.abspath(folder).endswith(PARTIAL) and os.path.isfile(os.path.join(folder, FILE))


class Journal:
  """One line for the request, then one for each part: variable, expert, checksum.

  A part is noted after its file was synced, so what is noted survives a loss of power too.
  """

  def __init__(self, folder: str, request: Mapping[str, Any]):
    self.path = os.path.join(folder, FILE)
    self._request = json.loads(json.dumps(request))
    self.checksums: dict[Part, int] = {}
    self._fresh: list[tuple[Part, int]] = []
    self._dirty: set[str] = set()

  def begin(self) -> None:
    """Starts a new record."""
    with open(self.path, 'w', encoding='utf-8') as file:
      file.write(json.dumps(self._request) + '\n')

  def resume(self) -> None:
    """Reads the record of an interrupted conversion.

    Raises:
      UserError: it was of another request, or of another state of the source
    """
    with open(self.path, encoding='utf-8') as file:
      first, *lines = file.read().split('\n')
    found = _parse(first)
    if found != self._request:
      fields = [key for key in self._request if not isinstance(found, dict) or found.get(key) != self._request[key]]
      raise UserError(
        f'{os.path.dirname(self.path)} is of another conversion: {", ".join(fields)} differ. Give the same source '
        'and options, or delete that folder and start anew.'
      )
    for line in lines:
      entry = _parse(line)
      # The last line may be cut off.
      if isinstance(entry, list) and len(entry) == 3:
        self.checksums[Part(entry[0], entry[1])] = entry[2]

  def note(self, part: Part, checksum: int, paths: Iterable[str]) -> None:
    """Takes a part that was written; `sync` puts it on the record."""
    self._fresh.append((part, checksum))
    self._dirty.update(paths)

  def sync(self) -> None:
    """Syncs the files of the parts noted, then the record."""
    for path in self._dirty:
      _sync(path)
    with open(self.path, 'a', encoding='utf-8') as file:
      file.writelines(json.dumps([part.variable, part.expert, checksum]) + '\n' for part, checksum in self._fresh)
      file.flush()
      os.fsync(file.fileno())
    self.checksums.update(self._fresh)
    self._fresh, self._dirty = [], set()


def _parse(line):
  try:
    return json.loads(line)
  except ValueError:
    return None


def _sync(path):
  descriptor = os.open(path, os.O_RDONLY)
  try:
    os.fsync(descriptor)
  finally:
    os.close(descriptor)
