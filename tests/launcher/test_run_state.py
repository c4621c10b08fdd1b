"""The state of a run: handed over to what works for it, and gone with it."""

import mesh_tensorflow.transformer.utils as mesh_utils
import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from tensorflow.compat.v1 import estimator as tf_estimator

from switch_zoo.launcher import evaluation, model_function, run_state
from switch_zoo.launcher import run as launcher_run
from switch_zoo.launcher.results import PERPLEXITY, MetricResult


class Silent:
  """A reporter that keeps the steps it is given."""

  def __init__(self):
    self.steps = []

  def start(self, first_step, last_step):
    self.last_step = last_step

  def step(self, record):
    self.steps.append(record.step)

  def finish(self):
    pass


def test_the_run_in_progress_ends_with_its_context():
  run = run_state.Run(last_step=5)
  with run_state.as_current(run):
    assert run_state.current() is run
  assert run_state.current() is not run and run_state.current().last_step == 0


def test_a_run_inside_another_gives_it_back():
  outer, inner = run_state.Run(), run_state.Run()
  with run_state.as_current(outer):
    with pytest.raises(KeyError), run_state.as_current(inner):
      raise KeyError
    assert run_state.current() is outer


def test_runs_share_nothing():
  first, second = run_state.Run(), run_state.Run()
  first.results.append(MetricResult('task', 'accuracy', 1, 50.0))
  assert second.results == [] and first.reporter is not second.reporter


class Estimator:
  def evaluate(self, name='eval'):
    return {'global_step': 3, **dict.fromkeys(PERPLEXITY, 0.5)}

  def predict(self):
    return iter(['an answer', 'another'])


def test_an_estimator_keeps_its_evaluations_in_the_run_it_was_made_in():
  make = evaluation.with_kept_evaluations(lambda: Estimator())
  with run_state.as_current(run_state.Run()) as first:
    estimator = make()
  with run_state.as_current(run_state.Run()) as second:
    estimator.evaluate(name='task')
  assert list(estimator.predict()) == ['an answer', 'another']
  assert first.results == [MetricResult('task', metric, 3, 0.5) for metric in PERPLEXITY]
  assert second.results == []


def train(run, steps, model_dir):
  """Trains a made-up model function `steps` steps inside a run."""

  def released(*args, **kwargs):
    def model_fn(features, labels, mode, params, config):
      step = tf.train.get_or_create_global_step()
      loss = tf.cast(tf.assign_add(step, 1), tf.float32)
      return tf_estimator.EstimatorSpec(mode, loss=loss, train_op=tf.group(loss))

    return model_fn

  with run_state.as_current(run):
    model_fn = model_function.with_hooks(released)(model_dir=str(model_dir), mesh_shape='')
  with tf.Graph().as_default():
    spec = model_fn({}, None, tf_estimator.ModeKeys.TRAIN)
    with tf.train.MonitoredSession(hooks=spec.training_hooks) as session:
      for _ in range(steps):
        session.run(spec.train_op)


def test_a_second_training_reports_to_its_own_reporter(tmp_path):
  first, second = Silent(), Silent()
  train(run_state.Run(first, last_step=2), 2, tmp_path / 'first')
  train(run_state.Run(second, last_step=1), 1, tmp_path / 'second')
  assert (first.steps, first.last_step) == ([1, 2], 2)
  assert (second.steps, second.last_step) == ([1], 1)


@pytest.fixture
def execute(monkeypatch, tmp_path):
  """Executes a run whose released part is a function of the run in progress."""
  # It would hold for the whole test process.
  monkeypatch.setattr(launcher_run.tf, 'disable_v2_behavior', lambda: None)

  def run(released):
    monkeypatch.setattr(mesh_utils, 'run', lambda **arguments: released(run_state.current()))
    return launcher_run.execute(str(tmp_path), launcher_run.Tpu(), Silent())

  return run


def add_result(value):
  return lambda run: run.results.append(MetricResult('task', 'accuracy', 1, value))


def test_a_run_does_not_return_the_results_of_the_one_before(execute):
  assert [result.value for result in execute(add_result(10.0))] == [10.0]
  assert [result.value for result in execute(add_result(20.0))] == [20.0]


def test_nor_those_of_one_that_failed(execute):
  def fails(run):
    add_result(10.0)(run)
    raise RuntimeError

  with pytest.raises(RuntimeError):
    execute(fails)
  assert [result.value for result in execute(add_result(20.0))] == [20.0]


def test_the_step_of_a_checkpoint_is_the_runs(tmp_path):
  def evaluated(run, step):
    with tf.Graph().as_default():
      hook = evaluation.StepOfCheckpoint(run)
      assign = tf.assign(tf.train.get_global_step(), step)
      with tf.Session() as session:
        session.run(assign)
        hook.after_create_session(session, None)

  first, second = run_state.Run(), run_state.Run()
  evaluated(first, 7)
  assert (first.evaluated_step, second.evaluated_step) == (7, 0)


def test_a_metric_is_measured_for_its_run(monkeypatch):
  accuracy = lambda targets, predictions: {'accuracy': 100 * np.mean(np.equal(targets, predictions))}
  monkeypatch.setattr(
    evaluation.mesh_transformer, 'mesh_eval_dataset_fn', lambda **kwargs: [('task', None, None, [accuracy])]
  )
  with run_state.as_current(run_state.Run(evaluated_step=4)) as first:
    (dataset,) = evaluation.evaluation_datasets()
  with run_state.as_current(run_state.Run()) as second:
    dataset.metric_fns[0]([1, 2], [1, 3])
  assert first.results == [MetricResult('task', 'accuracy', 4, 50.0)] and second.results == []
