"""What the README says about files and Python. CI runs its commands; test_config.py checks its table of models."""

import os
import pathlib
import re
import subprocess
import sys

import pytest
import seqio
import tensorflow_datasets as tfds

from switch_zoo.launcher import flags, preflight, run
from switch_zoo.spec import gin_files

CHECKOUT = pathlib.Path(__file__).resolve().parent.parent
README = (CHECKOUT / 'README.md').read_text()


def test_its_python_runs(tmp_path):
  blocks = re.findall(r'```python\n(.*?)```', README, re.DOTALL)
  assert blocks
  environment = {**os.environ, 'PYTHONPATH': str(CHECKOUT)}
  done = subprocess.run(
    [sys.executable, '-c', '\n'.join(blocks)],
    cwd=tmp_path,
    env=environment,
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.returncode == 0, done.stderr


def test_its_table_of_runs_is_complete():
  names = {name for name in gin_files.available([gin_files.configs_folder()]) if name.startswith('runs/')}
  assert set(re.findall(r'^\| `(runs/\w+\.gin)` \|', README, re.MULTILINE)) == names


def test_the_commands_ci_runs_are_there():
  assert '<!-- run by CI -->\n```bash\n' in README


@pytest.fixture
def calls_on_your_own_data(tmp_path, monkeypatch):
  """Runs the block with a stand-in for the command that only records its arguments, one per line."""
  (block,) = re.findall(r'<!-- your own data -->\n```bash\n(.*?)```', README, re.DOTALL)
  noted = 't5_mesh_transformer() { printf "%s\\n" "$@" --end >> calls; }\n'
  subprocess.run(['bash', '-euo', 'pipefail', '-c', noted + block], cwd=tmp_path, check=True)
  monkeypatch.chdir(tmp_path)
  calls = (tmp_path / 'calls').read_text().split('--end\n')[:-1]
  return [call.splitlines() for call in calls]


def test_the_data_of_its_example_is_read_as_written(calls_on_your_own_data, monkeypatch):
  monkeypatch.setenv('SWITCH_ZOO_VOCAB', 'bytes')
  train, evaluate = (flags.parse(['t5_mesh_transformer', *call]) for call in calls_on_your_own_data)
  for values, split in ((train, 'train'), (evaluate, 'validation')):
    run.configure(gin_files.read(values.gin_file, values.gin_param))
    preflight.data_can_be_read('zoo_file', split)
    task = seqio.get_mixture_or_task('zoo_file')
    rows = tfds.as_numpy(task.get_dataset({'inputs': 64, 'targets': 16}, split, shuffle=False))
    texts = [(row['inputs_pretokenized'].decode(), row['targets_pretokenized'].decode()) for row in rows]
    assert texts == [('animal: what does the cat say', 'meow'), ('animal: what does the dog say', 'woof')]
    assert len(task.metric_fns) == 2
