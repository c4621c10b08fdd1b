"""TensorBoard's summaries of a training, made of the values that every step fetches.

TensorFlow prepares a graph again for every new set of values that a step fetches, which takes as long as several steps
of a large model. So all steps fetch the same set, and what is to be written is decided afterwards.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow.compat.v1 as tf

from switch_zoo.launcher import metrics_file
from switch_zoo.mesh import summaries


def take_scalars() -> dict[str, tf.Tensor]:
  """Tag -> tensor of the scalar summaries of the default graph, which are taken out of its collection.

  Estimator's own hook would fetch them in some steps only.
  """
  graph = tf.get_default_graph()
  operations = [summary.op for summary in graph.get_collection(tf.GraphKeys.SUMMARIES)]
  scalars = [op for op in operations if op.type == 'ScalarSummary']
  graph.clear_collection(tf.GraphKeys.SUMMARIES)
  for op in operations:
    if op.type != 'ScalarSummary':
      graph.add_to_collection(tf.GraphKeys.SUMMARIES, op.outputs[0])
  return {_tag(op): op.inputs[1] for op in scalars}


def scaffold(initial_weights: Callable[[tf.train.Scaffold, tf.Session], None] | None = None) -> tf.train.Scaffold:
  """A scaffold whose hook for summaries fetches nothing, unless the default graph has other summaries than scalars.

  Estimator adds a summary of the loss, which that hook would fetch in every hundredth step.

  Args:
    initial_weights: called after the initialization of variables, where no checkpoint is restored
  """
  summary_op = None if tf.get_collection(tf.GraphKeys.SUMMARIES) else []
  return tf.train.Scaffold(summary_op=summary_op, init_fn=initial_weights)


def _tag(op: tf.Operation) -> str:
  tag = op.inputs[0].op.get_attr('value').string_val[0]
  return tag.decode()


class SummaryHook(tf.train.SessionRunHook):
  """Writes a summary of the first step and of every so many, for TensorBoard and into `metrics.jsonl`."""

  def __init__(
    self,
    fetches: Mapping[str, tf.Tensor],
    model_dir: str,
    steps: int,
    clock: Callable[[], float] = time.monotonic,
  ) -> None:
    """
    Args:
      fetches: name -> <float>[] or <float>[any]
      model_dir: folder of the events file
      steps: between two summaries
      clock: seconds, of which only those count that training took
    """
    self._fetches = dict(fetches)
    self._model_dir = model_dir
    self._writer = tf.summary.FileWriterCache.get(model_dir)
    self._global_step = tf.train.get_global_step()
    self._steps = steps
    self._clock = clock
    self._step = self._first = 0
    # The step and the time of the last summary.
    self._before: tuple[int, float] | None = None

  def after_create_session(self, session: Any, coord: Any) -> None:
    """Reads the step that the run begins with."""
    self._step = self._first = int(session.run(self._global_step))
    metrics_file.cut_after(self._model_dir, self._step)

  def before_run(self, run_context: Any) -> tf.train.SessionRunArgs:
    """Fetches the same values in every step, and what Estimator's log of steps fetches now and then."""
    return tf.train.SessionRunArgs({'values': self._fetches, 'step': self._global_step})

  def after_run(self, run_context: Any, run_values: Any) -> None:
    """Counts the step, and writes its values if it is one of those."""
    self._step += 1
    if self._step == self._first + 1 or self._step % self._steps == 0:
      values = {**run_values.results['values'], **self._speed(run_values.results['values'])}
      self._writer.add_summary(summaries.summary_of({summaries.tag_of(k): v for k, v in values.items()}), self._step)
      metrics_file.append(self._model_dir, self._step, {name: np.asarray(v).tolist() for name, v in values.items()})

  def _speed(self, values: Mapping[str, Any]) -> dict[str, float]:
    """Tokens a second since the last summary, if steps say how many they have; those of this step count for all."""
    before, self._before = self._before, (self._step, self._clock())
    if before is None or 'tokens' not in values or self._before[1] <= before[1]:
      return {}
    return {'tokens_per_second': float(values['tokens']) * (self._step - before[0]) / (self._before[1] - before[1])}

  def end(self, session: Any) -> None:
    """Flushes the file."""
    self._writer.flush()
