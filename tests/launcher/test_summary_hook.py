"""A training fetches the same values in every step, and writes nothing but what was asked for."""

import functools
import types

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from tensorflow.compat.v1 import estimator as tf_estimator
from tensorflow.python.client import session as session_lib
from tensorflow.python.training import basic_session_run_hooks

from switch_zoo.errors import UserError
from switch_zoo.launcher import metrics_file, model_function, progress, run_state, saving, summary_hook
from switch_zoo.mesh import summaries

STEPS = 7


class Reports:
  """Keeps the reported steps."""

  def __init__(self):
    self.steps = []

  def start(self, first_step, last_step):
    pass

  def step(self, report):
    self.steps.append(report.step)

  def finish(self):
    pass


@pytest.fixture
def fetched(monkeypatch):
  """The sets of names that each call of the session fetched or ran."""
  calls = []
  run = session_lib.BaseSession._do_run

  def noting(self, handle, target_list, fetch_list, *args):
    names = [t.name for t in fetch_list] + [getattr(op, 'name', op) for op in target_list]
    calls.append(frozenset(map(str, names)))
    return run(self, handle, target_list, fetch_list, *args)

  monkeypatch.setattr(session_lib.BaseSession, '_do_run', noting)
  return calls


def train(model_dir, settings=None, save_steps=100):
  """Seven steps of a training whose loss is the number of the step, as Estimator runs one. Returns its reports."""
  settings = settings or saving.Saving(summary_steps=3)
  step = tf.train.get_or_create_global_step()
  loss = tf.cast(step, tf.float32)
  tf.summary.scalar('learning_rate', 0.5 * loss)
  train_op = tf.group(tf.assign_add(step, 1))
  exported = {'layer/load': tf.stack([loss, 1.0]), 'loss/cross_entropy': loss}
  saving.open_events(str(model_dir), settings)
  reports = Reports()
  released = tf.train.CheckpointSaverHook(str(model_dir), save_steps=save_steps, saver=tf.train.Saver())
  hooks = [
    progress.Hook(loss, exported, reporter=reports, last_step=STEPS),
    summary_hook.SummaryHook({**summary_hook.take_scalars(), **exported}, str(model_dir), settings.summary_steps),
    *saving.lean((released,), settings),
  ]
  with tf.train.MonitoredTrainingSession(
    checkpoint_dir=str(model_dir), hooks=hooks, save_checkpoint_secs=None, save_summaries_steps=2
  ) as session:
    for _ in range(STEPS):
      session.run([train_op, loss])
  return reports.steps


def events(model_dir):
  return [e for file in sorted(model_dir.glob('events*')) for e in tf.train.summary_iterator(str(file))]


def test_every_step_fetches_the_same_whatever_is_reported_or_written(tmp_path, fetched, monkeypatch):
  monkeypatch.setattr(progress, 'ProgressSettings', functools.partial(progress.ProgressSettings, 4, 1e9))
  assert train(tmp_path) == [1, 4, 7]
  steps = [names for names in fetched if any(name.startswith('Cast') for name in names)]
  assert len(steps) == STEPS and len(set(steps)) == 1


def test_summaries_of_the_first_step_and_of_every_third(tmp_path):
  train(tmp_path)
  written = {e.step: {v.tag: v for v in e.summary.value} for e in events(tmp_path) if e.summary.value}
  ours = {step: values for step, values in written.items() if 'training/cross_entropy' in values}
  assert sorted(ours) == [1, 3, 6]
  assert set(ours[3]) == {'training/learning_rate', 'experts_load/layer', 'training/cross_entropy'}
  assert ours[3]['training/learning_rate'].simple_value == 0.5 * ours[3]['training/cross_entropy'].simple_value
  assert ours[3]['experts_load/layer'].WhichOneof('value') == 'histo'


def test_tokens_a_second_are_those_since_the_last_summary(tmp_path):
  """Steps of 10 tokens that take 2 seconds each; 100 seconds of something else are not on the clock."""
  tf.train.get_or_create_global_step()
  times = iter([0.0, 4.0, 8.0])
  hook = summary_hook.SummaryHook({}, str(tmp_path), 2, lambda: next(times))
  hook.after_create_session(types.SimpleNamespace(run=lambda _: 1), None)
  for _ in range(5):
    hook.after_run(None, types.SimpleNamespace(results={'values': {'tokens': np.float32(10)}}))
  records = {record['step']: record for record in metrics_file.read(str(tmp_path))}
  assert {step: record.get('tokens_per_second') for step, record in records.items()} == {2: None, 4: 5.0, 6: 5.0}


@pytest.mark.parametrize('graph', [False, True])
def test_the_graph_is_written_only_where_it_is_asked_for(graph, tmp_path):
  train(tmp_path, saving.Saving(graph=graph))
  graphs = [e.graph_def for e in events(tmp_path) if e.graph_def]
  assert any(b'learning_rate' in g for g in graphs) == graph
  assert not (tmp_path / 'graph.pbtxt').exists()


@pytest.mark.parametrize(('at_start', 'steps'), [(False, [4, 7]), (True, [0, 4, 7])])
def test_checkpoints_are_saved_at_their_steps_and_at_the_end(at_start, steps, tmp_path):
  train(tmp_path, saving.Saving(at_start=at_start), save_steps=4)
  assert sorted(int(path.stem.rpartition('-')[2]) for path in tmp_path.glob('*.index')) == steps
  assert not list(tmp_path.glob('*.meta'))
  assert tf.train.latest_checkpoint(str(tmp_path)).endswith('-7')


@pytest.mark.parametrize(('seconds', 'steps'), [(2.0, [2, 4, 6, 7]), (2.5, [3, 6, 7]), (None, [5, 7])])
def test_checkpoints_are_saved_when_the_last_one_is_old_too(seconds, steps, tmp_path, monkeypatch):
  """Steps that take a second each by the clock of the timer."""
  clock = types.SimpleNamespace(now=0.0)
  monkeypatch.setattr(basic_session_run_hooks.time, 'time', lambda: clock.now)
  released = saving.SaverHook.after_run

  def a_second_later(self, run_context, run_values):
    clock.now += 1.0
    released(self, run_context, run_values)

  monkeypatch.setattr(saving.SaverHook, 'after_run', a_second_later)
  train(tmp_path, saving.Saving(seconds=seconds), save_steps=5)
  assert sorted(int(path.stem.rpartition('-')[2]) for path in tmp_path.glob('*.index')) == steps


def test_the_released_saver_saves_by_steps_only(monkeypatch):
  saving.refuse_seconds_with('--tpu')
  monkeypatch.setattr(saving, 'Saving', functools.partial(saving.Saving, seconds=60))
  with pytest.raises(UserError, match='SAVE_SECONDS does not work with --tpu.* set SAVE_STEPS'):
    saving.refuse_seconds_with('--tpu')


def test_a_summary_is_a_scalar_of_a_scalar_and_one_histogram_of_a_vector():
  load = np.array([0.1, 0.2, 0.7], np.float32)
  values = {v.tag: v for v in summaries.summary_of({'b/load': load, 'a': np.float32(2.5)}).value}
  assert list(values) == ['a', 'b/load']
  assert values['a'].simple_value == 2.5
  histogram = values['b/load'].histo
  assert (histogram.num, sum(histogram.bucket)) == (3, 3)
  assert histogram.min == pytest.approx(0.1) and histogram.max == pytest.approx(0.7)
  assert histogram.sum == pytest.approx(1.0) and histogram.sum_squares == pytest.approx(0.54)


def test_summaries_that_are_no_scalars_stay_where_estimator_finds_them():
  tf.summary.scalar('a', 1.0)
  histogram = tf.summary.histogram('b', [1.0, 2.0])
  assert list(summary_hook.take_scalars()) == ['a']
  assert tf.get_collection(tf.GraphKeys.SUMMARIES) == [histogram]


def test_every_step_of_an_estimator_fetches_the_same(tmp_path, fetched):
  """Estimator has hooks of its own, which know of no such rule."""

  def released(*args, **kwargs):
    def model_fn(features, labels, mode, params, config):
      loss = tf.reduce_sum(features, name='the_loss')
      tf.summary.scalar('learning_rate', 0.1)
      saver = tf.train.CheckpointSaverHook(str(tmp_path), save_steps=2)
      train_op = tf.group(tf.assign_add(tf.train.get_global_step(), 1))
      return tf_estimator.EstimatorSpec(mode, loss=loss, train_op=train_op, training_chief_hooks=[saver])

    return model_fn

  model_fn = model_function.with_hooks(released)(model_dir=str(tmp_path), mesh_shape='')
  config = tf_estimator.RunConfig(str(tmp_path), save_summary_steps=2, log_step_count_steps=3, save_checkpoints_steps=2)
  with run_state.as_current(run_state.Run(Reports(), last_step=5)):
    estimator = tf_estimator.Estimator(model_fn, config=config, params={})
    estimator.train(lambda: tf.data.Dataset.from_tensors([1.0]).repeat(), steps=5)
  steps = [names for names in fetched if 'the_loss:0' in names]
  assert len(steps) == 5 and len(set(steps)) == 1
  tags = {v.tag for e in events(tmp_path) for v in e.summary.value}
  assert {'training/loss', 'training/learning_rate'} <= tags
