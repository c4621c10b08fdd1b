"""Tests of the server: without TensorFlow's graphs, most without TensorFlow."""

import contextlib
import json
import subprocess
import sys
import tempfile

import pytest

FAKE = f'{__file__.rpartition("/")[0]}/fake_server.py'


@pytest.fixture(autouse=True)
def fresh_state():
  """There is no TensorFlow graph to reset."""
  yield


class Process:
  """A server in a separate process. `url`: its first line; `end`: sends signals and waits."""

  def __init__(self, command):
    self.errors = tempfile.TemporaryFile('w+')  # noqa: SIM115 - closed below; a pipe could fill up
    self.popen = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self.errors, text=True)
    self.first_line = self.popen.stdout.readline().strip()
    self.url = self.first_line

  def end(self, *signals):
    """Sends the signals, and waits: exit code, stdout, stderr."""
    for number in signals:
      self.popen.send_signal(number)
    out, _ = self.popen.communicate(timeout=30)
    self.errors.seek(0)
    return self.popen.returncode, out, self.errors.read()


def rss(pid):
  """Resident bytes of a process."""
  with open(f'/proc/{pid}/smaps_rollup') as file:
    return next(int(line.split()[1]) * 1024 for line in file if line.startswith('Rss'))


@contextlib.contextmanager
def running(command):
  """A Process that does not outlive the test."""
  process = Process(command)
  try:
    yield process
  finally:
    process.popen.kill()
    process.popen.communicate()
    process.errors.close()


@pytest.fixture
def serving():
  """Starts the fake server with some limits."""
  return lambda **limits: running([sys.executable, FAKE, json.dumps(limits)])
