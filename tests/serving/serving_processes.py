"""Servers in separate processes, for the tests of serving."""

import contextlib
import pathlib
import subprocess
import tempfile

FAKE = str(pathlib.Path(__file__).with_name('fake_server.py'))


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


def rss(pid):
  """Resident bytes of a process."""
  with open(f'/proc/{pid}/smaps_rollup') as file:
    return next(int(line.split()[1]) * 1024 for line in file if line.startswith('Rss'))
