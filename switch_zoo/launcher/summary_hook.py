"""TensorBoard's summaries of a training, made of the values that every step fetches.

TensorFlow prepares a graph again for every new set of values that a step fetches, which takes as long as several steps
of a large model. So all steps fetch the same set, and what is to be written is decided afterwards.
"""

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

  def __init__(self, fetches: Mapping[str, tf.Tensor], model_dir: str, steps: int) -> None:
    """
    Args:
      fetches: tag -> <float>[] or <float>[any]
      model_dir: folder of the events file
      steps: between two summaries
    """
    self._fetches = dict(fetches)
    self._model_dir = model_dir
    self._writer = tf.summary.FileWriterCache.get(model_dir)
    self._global_step = tf.train.get_global_step()
    self._steps = steps
    self._step = self._first = 0

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
      values = run_values.results['values']
      self._writer.add_summary(summaries.summary_of(values), self._step)
      metrics_file.append(self._model_dir, self._step, {tag: np.asarray(v).tolist() for tag, v in values.items()})

  def end(self, session: Any) -> None:
    """Flushes the file."""
    self._writer.flush()
