"""The short form of `kills`: one kill each of a training and of two conversions."""

import pathlib
import subprocess
import sys

import pytest


@pytest.mark.slow
def test_a_killed_command_is_repeated_and_ends_as_if_it_had_not_been():
  program = pathlib.Path(__file__).with_name('kills.py')
  command = [sys.executable, str(program), '--kills', '3', '--seed', '1', '--only', 'train', 'convert', 'keras']
  done = subprocess.run(command, capture_output=True, text=True)
  assert done.returncode == 0 and '0 wrong' in done.stdout, done.stdout + done.stderr
