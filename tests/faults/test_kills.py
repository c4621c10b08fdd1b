"""The short form of `kills`: a training and a conversion are killed once each."""

import pathlib
import subprocess
import sys

import pytest


@pytest.mark.slow
def test_a_killed_command_is_repeated_and_ends_as_if_it_had_not_been():
  program = pathlib.Path(__file__).with_name('kills.py')
  command = [sys.executable, str(program), '--kills', '2', '--seed', '1', '--only', 'train', 'to_hf']
  done = subprocess.run(command, capture_output=True, text=True)
  assert done.returncode == 0 and '0 wrong' in done.stdout, done.stdout + done.stderr
