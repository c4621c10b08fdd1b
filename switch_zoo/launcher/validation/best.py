"""MODEL_DIR/best: the best checkpoint so far, a folder like any other that a training wrote.

Its files are links to those of the training where the disk allows it, so the best checkpoint outlives the last
KEEP_CHECKPOINTS without being written twice. `best.json` has the step, the score and all metrics.
"""

import contextlib
import glob
import json
import os
import shutil
from collections.abc import Mapping
from typing import Any

from switch_zoo.checkpoints import mesh_folder

FOLDER = 'best'
FILE = 'best.json'
_CONFIGURATION = 'operative_config.gin'


def keep(model_dir: str, prefix: str, record: Mapping[str, Any]) -> str:
  """Makes a checkpoint the best one; a kill leaves the one before or this one.

  Args:
    model_dir: the folder of the training
    prefix: of the checkpoint
    record: what `best.json` says besides the checkpoint's name
  Returns:
    the folder
  """
  folder = os.path.join(model_dir, FOLDER)
  partial, old = f'{folder}.partial', f'{folder}.old'
  _remove(partial)
  os.mkdir(partial)
  for path in [*glob.glob(f'{glob.escape(prefix)}.*'), os.path.join(model_dir, _CONFIGURATION)]:
    if os.path.exists(path):
      _link(path, os.path.join(partial, os.path.basename(path)))
  mesh_folder.write_state(partial, os.path.join(partial, os.path.basename(prefix)))
  with open(os.path.join(partial, FILE), 'w', encoding='utf-8') as file:
    file.write(json.dumps({'checkpoint': os.path.basename(prefix), **record}, indent=2) + '\n')
  if os.path.isdir(folder):
    _remove(old)
    os.rename(folder, old)
  os.rename(partial, folder)
  _remove(old)
  return folder


def read(model_dir: str) -> dict[str, Any] | None:
  """What `best.json` says; None if there is no best checkpoint yet. Completes what a kill interrupted."""
  folder = os.path.join(model_dir, FOLDER)
  if not os.path.isdir(folder) and os.path.isdir(f'{folder}.old'):
    # Of several processes of a training, one does it.
    with contextlib.suppress(FileNotFoundError):
      os.rename(f'{folder}.old', folder)
  try:
    with open(os.path.join(folder, FILE), encoding='utf-8') as file:
      record = json.load(file)
  except (FileNotFoundError, ValueError):
    return None
  return record if isinstance(record, dict) else None


def remove_leftovers(model_dir: str) -> None:
  """Removes what a kill left of folders that were being made or replaced."""
  read(model_dir)
  for suffix in ('.partial', '.old'):
    _remove(os.path.join(model_dir, f'{FOLDER}{suffix}'))


def _remove(folder: str) -> None:
  if os.path.isdir(folder):
    shutil.rmtree(folder)


def _link(source: str, target: str) -> None:
  """A second name of a file, or a copy: where the disk has no such links, and of a file that is written over later."""
  if os.path.basename(source) != _CONFIGURATION:
    try:
      os.link(source, target)
      return
    except OSError:
      pass
  shutil.copyfile(source, target)
