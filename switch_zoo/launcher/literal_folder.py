"""A model's folder whose name TensorFlow would read as a pattern ('run[1]'): it gets another name while it is used.

TensorFlow looks for checkpoints with patterns, in Python and in C++, and has no way to write a bracket in one.
"""

import contextlib
import os
import re
import tempfile
from collections.abc import Iterator

from switch_zoo.errors import UserError

_MARKS = '*?[\\'
_STATE = 'checkpoint'
_PATH = re.compile(r'(_paths?: ")(?:[^"]*/)?([^"/]+)(")')


@contextlib.contextmanager
def alias(model_dir: str) -> Iterator[str]:
  """Within, a path of a training's folder that is no pattern: a link to it if its own path is one.

  Args:
    model_dir: the folder; one that does not exist is returned as it is
  Raises:
    UserError: as raised within, with the folder's own path
  """
  with link(model_dir) as path:
    if path == model_dir:
      yield path
      return
    _make_state_relative(model_dir)
    try:
      yield path
    finally:
      _make_state_relative(model_dir)


@contextlib.contextmanager
def link(folder: str) -> Iterator[str]:
  """Within, a path of a folder that is no pattern; nothing in the folder changes.

  Args:
    folder: one that does not exist is returned as it is
  Raises:
    UserError: as raised within, with the folder's own path
  """
  if '://' in folder or not _is_pattern(folder) or not os.path.isdir(folder):
    yield folder
    return
  with tempfile.TemporaryDirectory(prefix='switch_zoo_') as temporary:
    path = os.path.join(temporary, 'model')
    os.symlink(os.path.abspath(folder), path, target_is_directory=True)
    try:
      yield path
    except UserError as error:
      raise UserError(str(error).replace(path, folder)) from error


def _is_pattern(path: str) -> bool:
  return any(mark in path for mark in _MARKS)


def _make_state_relative(model_dir: str) -> None:
  """Lets the file that names the checkpoints name them relative to itself: neither link nor pattern is in it."""
  path = os.path.join(model_dir, _STATE)
  if not os.path.isfile(path):
    return
  with open(path, encoding='utf-8', errors='surrogateescape') as file:
    text = file.read()
  is_here = lambda name: os.path.exists(os.path.join(model_dir, f'{name}.index'))
  relative = _PATH.sub(lambda match: f'{match[1]}{match[2]}{match[3]}' if is_here(match[2]) else match[0], text)
  if relative != text:
    with open(f'{path}.new', 'w', encoding='utf-8', errors='surrogateescape') as file:
      file.write(relative)
    os.replace(f'{path}.new', path)
