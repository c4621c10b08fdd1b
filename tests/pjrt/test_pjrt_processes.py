"""Several processes that train one model, each with its own devices: the same as one process, and what ends them."""

import json
import os
import pickle
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


# What the devices of a process have when it saves: variable -> [(where each axis begins and ends, values)].
KEEP_PARTS = """
import pickle
from switch_zoo.pjrt import checkpoint_writer, processes
write = checkpoint_writer.write

def keep(folder, step, variables):
  parts = {
    name: [([part.indices(size)[:2] for part, size in zip(shard.index, array.shape)], shard.data.__array__())
           for shard in array.addressable_shards]
    for name, array in variables.items()
  }
  pathlib.Path(f'parts-{step}-{processes.jax.process_index()}').write_bytes(pickle.dumps(parts))
  return write(folder, step, variables)

checkpoint_writer.write = keep
"""
# What TensorFlow has in its session before the first step: variable -> values.
KEEP_RESTORED = """
import pickle
from switch_zoo.launcher import saving
created = saving.SaverHook.after_create_session

def keep(self, session, coord):
  variables = session.run({variable.op.name: variable for variable in saving.tf.global_variables()})
  pathlib.Path('restored').write_bytes(pickle.dumps(variables))
  created(self, session, coord)

saving.SaverHook.after_create_session = keep
"""
NOWHERE = ['--num_processes=2', '--process_id=1', '--coordinator_timeout=5']


@pytest.fixture(scope='module')
def runs(tmp_path_factory):
  """(name -> (exit code, output) of the first process, folder) of trainings by several processes and by one."""
  folder = tmp_path_factory.mktemp('processes')
  train = lambda name, steps, mesh=MESH, **more: harness.pretrain(name, steps, {**harness.NOISE, **more}, mesh)
  tune = lambda name: harness.command(name, 'finetune', TUNING, MESH)
  measure = harness.command('two', 'perplexity', PERPLEXITY, MESH)
  differing = lambda number: train('differs', 2, dropout_rate=0.1 + number / 10)
  rounds = {
    'two': harness.together(lambda _: train('two', 4), statements=KEEP_PARTS),
    'copies': "[shutil.copytree('two', f'two_then_{name}') for name in ('tf', 'one')]",
    'four': harness.together(lambda _: train('four', 2, 'batch:4'), 4),
    'tuned by two': harness.together(lambda _: tune('tuned')),
    'measured by two': harness.together(lambda _: measure),
    'one': harness.at_once(train('one', 4)),
    'four in one': harness.at_once(train('four_in_one', 2, 'batch:4')),
    'two, then one': harness.at_once(train('two_then_one', 6, **harness.NO_NOISE)),
    'two, then tensorflow': harness.at_once(
      train('two_then_tf', 6, None, **harness.NO_NOISE), statements=KEEP_RESTORED
    ),
    'measured by one': harness.at_once(measure),
    'tuned by one': harness.at_once(tune('tuned_by_one')),
    'different settings': harness.together(differing),
    'alone': harness.at_once([*train('alone', 2), f'--coordinator={harness.free_address()}', *NOWHERE]),
  }
  results = harness.run_rounds(rounds, folder)
  others = {f'{name}, second': processes[1] for name, processes in results.items() if len(processes) > 1}
  return {**{name: processes[0] for name, processes in results.items()}, **others}, folder


def assert_same_losses(one, other, steps):
  one, other = (harness.losses(harness.succeeded(result)) for result in (one, other))
  assert list(one) == list(other) == list(steps)
  np.testing.assert_allclose([*one.values()], [*other.values()], rtol=1e-4, atol=1e-4)


@pytest.mark.slow
class TestProcesses:
  def test_losses_of_two_are_those_of_one_process(self, runs):
    assert_same_losses(runs[0]['two'], runs[0]['one'], range(1, 5))
    # Only the first process reports.
    assert harness.losses(harness.succeeded(runs[0]['two, second'])) == {}

  def test_losses_of_four_are_those_of_one_process(self, runs):
    assert_same_losses(runs[0]['four'], runs[0]['four in one'], range(1, 3))
    assert len(list((runs[1] / 'four').glob('model.ckpt-2.data-*-of-00004'))) == 4

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

  def test_the_checkpoint_is_what_their_devices_had_to_the_bit(self, runs):
    """Every variable and every slot of the optimizer; each process has one half of what the mesh cuts."""
    checkpoint = tf.train.load_checkpoint(str(runs[1] / 'two' / 'model.ckpt-4'))
    shapes = checkpoint.get_variable_to_shape_map()
    parts = [pickle.loads((runs[1] / f'parts-4-{number}').read_bytes()) for number in range(2)]
    assert {*parts[0]} == {*parts[1]} == {*shapes} - {'global_step'}
    covered = {name: np.zeros(shapes[name], bool) for name in parts[0]}
    for name, ((where, values),) in (item for process in parts for item in process.items()):
      index = tuple(slice(*ends) for ends in where)
      covered[name][index] = True
      np.testing.assert_array_equal(checkpoint.get_tensor(name)[index], values, err_msg=name)
    assert all(map(np.all, covered.values()))
    cut = [name for name, ((_, values),) in parts[0].items() if values.size == np.prod(shapes[name]) / 2]
    assert len(cut) > 4 and any('_slot_' in name for name in cut)

  def test_tensorflow_restores_it_to_the_bit(self, runs):
    """What its session has before the first step."""
    harness.succeeded(runs[0]['two, then tensorflow'])
    restored = pickle.loads((runs[1] / 'restored').read_bytes())
    checkpoint = tf.train.load_checkpoint(str(runs[1] / 'two' / 'model.ckpt-4'))
    names = checkpoint.get_variable_to_shape_map()
    assert len(names) > 40 and restored['global_step'] == 4
    for name in names:
      np.testing.assert_array_equal(restored[name], checkpoint.get_tensor(name), err_msg=name)

  def test_one_process_and_tensorflow_continue_with_the_same_losses(self, runs):
    """Without dropout, which the runtimes draw differently."""
    names = ('two, then one', 'two, then tensorflow')
    assert_same_losses(*(runs[0][name] for name in names), range(5, 7))
    assert all('Skipping the 4 batches' in runs[0][name][1] for name in names)

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

  def test_different_settings(self, runs):
    for name in ('different settings', 'different settings, second'):
      refusal = harness.refused(runs[0][name])
      assert 'Process 1 has another setting than process 0' in refusal
      assert '"dropout_rate = 0.1"' in refusal and '"dropout_rate = 0.2"' in refusal
    assert not (runs[1] / 'differs').exists()

  def test_nobody_at_the_coordinator(self, runs):
    assert 'could not be connected within 5 seconds' in harness.refused(runs[0]['alone'])
    assert not (runs[1] / 'alone').exists()


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
  # The first process has JAX's service, without which JAX aborts the others.
  output = started[1].communicate(timeout=60)[0]
  assert started[1].returncode == 1, output
  assert 'another process of this run ended or cannot be reached' in output.splitlines()[-1]


def _wait_for(is_done, process):
  """Waits while a process runs."""
  end = time.monotonic() + 200
  while not is_done():
    assert process.poll() is None, process.communicate()[0]
    assert time.monotonic() < end
    time.sleep(0.2)
