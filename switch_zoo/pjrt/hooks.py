"""What the launcher's hooks are given in place of a TensorFlow session: they ask for the step, and take values."""

import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gin.tf
import tensorflow.compat.v1 as tf

from switch_zoo.launcher import progress, run_state, saving, seen_data, summary_hook
from switch_zoo.launcher.validation import hook as validation_hook

MakeValidation = Callable[[progress.Hook], validation_hook.ValidationHook | None]
_NOT_EXPORTED = ('loss', 'learning_rate')


class StepSession:
  """A session that knows the step and nothing else."""

  def __init__(self, step: int) -> None:
    self._step = step

  def run(self, _: Any) -> int:
    """The step, which is all that is asked for."""
    return self._step


class TrainingHooks:
  """Progress, summaries, and the records of a training: the hooks of the TensorFlow runtime.

  Args:
    run: receives the progress
    model_dir: folder of the summaries and records; None: this process writes none
    outputs: names of a step's outputs
    others: hooks that were given to the Estimator, such as the record of the data
  """

  def __init__(self, run: run_state.Run, model_dir: str | None, outputs: Sequence[str], others: Sequence[Any]) -> None:
    self._exported = [name for name in outputs if name not in _NOT_EXPORTED]
    with tf.Graph().as_default() as self._graph:
      tf.train.get_or_create_global_step()
      settings = saving.Saving()
      self._progress = progress.Hook(tf.constant(0.0), {}, run.reporter, run.last_step)
      self._validation: validation_hook.ValidationHook | None = None
      self._summaries, self._others = [], []
      if model_dir is not None:
        saving.open_events(model_dir, settings)
        self._summaries = [summary_hook.SummaryHook({}, model_dir, settings.summary_steps)]
        configuration = gin.tf.GinConfigSaverHook(model_dir, summarize_config=True, include_step_in_filename=False)
        self._others = [*others, configuration]

  def validate(self, make: MakeValidation) -> None:
    """Adds validations, if there are any. make: from the hook that reports progress to the hook that validates"""
    with self._graph.as_default():
      self._validation = make(self._progress)

  def begin(self, step: int) -> None:
    """Training begins after `step` steps."""
    with self._graph.as_default():
      for hook in self._others:
        hook.begin()
      validations = [] if self._validation is None else [self._validation]
      for hook in (*self._others, self._progress, *self._summaries, *validations):
        hook.after_create_session(StepSession(step), None)

  def step(self, outputs: Mapping[str, Any]) -> None:
    """A step was done. outputs: what it gave; values are read only if they are reported"""
    exported = {name: outputs[name] for name in self._exported}
    results = {'loss': outputs['loss'], 'exported': exported}
    self._progress.after_run(None, types.SimpleNamespace(results=results))
    for hook in self._summaries:
      hook.after_run(None, types.SimpleNamespace(results={'values': outputs}))

  def validated(self, step: int) -> bool:
    """Validates if it is time to after a step; whether training is to end because nothing gets better."""
    if self._validation is None:
      return False
    context = tf.train.SessionRunContext(None, StepSession(step))
    self._validation.after_run(context, None)
    return bool(context.stop_requested)

  def end(self) -> None:
    """Training is over."""
    for hook in (*self._summaries, self._progress):
      hook.end(None)
    if self._validation is not None:
      self._validation.end(None)


def seed_of_data(model_dir: str) -> int | None:
  """The seed of the order in which the data of a folder was read so far; None if there is none."""
  segments = seen_data.read(model_dir)
  return segments[-1].data.get('seed') if segments else None
