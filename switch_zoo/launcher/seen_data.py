"""A resumed training reads the data that it would have read without the interruption.

The order of the data follows from a seed: SEED, or one that is drawn at the first start. The folder's `data_order.json`
keeps the seed and from which step on how many sequences were read in each step; the batches read before the step that a
training resumes from are skipped. Examples become batches in ways that depend on each other (shuffling, packing), so
nothing less than making the batches finds the next one: skipping is as fast as the input pipeline.
"""

import dataclasses
import functools
import json
import os
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gin
import tensorflow.compat.v1 as tf

from switch_zoo.launcher import latest, preflight, progress, run_state

FILE = 'data_order.json'
_SEED = 'mesh_train_dataset_fn.seed'


@gin.configurable(module='launcher')
class SeenData:
  """
  Args:
    skip: a resumed training skips the batches that were read before; False: it reads the data from its beginning
  """

  def __init__(self, skip: bool = True) -> None:
    self.skip = skip


@dataclasses.dataclass(frozen=True)
class Segment:
  """What a training read from a step on.

  first_step: steps that were done before
  batch: sequences of a step
  data: what decides the order: the function, the task, lengths and the seed
  """

  first_step: int
  batch: int
  data: Mapping[str, Any]


def with_seen_data_skipped(get_estimator: Callable[..., Any]) -> Callable[..., Any]:
  """`mesh_utils.get_estimator` whose estimators skip, when they train, what was read before."""

  @functools.wraps(get_estimator)
  def get(*args: Any, **kwargs: Any) -> Any:
    estimator, run = get_estimator(*args, **kwargs), run_state.current()
    train = estimator.train

    def train_on_unseen(input_fn: Callable[[Any], Any], hooks: Sequence[Any] | None = None, **train_kwargs: Any) -> Any:
      batch = kwargs['batch_size'] * (kwargs.get('ensemble_inputs') or 1)
      before, now, skipped = _plan(kwargs['model_dir'], batch, kwargs['sequence_length'], run)
      with gin.unlock_config():
        gin.bind_parameter(_SEED, now['seed'])
      unseen = lambda params: input_fn(params).skip(skipped) if skipped else input_fn(params)
      record = _Record(kwargs['model_dir'], before, batch, now)
      return train(unseen, hooks=[*(hooks or ()), record], **train_kwargs)

    estimator.train = train_on_unseen
    return estimator

  return get


def sequences_seen(segments: Sequence[Segment], step: int) -> int:
  """How many sequences of the last segment's data were read before a step.

  >>> sequences_seen([Segment(0, 8, {'seed': 1}), Segment(10, 4, {'seed': 1})], 12)
  88
  """
  seen, end = 0, step
  for segment in reversed(segments):
    if segment.data != segments[-1].data:
      break
    seen, end = seen + (end - segment.first_step) * segment.batch, segment.first_step
  return seen


def read(model_dir: str) -> list[Segment]:
  """What trainings in a folder read so far; [] if there is no record that can be read."""
  path = os.path.join(model_dir, FILE)
  if not tf.io.gfile.exists(path):
    return []
  try:
    with tf.io.gfile.GFile(path) as file:
      return [Segment(**segment) for segment in json.load(file)['segments']]
  except (ValueError, KeyError, TypeError):
    return []


def write(model_dir: str, segments: Sequence[Segment]) -> None:
  """Keeps what trainings in a folder read, as a whole or not at all."""
  path = os.path.join(model_dir, FILE)
  with tf.io.gfile.GFile(f'{path}.partial', 'w') as file:
    file.write(json.dumps({'segments': [dataclasses.asdict(segment) for segment in segments]}) + '\n')
  tf.io.gfile.rename(f'{path}.partial', path, overwrite=True)


class _Record(tf.train.SessionRunHook):
  """Writes the record when the step that a training begins with is known."""

  def __init__(self, model_dir: str, before: Sequence[Segment], batch: int, data: Mapping[str, Any]) -> None:
    self._model_dir, self._before, self._batch, self._data = model_dir, before, batch, data

  def begin(self) -> None:
    """Finds the step of the graph."""
    self._global_step = tf.train.get_global_step()

  def after_create_session(self, session: Any, coord: Any) -> None:
    """Adds a segment, unless the last one goes on."""
    last = self._before[-1] if self._before else None
    if last is None or (last.batch, last.data) != (self._batch, self._data):
      segment = Segment(int(session.run(self._global_step)), self._batch, self._data)
      write(self._model_dir, [*self._before, segment])


def _plan(
  model_dir: str, batch: int, lengths: Mapping[str, int], run: run_state.Run
) -> tuple[list[Segment], dict[str, Any], int]:
  """The segments before the step that a training resumes from, the data that it reads, and batches of it to skip."""
  checkpoint = latest.to_resume(model_dir)[0]
  step = int(tf.train.load_variable(checkpoint, 'global_step')) if checkpoint else 0
  before = [segment for segment in read(model_dir) if checkpoint and segment.first_step <= step]
  now = _data(lengths, before, run.task)
  if not checkpoint or not SeenData().skip or _skipped_by_released_code():
    return before, now, 0
  if not before or before[-1].data != now:
    reason = 'it is other data than before' if before else f'{model_dir} has no {FILE} that says what was read'
    progress.note(run.reporter, f'Data is read from its beginning: {reason}.')
    return before, now, 0
  skipped = -(-sequences_seen(before, step) // batch)
  progress.note(run.reporter, f'Skipping the {skipped:,} batches of data that were read before step {step:,}.')
  return before, now, skipped


def _data(lengths: Mapping[str, int], before: Sequence[Segment], task: str | None) -> dict[str, Any]:
  """What decides the order of the data. Without SEED, the seed is that of the same data before, or drawn."""
  data = {
    'function': str(preflight.parameter('utils.run.train_dataset_fn')),
    'task': task or preflight.parameter('mesh_train_dataset_fn.mixture_or_task_name'),
    'lengths': dict(lengths),
    'seed': preflight.parameter(_SEED),
  }
  if data['seed'] is None:
    known = before[-1].data if before else {}
    same = all(known.get(name) == value for name, value in data.items() if name != 'seed')
    data['seed'] = known['seed'] if same else random.SystemRandom().randrange(1 << 31)
  return data


def _skipped_by_released_code() -> bool:
  return any(preflight.parameter(f'utils.run.{name}') for name in ('skip_seen_data', 'checkpoint_input_pipeline'))
