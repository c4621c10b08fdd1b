"""One training at a time in a folder: two would overwrite each other's checkpoints and delete each other's files.

The lock belongs to the open file, so the kernel releases it when the process ends, however it ends.
"""

import contextlib
import fcntl
import os
import socket
import sys
import time
from collections.abc import Iterator

from switch_zoo.errors import UserError
from switch_zoo.launcher import latest

FILE = 'training.lock'
# The kernel releases the lock of a killed process only after it has freed its memory.
_PATIENCE = 3.0  # seconds
_PAUSE = 0.1


@contextlib.contextmanager
def held(model_dir: str) -> Iterator[None]:
  """Within, no other process can train in a folder, which is created if it does not exist.

  Raises:
    UserError: a training is running in it
  """
  if latest.is_remote(model_dir):
    yield
    return
  path = os.path.join(model_dir, FILE)
  try:
    os.makedirs(model_dir, exist_ok=True)
    descriptor = _locked(path, model_dir)
  except OSError as error:
    raise UserError(f'{path} cannot be written: {error.strerror}. Choose a --model_dir of your own.') from error
  try:
    # Only for the message of another process: a full disk is reported elsewhere.
    with contextlib.suppress(OSError):
      os.truncate(descriptor, 0)
      os.write(descriptor, f'{os.getpid()} {socket.gethostname()}\n'.encode())
    yield
  finally:
    # Before the lock is released, so that no other process has locked the file that is removed.
    with contextlib.suppress(OSError):
      os.remove(path)
    os.close(descriptor)


def check(model_dir: str) -> None:
  """Checks that no training is running in a folder. Writes nothing.

  Raises:
    UserError: one is
  """
  path = os.path.join(model_dir, FILE)
  if latest.is_remote(model_dir) or not os.path.isfile(path):
    return
  with contextlib.suppress(OSError), open(path, 'rb') as file:
    _lock(file.fileno(), fcntl.LOCK_SH, model_dir)


def _locked(path: str, model_dir: str) -> int:
  """A descriptor of the lock file that holds its lock."""
  while True:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
      _lock(descriptor, fcntl.LOCK_EX, model_dir)
      # A training that has just ended has removed the file that it had locked.
      if os.path.exists(path) and os.path.samestat(os.stat(path), os.fstat(descriptor)):
        return descriptor
    except BaseException:
      os.close(descriptor)
      raise
    os.close(descriptor)


def _lock(descriptor: int, kind: int, model_dir: str) -> None:
  deadline = time.monotonic() + _PATIENCE
  while True:
    try:
      return fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError as error:
      if time.monotonic() > deadline:
        raise UserError(_refusal(descriptor, model_dir)) from error
    except OSError as error:
      print(
        f'The file system of {model_dir} has no locks ({error.strerror}): do not start a second training in it.',
        file=sys.stderr,
        flush=True,
      )
      return None
    time.sleep(_PAUSE)


def _refusal(descriptor: int, model_dir: str) -> str:
  pid, _, host = os.pread(descriptor, 300, 0).decode(errors='replace').strip().partition(' ')
  process = f'process {pid} on {host}' if pid and host else 'another process'
  return (
    f"{model_dir} is in use: {process} is training in it, and two trainings would overwrite each other's "
    'checkpoints. Wait until it ends, end it, or choose another --model_dir.'
  )
