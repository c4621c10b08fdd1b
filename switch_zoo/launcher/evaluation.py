"""Evaluation whose results are seen: the released loop writes them to TensorBoard only."""

import collections
import dataclasses
import functools

import gin
import mesh_tensorflow.transformer.utils as mesh_utils
import tensorflow.compat.v1 as tf
from mesh_tensorflow.transformer import dataset as mesh_dataset
from t5.models import mesh_transformer

from switch_zoo.tasks import benchmark_means

# Of what Mesh-TensorFlow measures by teacher forcing, what says how good a model is.
PERPLEXITY = ('neg_log_perplexity', 'token_accuracy', 'sequence_accuracy', 'num_eval_tokens')


@dataclasses.dataclass(frozen=True)
class Result:
  """One metric of one task at one checkpoint."""

  task: str
  metric: str
  step: int
  value: float


class _Last:
  """Results of the present run, and the step of the checkpoint being evaluated."""

  results: list[Result] = []
  step: int = 0


def take_results() -> list[Result]:
  """The results since the last call, and the score of every benchmark (`zoo_superglue_mean`) they are complete for."""
  results, _Last.results = _Last.results, []
  return results + means(results)


def means(results: list[Result]) -> list[Result]:
  """The scores of the benchmarks all of whose tasks were measured at a checkpoint, for each checkpoint."""
  values = collections.defaultdict(lambda: collections.defaultdict(list))
  for result in results:
    if result.metric not in PERPLEXITY:
      values[result.step][result.task].append(result.value)
  return [
    Result(f'{name}_mean', 'score', step, mean)
    for step, of_task in values.items()
    for name, mean in benchmark_means.means(of_task).items()
  ]


class StepOfCheckpoint(tf.train.SessionRunHook):
  """Notes the step of the checkpoint that predictions are made with."""

  def __init__(self):
    self._global_step = tf.train.get_or_create_global_step()

  def after_create_session(self, session, coord):
    """Reads the restored step."""
    _Last.step = int(session.run(self._global_step))


def install() -> None:
  """Has estimators keep what a perplexity run measures; calling it again changes nothing."""
  if not hasattr(mesh_utils.get_estimator, 'switch_zoo'):
    mesh_utils.get_estimator = _with_kept_evaluations(mesh_utils.get_estimator)


def _with_kept_evaluations(get_estimator):
  @functools.wraps(get_estimator)
  def get(*args, **kwargs):
    estimator = get_estimator(*args, **kwargs)
    evaluate = estimator.evaluate

    def kept(*args, name='eval', **kwargs):
      values = evaluate(*args, name=name, **kwargs)
      step = int(values['global_step'])
      _Last.results += [Result(name, metric, step, float(values[metric])) for metric in PERPLEXITY]
      return values

    estimator.evaluate = kept
    return estimator

  get.switch_zoo = True
  return get


@gin.configurable(module='launcher')
def evaluation_datasets(**kwargs):
  """T5's `mesh_eval_dataset_fn` with metrics that also keep what they find for `take_results`."""
  return [_recorded(dataset) for dataset in mesh_transformer.mesh_eval_dataset_fn(**kwargs)]


def _recorded(dataset):
  dataset = mesh_dataset.EvalDataset(*dataset)
  record = lambda metric: functools.wraps(metric)(functools.partial(_measure, dataset.name, metric))
  metrics = [record(metric) for metric in dataset.metric_fns]
  return dataset._replace(metric_fns=metrics)


def _measure(task, metric, targets, predictions):
  values = metric(targets, predictions)
  _Last.results += [Result(task, name, _Last.step, float(value)) for name, value in values.items()]
  return values


def table(results: list[Result]) -> str:
  """Results as aligned lines: task, metric, value, step."""
  if not results:
    return 'No task of this mixture has the split, or none has a metric: nothing was evaluated.'
  width = max(len(r.task) for r in results)
  metric_width = max(len(r.metric) for r in results)
  return '\n'.join(
    f'{r.task:<{width}}  {r.metric:<{metric_width}}  {r.value:10.4f}  (step {r.step:,})' for r in results
  )
