"""The demo's output folder: whose it is, and what has been done in it.

`demo.json` marks a folder as a demo's and says with what it was begun. A phase that is done leaves
`results/<phase>.json` with what it measured; a folder is resumed from these, and finished when all are there.
"""

import dataclasses
import fcntl
import json
import os
import pathlib
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from switch_zoo.demo.budget import Budget
from switch_zoo.errors import UserError

MARKER = 'demo.json'
LOCK = 'demo.lock'


class Folder:
  """An open output folder; make one with `open_folder`."""

  def __init__(self, path: pathlib.Path):
    self.path = path
    self.vocabulary = path / 'vocabulary.model'
    self.pretrained = path / 'pretrained'
    self.finetuned = path / 'finetuned'
    self.from_random = path / 'finetuned_from_random'
    self.export = path / 'export'
    self.picture = path / 'expert_load.png'

  def result(self, phase: str) -> dict[str, Any] | None:
    """What a phase measured when it was done; None while it is not."""
    file = self._result_file(phase)
    return json.loads(file.read_text()) if file.exists() else None

  def keep(self, phase: str, measured: dict[str, Any]) -> None:
    """Marks a phase as done."""
    write_json(self._result_file(phase), measured)

  def curve(self, phase: str) -> pathlib.Path:
    """Where a training phase writes a line for each step it reports."""
    return self.path / 'results' / f'{phase}.jsonl'

  def _result_file(self, phase):
    return self.path / 'results' / f'{phase}.json'


@contextmanager
def open_folder(path: pathlib.Path, seed: int, budget: Budget) -> Iterator[Folder]:
  """Opens a new, empty or begun folder; until it is closed no other demo can.

  Raises:
    UserError: the folder holds something else or a demo begun otherwise, is in use, or cannot be written; then
      nothing was changed
  """
  check(path, seed, budget)
  try:
    (path / 'results').mkdir(parents=True, exist_ok=True)
    lock = open(path / LOCK, 'w', encoding='utf-8')  # noqa: SIM115 - closed below, with the folder
  except OSError as error:
    raise UserError(f'--out {path} cannot be written: {error.strerror}. Choose a folder of your own.') from error
  with lock:
    try:
      fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
      raise UserError(f'A demo is running in {path}. Wait for it, or use another --out.') from error
    if not (path / MARKER).exists():
      write_json(path / MARKER, settings(seed, budget))
    yield Folder(path)


def settings(seed: int, budget: Budget) -> dict[str, Any]:
  """What a folder must have been begun with to go on in it: other settings would mix figures of two runs."""
  return {'seed': seed, 'python': platform.python_version(), 'budget': dataclasses.asdict(budget)}


def write_json(file: pathlib.Path, content: Any) -> None:
  """Writes a file whole or not at all, also when the process is killed."""
  partial = file.with_name(file.name + '.partial')
  partial.write_text(json.dumps(content, indent=2) + '\n')
  partial.replace(file)


def check(path: pathlib.Path, seed: int, budget: Budget) -> None:
  """Refuses a folder no demo with this seed and budget can be made or go on in; changes nothing.

  Raises:
    UserError: what is in the way, and what to do
  """
  if path.exists() and not path.is_dir():
    raise UserError(f'--out {path} is a file. Give a folder; it is made if it does not exist.')
  nearest = next(parent for parent in (path.absolute(), *path.absolute().parents) if parent.exists())
  if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
    raise UserError(f'--out {path} cannot be written: {nearest} does not allow it. Choose a folder of your own.')
  if not path.exists():
    return
  found = {entry.name for entry in path.iterdir()} - {LOCK, 'results'}
  if MARKER in found:
    _same_settings(path, settings(seed, budget))
  elif found:
    raise UserError(
      f'--out {path} is not empty and holds no demo (there is {sorted(found)[0]}). Give a folder that is empty or '
      'does not exist yet.'
    )


def _same_settings(path, begun_with):
  stored = json.loads((path / MARKER).read_text())
  different = [name for name, value in begun_with.items() if stored.get(name) != value]
  if different:
    name = different[0]
    raise UserError(
      f'{path} holds a demo begun with {name} {stored.get(name)}, not {begun_with[name]}. Use another --out, or '
      f'delete {path} to start anew.'
    )
