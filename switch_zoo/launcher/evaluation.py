"""Evaluation whose results are returned and printed: the released loop only writes them to TensorBoard."""

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import gin
import tensorflow.compat.v1 as tf
from mesh_tensorflow.transformer import dataset as mesh_dataset
from t5.models import mesh_transformer

from switch_zoo import work_progress
from switch_zoo.launcher import latest, run_state
from switch_zoo.launcher.results import PERPLEXITY, MetricResult


class CountedBatches(tf.train.SessionRunHook):
  """Shows how many batches of an evaluation are done."""

  def __init__(self, total: int | None) -> None:
    self._progress = work_progress.WorkProgress('Evaluating', 'batches', total)

  def after_create_session(self, session: Any, coord: Any) -> None:
    """The evaluation begins."""
    self._progress.start()

  def after_run(self, run_context: Any, run_values: Any) -> None:
    """Counts a batch."""
    self._progress.advance()

  def end(self, session: Any) -> None:
    """The evaluation ends."""
    self._progress.stop()


class StepOfCheckpoint(tf.train.SessionRunHook):
  """Records in a run the step of the checkpoint that predictions are made with."""

  def __init__(self, run: run_state.Run) -> None:
    self._run = run
    self._global_step = tf.train.get_or_create_global_step()

  def after_create_session(self, session: Any, coord: Any) -> None:
    """Reads the restored step."""
    self._run.evaluated_step = int(session.run(self._global_step))


def with_kept_evaluations(get_estimator: Callable[..., Any]) -> Callable[..., Any]:
  """`mesh_utils.get_estimator` whose estimators add what a perplexity run measures to the run's results, and show
  how far they are."""

  @functools.wraps(get_estimator)
  def get(*args: Any, **kwargs: Any) -> Any:
    estimator, run = get_estimator(*args, **kwargs), run_state.current()
    estimator.latest_checkpoint = lambda: latest.newest(estimator.model_dir)
    evaluate, predict = estimator.evaluate, estimator.predict

    def kept(*args: Any, name: str = 'eval', **kwargs: Any) -> Mapping[str, Any]:
      values = evaluate(*args, name=name, **kwargs)
      step = int(values['global_step'])
      run.results += [MetricResult(name, metric, step, float(values[metric])) for metric in PERPLEXITY]
      return values

    def counted(*args: Any, **kwargs: Any) -> Iterator[Any]:
      return work_progress.counted(predict(*args, **kwargs), 'Answering', 'examples', run.examples)

    estimator.evaluate, estimator.predict = kept, counted
    return estimator

  return get


@gin.configurable(module='launcher')  # pyright: ignore[reportCallIssue] - gin has no types
def evaluation_datasets(**kwargs: Any) -> list[mesh_dataset.EvalDataset]:
  """T5's `mesh_eval_dataset_fn` with metrics that also add what they measure to the run's results."""
  run = run_state.current()
  return [
    _recorded(run, mesh_dataset.EvalDataset(*dataset)) for dataset in mesh_transformer.mesh_eval_dataset_fn(**kwargs)
  ]


def _recorded(run: run_state.Run, dataset: mesh_dataset.EvalDataset) -> mesh_dataset.EvalDataset:
  record = lambda metric: functools.wraps(metric)(functools.partial(measure, run, dataset.name, metric))

  @functools.wraps(dataset.postprocess_fn)
  def postprocess(*args: Any, **kwargs: Any) -> Any:
    # Once for the target of each example, before the first answer.
    if kwargs.get('is_target'):
      run.examples = (run.examples or 0) + 1
    return dataset.postprocess_fn(*args, **kwargs)

  return dataset._replace(metric_fns=[record(metric) for metric in dataset.metric_fns], postprocess_fn=postprocess)


def measure(
  run: run_state.Run, task: str, metric: Callable[..., Mapping[str, Any]], targets: Any, predictions: Any
) -> Mapping[str, Any]:
  """Calls a metric of a task, and adds its values to the run's results."""
  values = metric(targets, predictions)
  run.results += [MetricResult(task, name, run.evaluated_step, float(value)) for name, value in values.items()]
  return values
