"""The demo's output folder: what it was begun with, and what has been done in it.

`demo.json` marks a folder as a demo's and records the settings it was begun with. A finished phase leaves
`results/<phase>.json` with what it measured; a demo is resumed from these files, and finished when all are there.
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

from switch_zoo.demo.budget import DemoBudget
from switch_zoo.errors import UserError

MARKER = 'demo.json'
LOCK = 'demo.lock'


class DemoFolder:
  """An open output folder; `open_folder` makes one."""

  def __init__(self, path: pathlib.Path) -> None:
    self.path = path
    self.vocabulary = path / 'vocabulary.model'
    self.pretrained = path / 'pretrained'
    self.finetuned = path / 'finetuned'
    self.from_random = path / 'finetuned_from_random'
    self.export = path / 'export'
    self.picture = path / 'expert_load.png'

  def is_done(self, phase: str) -> bool:
    """Whether a phase is finished."""
    return self._result_file(phase).exists()

  def result(self, phase: str) -> dict[str, Any]:
    """What a finished phase measured.

    Raises:
      FileNotFoundError: the phase is not finished
    """
    return json.loads(self._result_file(phase).read_text())

  def keep(self, phase: str, measured: dict[str, Any]) -> None:
    """Keeps what a phase measured, and marks it as finished."""
    write_json(self._result_file(phase), measured)

  def curve(self, phase: str) -> pathlib.Path:
    """The file to which a training phase writes a line for each step it reports."""
    return self.path / 'results' / f'{phase}.jsonl'

  def _result_file(self, phase: str) -> pathlib.Path:
    return self.path / 'results' / f'{phase}.json'


@contextmanager
def open_folder(path: pathlib.Path, seed: int, budget: DemoBudget) -> Iterator[DemoFolder]:
  """Opens a folder that is new, empty or holds a demo. No other demo can open it until it is closed.

  Raises:
    UserError: the folder holds something else or a demo with other settings, is in use, or cannot be written; nothing
      has been changed then
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
      raise UserError(f'A demo is running in {path}. Wait for it to finish, or use another --out.') from error
    if not (path / MARKER).exists():
      write_json(path / MARKER, settings(seed, budget))
    yield DemoFolder(path)


def settings(seed: int, budget: DemoBudget) -> dict[str, Any]:
  """The settings that must be the same for a demo to be resumed: others would mix the figures of two runs."""
  return {'seed': seed, 'python': platform.python_version(), 'budget': dataclasses.asdict(budget)}


def write_json(file: pathlib.Path, content: Any) -> None:
  """Writes a file completely or not at all, even if the process is killed."""
  partial = file.with_name(file.name + '.partial')
  partial.write_text(json.dumps(content, indent=2) + '\n')
  partial.replace(file)


def check(path: pathlib.Path, seed: int, budget: DemoBudget) -> None:
  """Rejects a folder in which a demo with this seed and budget can be neither started nor resumed. Changes nothing.

  Raises:
    UserError: why, and what to do
  """
  if path.exists() and not path.is_dir():
    raise UserError(f'--out {path} is a file. Give a folder; it is created if it does not exist.')
  nearest = next(parent for parent in (path.absolute(), *path.absolute().parents) if parent.exists())
  if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
    raise UserError(f'--out {path} cannot be written: {nearest} does not allow it. Choose a folder of your own.')
  if not path.exists():
    return
  entries = {entry.name for entry in path.iterdir()} - {LOCK, 'results'}
  if MARKER in entries:
    _check_settings(path, settings(seed, budget))
  elif entries:
    raise UserError(
      f'--out {path} is not empty and does not hold a demo (it contains {min(entries)}). Give a folder that is empty '
      'or does not exist yet.'
    )


def _check_settings(path: pathlib.Path, expected: dict[str, Any]) -> None:
  stored = json.loads((path / MARKER).read_text())
  for name, value in expected.items():
    if stored.get(name) != value:
      raise UserError(
        f'{path} holds a demo begun with {name} {stored.get(name)}, not {value}. Use another --out, or delete '
        f'{path} to start over.'
      )
