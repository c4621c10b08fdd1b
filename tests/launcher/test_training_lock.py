"""One training at a time in a folder: who may begin, and what a kill leaves."""

import errno
import fcntl
import os
import signal
import subprocess
import sys

import pytest

from switch_zoo.errors import UserError
from switch_zoo.launcher import training_lock

HOLDER = """
import sys, time
from switch_zoo.launcher import training_lock
with training_lock.held(sys.argv[1]):
  print('held', flush=True)
  time.sleep(600)
"""


@pytest.fixture(autouse=True)
def no_patience(monkeypatch):
  monkeypatch.setattr(training_lock, '_PATIENCE', 0)


@pytest.fixture
def other(tmp_path):
  """Another process that trains in the folder `model`."""
  command = [sys.executable, '-c', HOLDER, str(tmp_path / 'model')]
  with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
    assert process.stdout and 'held' in process.stdout.readline()
    yield process
    process.kill()


def test_the_folder_is_created_and_left_without_the_file(tmp_path):
  with training_lock.held(str(tmp_path / 'a' / 'b')):
    assert os.listdir(tmp_path / 'a' / 'b') == [training_lock.FILE]
  assert os.listdir(tmp_path / 'a' / 'b') == []


def test_a_second_process_is_refused_until_the_first_is_killed(tmp_path, other, monkeypatch):
  model_dir = str(tmp_path / 'model')
  message = rf'model is in use: process {other.pid} on \S+ is training in it.*choose another --model_dir'
  with pytest.raises(UserError, match=message):
    training_lock.check(model_dir)
  with pytest.raises(UserError, match=message), training_lock.held(model_dir):
    pass
  other.send_signal(signal.SIGKILL)
  # While the kernel frees its memory, the process still has the lock.
  monkeypatch.setattr(training_lock, '_PATIENCE', 60)
  with training_lock.held(model_dir):
    (pid, _) = (tmp_path / 'model' / training_lock.FILE).read_text().split()
    assert int(pid) == os.getpid()


def test_a_check_writes_nothing(tmp_path):
  training_lock.check(str(tmp_path / 'model'))
  training_lock.check(str(tmp_path))
  assert os.listdir(tmp_path) == []


def test_the_same_process_cannot_train_twice_either(tmp_path):
  with training_lock.held(str(tmp_path)), pytest.raises(UserError, match=f'process {os.getpid()} '):
    training_lock.check(str(tmp_path))


def test_a_file_that_was_removed_under_the_lock_does_not_count(tmp_path, monkeypatch):
  """Another training ends between the opening of its file and its locking."""
  flock, calls = fcntl.flock, []

  def ends_just_now(descriptor, kind):
    if not calls:
      os.remove(tmp_path / training_lock.FILE)
    calls.append(kind)
    flock(descriptor, kind)

  monkeypatch.setattr(fcntl, 'flock', ends_just_now)
  with training_lock.held(str(tmp_path)):
    assert (tmp_path / training_lock.FILE).exists() and len(calls) == 2


def test_a_file_system_without_locks_is_named_and_used(tmp_path, monkeypatch, capsys):
  def no_locks(descriptor, kind):
    raise OSError(errno.ENOLCK, 'No locks available')

  monkeypatch.setattr(fcntl, 'flock', no_locks)
  with training_lock.held(str(tmp_path)):
    pass
  assert capsys.readouterr().err == (
    f'The file system of {tmp_path} has no locks (No locks available): do not start a second training in it.\n'
  )


def test_a_folder_that_cannot_be_made(tmp_path):
  (tmp_path / 'file').write_text('')
  with pytest.raises(UserError, match='cannot be written'), training_lock.held(str(tmp_path / 'file' / 'model')):
    pass


def test_a_bucket_has_no_lock():
  with training_lock.held('gs://bucket/model'):
    training_lock.check('gs://bucket/model')
