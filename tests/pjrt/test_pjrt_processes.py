"""Several processes that train one model, each with its own devices: the same as one process, and what ends them."""

import json
import os
import shutil
import signal
import time

import numpy as np
import pjrt_harness as harness
import pytest
import tensorflow.compat.v1 as tf

MESH = 'batch:2'
PERPLEXITY = {'MIXTURE_NAME': 'zoo_demo_topics', 'TARGETS_LENGTH': 4, 'NUM_BATCHES': 2}
# Answers of so small a model are all wrong: the second validation is not better.
TUNING = {
  'MIXTURE_NAME': 'zoo_demo_topics', 'TRAIN_STEPS': 3, 'INIT_CHECKPOINT': 'two', 'SAVE_STEPS': 2, 'progress.every': 1,
  'SEED': 1, 'TARGETS_LENGTH': 4, 'EVAL_STEPS': 1, 'EVAL_EXAMPLES': 6, 'PATIENCE': 1, 'launcher.Saving.at_start': True,
  **harness.NOISE,
}  # fmt: skip


@pytest.fixture(scope='module')
def runs(tmp_path_factory):
  """(name -> (exit code, output), folder) of trainings by two processes and by one, and of what follows them."""
  folder = tmp_path_factory.mktemp('processes')
  train = lambda name, steps, mesh=MESH: harness.pretrain(name, steps, harness.NOISE, mesh)
  two = harness.together(lambda _: train('two', 4), folder)
  shutil.copytree(folder / 'two', folder / 'two_then_tf')
  shutil.copytree(folder / 'two', folder / 'two_then_one')
  measure = harness.command('two', 'perplexity', PERPLEXITY, MESH)
  measured = harness.together(lambda _: measure, folder)
  tune = lambda name: harness.command(name, 'finetune', TUNING, MESH)
  tuned = harness.together(lambda _: tune('tuned'), folder)
  one_process = {
    'measured by one': measure,
    'one': train('one', 4),
    'two, then one': train('two_then_one', 6),
    'two, then tensorflow': harness.pretrain('two_then_tf', 6, harness.NOISE),
    'tuned by one': tune('tuned_by_one'),
  }
  results = harness.run_all(one_process, folder)
  first = {'two': two[0], 'measured by two': measured[0], 'tuned by two': tuned[0]}
  return {**first, 'two, second': two[1], 'tuned by two, second': tuned[1], **results}, folder


@pytest.mark.slow
class TestTwoProcesses:
  def test_losses_are_those_of_one_process(self, runs):
    two, one = (harness.losses(harness.succeeded(runs[0][name])) for name in ('two', 'one'))
    assert list(two) == [1, 2, 3, 4]
    np.testing.assert_allclose([*two.values()], [*one.values()], rtol=1e-4, atol=1e-4)
    # Only the first process reports.
    assert harness.losses(harness.succeeded(runs[0]['two, second'])) == {}

  def test_they_validate_as_one_process_does(self, runs):
    """The first of them writes and reports; both end early, where the second validation is not better."""
    folders = [runs[1] / name for name in ('tuned', 'tuned_by_one')]
    two, one = ([json.loads(line) for line in (folder / 'metrics.jsonl').open()] for folder in folders)
    two, one = ([line for line in lines if 'validation' in line] for lines in (two, one))
    assert [line['step'] for line in two] == [line['step'] for line in one] == [1, 2]
    assert [line['validation'] for line in two] == [line['validation'] for line in one]
    for folder in folders:
      assert json.loads((folder / 'best' / 'best.json').read_text())['step'] == 1
      assert (folder / 'best' / 'model.ckpt-1.index').exists()
    output = harness.succeeded(runs[0]['tuned by two'])
    assert list(harness.losses(output)) == [1, 2] and 'Stopping: the last 1 validations were not better' in output
    assert 'alidat' not in harness.succeeded(runs[0]['tuned by two, second'])

  def test_their_answers_are_those_of_one_process(self, runs):
    for step in (1, 2):
      path = f'validation_eval/zoo_demo_topics_{step}_predictions'
      two, one = ((runs[1] / folder / path).read_text() for folder in ('tuned', 'tuned_by_one'))
      assert len(two.splitlines()) == 6 and two == one

  def test_the_checkpoint_is_one_of_both(self, runs):
    """A data file of each process, and the weights of one process."""
    files = {path.name for path in (runs[1] / 'two').glob('model.ckpt-4.*')}
    assert files == {'model.ckpt-4.index', *(f'model.ckpt-4.data-0000{number}-of-00002' for number in range(2))}
    two, one = (tf.train.load_checkpoint(str(runs[1] / name / 'model.ckpt-4')) for name in ('two', 'one'))
    assert two.get_variable_to_shape_map() == one.get_variable_to_shape_map()
    for name in one.get_variable_to_shape_map():
      np.testing.assert_allclose(two.get_tensor(name), one.get_tensor(name), rtol=1e-3, atol=1e-5)

  def test_one_process_and_tensorflow_continue(self, runs):
    for name in ('two, then one', 'two, then tensorflow'):
      output = harness.succeeded(runs[0][name])
      assert list(harness.losses(output)) == [5, 6] and 'Skipping the 4 batches' in output

  @pytest.mark.parametrize(
    ('name', 'saved'),
    [
      ('tuned by one', 'tuned_by_one/model.ckpt-0'),
      ('tuned by two', 'tuned/model.ckpt-0'),
    ],
  )
  def test_what_begins_with_their_weights_has_them_to_the_bit(self, runs, name, saved):
    """A fine-tuning saves before its first step what it has read."""
    harness.succeeded(runs[0][name])
    assert (runs[1] / f'{saved}.data-00000-of-0000{2 if name == "tuned by two" else 1}').exists()
    two, other = (tf.train.load_checkpoint(str(runs[1] / prefix)) for prefix in ('two/model.ckpt-4', saved))
    shapes = two.get_variable_to_shape_map()
    assert shapes == other.get_variable_to_shape_map()
    keys = [key for key in shapes if '_slot_' not in key and key != 'global_step']
    assert len(keys) > 20
    for key in keys:
      np.testing.assert_array_equal(two.get_tensor(key), other.get_tensor(key), err_msg=key)

  def test_perplexity(self, runs):
    two, one = (
      [line for line in harness.succeeded(runs[0][f'measured by {name}']).splitlines() if '(step 4)' in line]
      for name in ('two', 'one')
    )
    assert len(two) == 4 and two == one


@pytest.mark.slow
def test_a_killed_process_ends_the_other_and_the_command_resumes(tmp_path):
  train = harness.pretrain('killed', 100_000, harness.NOISE, MESH, **{'progress.every': 1000, 'SAVE_STEPS': 50})
  address = harness.free_address()
  both = lambda address: [
    harness.start([*train, f'--coordinator={address}', '--num_processes=2', f'--process_id={number}'], tmp_path)
    for number in range(2)
  ]
  survivor, victim = both(address)
  _wait_for(lambda: (tmp_path / 'killed' / 'model.ckpt-50.index').exists(), survivor)
  victim.send_signal(signal.SIGKILL)
  began = time.monotonic()
  output = survivor.communicate(timeout=60)[0]
  assert time.monotonic() - began < 60
  assert survivor.returncode == 1 and 'Traceback' not in output
  assert 'another process of this run ended or cannot be reached' in output.splitlines()[-1]
  before = {path.name for path in (tmp_path / 'killed').glob('*.index')}
  started = both(harness.free_address())
  _wait_for(lambda: {path.name for path in (tmp_path / 'killed').glob('*.index')} - before, started[0])
  os.kill(started[0].pid, signal.SIGKILL)
  assert 'Resuming after step' in started[0].communicate()[0]
  output = started[1].communicate(timeout=60)[0]
  assert started[1].returncode != 0 and 'Traceback' not in output, output


@pytest.mark.slow
def test_processes_with_different_settings(tmp_path):
  train = lambda number: harness.pretrain('differs', 2, {**harness.NOISE, 'dropout_rate': 0.1 + number / 10}, MESH)
  for result in harness.together(train, tmp_path):
    refusal = harness.refused(result)
    assert 'Process 1 has another setting than process 0' in refusal
    assert '"dropout_rate = 0.1"' in refusal and '"dropout_rate = 0.2"' in refusal
  assert not (tmp_path / 'differs').exists()


@pytest.mark.slow
def test_nobody_at_the_coordinator(tmp_path):
  flags = [f'--coordinator={harness.free_address()}', '--num_processes=2', '--process_id=1', '--coordinator_timeout=5']
  process = harness.start(harness.pretrain('alone', 2, harness.NOISE, MESH, flags), tmp_path)
  output = process.communicate(timeout=120)[0]
  assert 'could not be connected within 5 seconds' in harness.refused((process.returncode, output))
  assert not (tmp_path / 'alone').exists()


def _wait_for(is_done, process):
  """Waits while a process runs."""
  end = time.monotonic() + 200
  while not is_done():
    assert process.poll() is None, process.communicate()[0]
    assert time.monotonic() < end
    time.sleep(0.2)
