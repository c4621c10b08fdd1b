"""The parts of a validation: scores, the history, the folder of the best checkpoint, metrics.jsonl."""

import json
import math
import types

import gin
import pytest
import tensorflow.compat.v1 as tf

from switch_zoo.errors import UserError
from switch_zoo.launcher import metrics_file
from switch_zoo.launcher.results import MetricResult
from switch_zoo.launcher.validation import best, history, scores, settings
from switch_zoo.launcher.validation.checkpoint_model import CheckpointModel
from switch_zoo.launcher.validation.history import Validation

MEASURED = [MetricResult('a', 'f1', 7, 50.0), MetricResult('a', 'accuracy', 7, 70.0), MetricResult('b', 'f1', 7, 10.0)]


@pytest.mark.parametrize(
  ('metric', 'counted', 'score'),
  [
    (None, None, 35.0),  # (60 + 10) / 2
    (None, ('f1',), 30.0),
    ('mean', None, 35.0),
    ('a', None, 60.0),
    ('f1', None, 30.0),
    ('a/accuracy', ('f1',), 70.0),
    ('-b/f1', None, -10.0),
  ],
)
def test_a_score_is_a_metric_or_a_mean_over_tasks(metric, counted, score):
  assert scores.of_results(MEASURED, metric, counted) == score


def test_the_score_of_a_benchmark_is_its_own():
  tasks = ['boolq', 'cb', 'copa', 'multirc', 'record', 'rte', 'wic', 'wsc']
  measured = [MetricResult(f'zoo_superglue_{name}', 'accuracy', 1, 8.0 * (name == 'cb')) for name in tasks]
  assert scores.of_results(measured, None, None) == scores.of_results(measured, 'zoo_superglue_mean', None) == 1.0


def test_a_metric_that_does_not_exist_is_named_with_the_closest():
  with pytest.raises(UserError, match=r'measures no "a/F1"\. Did you mean a/f1\? It can be a, a/f1, .*, mean;'):
    scores.check('a/F1', {'a': ['f1'], 'b': ['f1']}, None)
  scores.check('-b', {'a': ['f1'], 'b': ['f1']}, None)


def test_where_a_host_only_feeds_devices_it_is_refused():
  settings.refuse_with('--tpu')
  gin.bind_parameter('launcher.validation.every', 2)
  with pytest.raises(UserError, match='EVAL_STEPS does not work with --tpu'):
    settings.refuse_with('--tpu')


def validation(step, score):
  return Validation(step, score, {'a/f1': score}, 0.5)


def validated(folder, *scores_of_steps):
  """The history of a training whose validations after steps 10, 20, ... had these scores."""
  past = history.History(str(folder), 0)
  for number, score in enumerate(scores_of_steps, 1):
    past.is_best(validation(10 * number, score))
    past.add(validation(10 * number, score))
  return past


def test_the_first_of_equal_validations_is_the_best(tmp_path):
  past = validated(tmp_path, 1.0, 3.0, 3.0, 2.0)
  assert past.best == validation(20, 3.0) and past.since_best() == 2
  assert history.table(past).splitlines()[2].split() == ['step', '20', 'score', '3.0000', '0.5', 's', 'best']


def test_a_validation_that_is_not_a_number_is_never_the_best(tmp_path):
  nan = float('nan')
  past = validated(tmp_path, nan, 1.0, nan)
  assert past.best is not None and past.best.step == 20 and past.since_best() == 1
  again = history.History(str(tmp_path), 30)
  assert again.best == validation(20, 1.0) and math.isnan(again.validations[0].score)


def test_a_training_has_ended_early_where_its_validations_say_so(tmp_path):
  validated(tmp_path, 1.0, 3.0, 2.0, 2.0)
  stopped = [history.stopped_early(str(tmp_path), step, patience) for step, patience in ((40, 2), (40, 3), (30, 2))]
  assert stopped == [True, False, False] and not history.stopped_early(str(tmp_path), 40, None)


def test_one_of_several_processes_writes_the_history(tmp_path):
  pasts = [history.History(str(tmp_path), 0, is_written) for is_written in (True, False)]
  for past in pasts:
    past.add(validation(10, 1.0))
  assert [len(past.validations) for past in pasts] == [1, 1] and len(metrics_file.read(str(tmp_path))) == 1


def checkpoint(folder, step):
  for suffix in ('index', 'data-00000-of-00001'):
    (folder / f'model.ckpt-{step}.{suffix}').write_text(str(step))
  return str(folder / f'model.ckpt-{step}')


def test_the_best_checkpoint_outlives_the_original(tmp_path):
  (tmp_path / 'operative_config.gin').write_text('d_model = 8\n')
  best.keep(str(tmp_path), checkpoint(tmp_path, 10), {'step': 10})
  best.keep(str(tmp_path), checkpoint(tmp_path, 20), {'step': 20})
  for path in tmp_path.glob('model.ckpt-20.*'):
    path.unlink()
  files = {path.name: path.read_text() for path in (tmp_path / 'best').iterdir()}
  assert files['model.ckpt-20.index'] == '20' and 'model.ckpt-10.index' not in files
  assert files['operative_config.gin'] == 'd_model = 8\n' and 'model.ckpt-20' in files['checkpoint']
  assert best.read(str(tmp_path)) == {'checkpoint': 'model.ckpt-20', 'step': 20}


@pytest.mark.parametrize('kept', ['best', 'best.old'])
def test_a_kill_leaves_a_best_checkpoint(tmp_path, kept):
  best.keep(str(tmp_path), checkpoint(tmp_path, 10), {'step': 10})
  (tmp_path / 'best').rename(tmp_path / kept)
  (tmp_path / 'best.partial').mkdir()
  best.remove_leftovers(str(tmp_path))
  assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == ['best']
  assert best.read(str(tmp_path))['step'] == 10


def test_lines_of_later_steps_are_removed_and_cut_ones_skipped(tmp_path):
  for step in (1, 2, 3):
    metrics_file.append(str(tmp_path), step, {'loss': 1.0 / step, 'load': [0.5, float('inf')]})
  path = tmp_path / metrics_file.FILE
  path.write_text(path.read_text()[:-9])
  assert [record['step'] for record in metrics_file.read(str(tmp_path))] == [1, 2]
  metrics_file.cut_after(str(tmp_path), 1)
  (line,) = path.read_text().splitlines()
  assert json.loads(line)['load'] == [0.5, None] and json.loads(line)['loss'] == 1.0


def test_one_graph_measures_each_dataset_with_the_weights_of_each_checkpoint(tmp_path):
  built = []

  def model_fn(features, labels, mode, params, config):
    built.append(mode)
    product = features['x'] * tf.get_variable('w', [], tf.float32)
    hooks = {'prediction_hooks': (), 'evaluation_hooks': ()}
    metrics = (lambda values: {'mean': tf.metrics.mean(values)}, [product])
    return types.SimpleNamespace(eval_metrics=metrics, predictions={'product': product}, **hooks)

  prefixes = []
  with tf.Graph().as_default(), tf.Session() as session:
    tf.train.create_global_step()
    weight = tf.get_variable('w', [], tf.float32)
    session.run(tf.global_variables_initializer())
    for value in (1.0, 10.0):
      session.run(weight.assign(value))
      prefixes.append(tf.train.Saver().save(session, str(tmp_path / f'{value}')))
  batches = lambda *numbers: lambda: tf.data.Dataset.from_tensor_slices({'x': list(numbers)}).batch(2)
  model = CheckpointModel(model_fn, 'eval', [batches(1.0, 2.0, 6.0), batches(7.0), batches()])
  assert [values['mean'] for values in model.evaluate(prefixes[0])] == [3.0, 7.0, 0.0]
  assert [values['mean'] for values in model.evaluate(prefixes[1])] == [30.0, 70.0, 0.0]
  products = [answer['product'] for answer in model.predict(checkpoint_path=prefixes[1])]
  assert products == [10.0, 20.0, 60.0, 70.0] and len(built) == 1
