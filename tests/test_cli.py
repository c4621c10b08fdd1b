"""The `switch_zoo` command, in fresh processes, because what it imports is part of the contract."""

import os
import subprocess
import sys

import pytest

HEAVY = ('tensorflow', 'mesh_tensorflow', 't5', 'seqio', 'torch', 'matplotlib', 'numpy')


def switch_zoo(*arguments, **environment):
  """Runs the command; its stdout ends with a list of the heavy modules it imported."""
  code = f"""
import sys
from switch_zoo import cli
sys.argv = ['switch_zoo', *{list(arguments)!r}]
code = cli.run()
print('imported:', [name for name in {HEAVY!r} if name in sys.modules])
sys.exit(code)
"""
  env = {**os.environ, 'COLUMNS': '100', **environment}
  return subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, env=env)


@pytest.mark.parametrize('arguments', [['--help'], ['models'], ['models', '--json'], ['describe', 'tiny_switch_8']])
def test_it_answers_without_importing_anything_heavy(arguments):
  done = switch_zoo(*arguments)
  assert done.returncode == 0, done.stderr
  assert done.stdout.endswith('imported: []\n') and len(done.stdout) > 200


def test_help_names_the_commands():
  text = switch_zoo('--help').stdout
  assert all(command in text for command in ('models', 'describe', 'demo'))


@pytest.mark.parametrize(
  ('arguments', 'words'),
  [
    (['modles'], "No such command 'modles'"),
    (['models', '--jsno'], 'No such option: --jsno'),
    (['describe', 'tiny_swich_8'], 'Did you mean tiny_switch_8?'),
  ],
  ids=['command', 'option', 'model'],
)
def test_a_mistake_is_one_paragraph_and_exit_code_2(arguments, words):
  done = switch_zoo(*arguments)
  assert done.returncode == 2
  assert words in done.stderr and 'Traceback' not in done.stderr and done.stderr.count('\n') == 1


def test_debug_shows_the_traceback():
  assert 'Traceback' in switch_zoo('--debug', 'describe', 'tiny_swich_8').stderr
