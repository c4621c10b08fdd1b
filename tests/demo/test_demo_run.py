"""The demo from end to end with a tiny budget: what it leaves, how it resumes, what it prints."""

import os
import signal
import subprocess
import sys
import time

import pytest

from switch_zoo.demo import phases, progress
from switch_zoo.demo.budget import DemoBudget, TrainingBudget
from switch_zoo.demo.folder import DemoFolder

TINY = DemoBudget(
  num_pieces=924,
  pretrain=TrainingBudget(steps=12, batch_size=4, inputs_length=32, targets_length=8, learning_rate=0.01, save_steps=4),
  finetune=TrainingBudget(steps=4, batch_size=2, inputs_length=64, targets_length=4, learning_rate=0.003, save_steps=2),
)
COMMAND = [sys.executable, '-c', 'from switch_zoo.cli import main; main()']
PROGRAM = f"""
import pathlib, sys
from switch_zoo import tf_compat; tf_compat.quiet()
from rich.console import Console
from switch_zoo.demo import session
from switch_zoo.demo.budget import DemoBudget, TrainingBudget
session.run(pathlib.Path(sys.argv[1]), 0, {TINY!r}, Console(highlight=False, width=200))
"""


def start(out):
  """The tiny demo in a separate process."""
  command = [sys.executable, '-u', '-c', PROGRAM, str(out)]
  return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def finish(process):
  text = process.communicate(timeout=600)[0]
  assert process.returncode == 0, text
  return text


def wait_for(condition, process):
  deadline = time.monotonic() + 200
  while not condition():
    if process.poll() is not None or time.monotonic() > deadline:
      process.kill()
      pytest.fail(process.communicate()[0])
    time.sleep(0.05)


@pytest.fixture(scope='module')
def finished(tmp_path_factory):
  """A demo that was killed while it pre-trained, started again and finished: its folder and the second run's text."""
  out = tmp_path_factory.mktemp('demo') / 'out'
  process = start(out)
  wait_for((out / 'pretrained' / 'model.ckpt-4.index').exists, process)
  process.send_signal(signal.SIGKILL)
  process.wait()
  return DemoFolder(out), finish(start(out))


@pytest.mark.slow
def test_killed_and_started_again_it_resumes(finished):
  folder, text = finished
  assert 'holds a demo that was interrupted; it resumes at: Pre-training by span corruption.' in text
  assert 'resuming after step' in text and 'Vocabulary' not in text.split('resumes at')[1].split('Everything')[0]
  steps = [row['step'] for row in progress.read_curve(folder.curve('pretrain'))]
  assert steps == sorted(set(steps)) and steps[-1] == 12


@pytest.mark.slow
def test_figures_shown_are_those_measured(finished):
  folder, text = finished
  evaluation = folder.result('evaluate')
  for name in ('majority', 'from_random', 'pretrained'):
    assert f'{evaluation[name]:.1f}%' in text
  answer = folder.result('ask')
  assert answer['section'] in text and answer['foreign'] == []


@pytest.mark.slow
def test_everything_is_there(finished):
  folder, _ = finished
  assert all(folder.is_done(phase.name) for phase in phases.PHASES)
  assert folder.picture.read_bytes().startswith(b'\x89PNG')
  assert folder.vocabulary.is_file()
  loads = folder.result('expert_load')['fine-tuning']
  assert [layer.split('/')[0] for layer in loads] == ['encoder', 'decoder']
  assert all(abs(sum(load) - 1) < 1e-5 and len(load) == 8 for load in loads.values())


@pytest.mark.slow
def test_saved_model_answers_any_number_of_texts_in_a_fresh_process(finished):
  folder, _ = finished
  model = folder.export / folder.result('export')['folder']
  answer = phases.ask_saved_model(model, ['section: One.', 'section: Two of them.', 'section: Three.'])
  assert len(answer['answers']) == 3 and answer['foreign'] == []


@pytest.mark.slow
def test_a_finished_folder_says_so_and_keeps_everything(finished):
  folder, _ = finished
  before = {path: path.stat().st_mtime_ns for path in folder.path.rglob('*') if path.name != 'demo.lock'}
  text = finish(start(folder.path))
  assert 'holds a finished demo, so nothing is done again. For another demo use --out, or delete' in text
  assert 'Measured by an earlier run' in text and 'This run took' not in text
  assert before == {path: path.stat().st_mtime_ns for path in folder.path.rglob('*') if path.name != 'demo.lock'}


@pytest.mark.slow
def test_ctrl_c_is_one_line_and_130(tmp_path):
  command = [*COMMAND, 'demo', '--out', str(tmp_path / 'out')]
  process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
  wait_for((tmp_path / 'out' / 'results' / 'vocabulary.json').exists, process)
  process.send_signal(signal.SIGINT)
  try:
    out, errors = process.communicate(timeout=100)
  finally:
    process.kill()
  assert process.returncode == 130
  assert 'Traceback' not in out + errors
  assert out.splitlines()[-1].startswith('Interrupted. The same command resumes from the last checkpoint in')


def test_the_command_refuses_a_foreign_folder(tmp_path):
  (tmp_path / 'thesis.tex').write_text('')
  command = [*COMMAND, 'demo', '--out', str(tmp_path)]
  done = subprocess.run(command, capture_output=True, text=True, check=False)
  assert done.returncode == 2
  assert 'is not empty and does not hold a demo' in done.stderr and 'Traceback' not in done.stderr
  assert os.listdir(tmp_path) == ['thesis.tex']


@pytest.mark.slow
def test_a_model_that_does_not_answer(tmp_path):
  with pytest.raises(RuntimeError, match='did not answer: '):
    phases.ask_saved_model(tmp_path, ['text'])
