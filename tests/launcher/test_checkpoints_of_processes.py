"""Which checkpoints the processes of one run evaluate, where each of them sees others in the folder."""

import itertools
import os

import pytest
import tensorflow.compat.v1 as tf

from switch_zoo.launcher import latest, run_state


class First:
  """The first process; told: its decisions."""

  is_chief = True

  def __init__(self):
    self.told = []

  def agreed(self, decision):
    self.told.append(decision)
    return decision


class Other:
  """Another process, which is told what the first one decided."""

  is_chief = False

  def __init__(self, told):
    self.told = [*told]

  def agreed(self, decision):
    return self.told.pop(0)


def save(folder, *steps):
  with tf.Graph().as_default(), tf.Session() as session:
    variable = tf.get_variable('v', initializer=0.0, use_resource=False)
    session.run(variable.initializer)
    saver = tf.train.Saver(max_to_keep=None)
    for step in steps:
      saver.save(session, os.path.join(folder, 'model.ckpt'), global_step=step)


def evaluated(processes, folder, steps, count=None):
  """The names of the checkpoints that a process reads, the first `count` of them."""
  get = latest.of_first_process(latest.with_whole(tf.train.latest_checkpoint))
  with run_state.as_current(run_state.Run(processes=processes)):
    prefixes = [*itertools.islice(get(steps, str(folder)), count)]
  assert all(os.path.dirname(prefix) == str(folder) for prefix in prefixes)
  return [os.path.basename(prefix) for prefix in prefixes]


@pytest.fixture
def folders(tmp_path):
  """What the first process sees, and what another one sees."""
  save(tmp_path / 'first', 1, 2, 5)
  save(tmp_path / 'other', 2, 9)
  return tmp_path / 'first', tmp_path / 'other'


@pytest.mark.parametrize(('steps', 'read'), [('all', [1, 2, 5]), (-1, [5]), ([1, 4], [1, 5])])
def test_all_read_what_the_first_process_finds(folders, steps, read):
  first = First()
  assert evaluated(first, folders[0], steps) == [f'model.ckpt-{step}' for step in read]
  other = Other(first.told)
  assert evaluated(other, folders[1], steps) == [f'model.ckpt-{step}' for step in read]
  assert not other.told


def test_all_wait_for_the_next_checkpoint_together(folders, monkeypatch):
  """It is written while they wait for the second time."""
  first, waits = First(), []

  def sleep(_):
    waits.append(len(first.told))
    if len(waits) == 2:
      save(folders[0], 8)

  monkeypatch.setattr(latest.time, 'sleep', sleep)
  assert evaluated(first, folders[0], None, 2) == ['model.ckpt-5', 'model.ckpt-8']
  assert first.told == [5, 5, 5, 8]
  assert evaluated(Other(first.told), folders[1], None, 2) == ['model.ckpt-5', 'model.ckpt-8']
