"""The hook that validates a training on its way, keeps the best checkpoint, and ends the training when it is time."""

import os
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import tensorflow.compat.v1 as tf

from switch_zoo.launcher import preflight, progress, run_state
from switch_zoo.launcher.validation import best, history, measures, scores
from switch_zoo.launcher.validation.settings import ValidationSettings


class Saver(Protocol):
  """What saves the checkpoint that is validated."""

  def saved(self, session: tf.Session, step: int) -> str:
    """The prefix of the checkpoint of this step, the last that was done; it is saved if it is not yet."""
    ...


class ValidationHook(tf.train.SessionRunHook):
  """Validates every so many steps and at the end."""

  def __init__(
    self,
    settings: ValidationSettings,
    every: int,
    make_measure: Callable[[], measures.Measure],
    saver: Saver,
    training: progress.Hook,
    model_dir: str,
    reporter: progress.Reporter,
    processes: run_state.Processes,
  ) -> None:
    """
    Args:
      settings: of the validations
      every: steps between them
      make_measure: called before the first validation
      saver: saves the checkpoint that is validated
      training: is told when training ends early
      model_dir: the folder of the training
      reporter: receives sentences
      processes: of the training
    """
    self._settings = settings
    self._every = every
    self._make_measure = make_measure
    self._measure: measures.Measure | None = None
    self._saver = saver
    self._training = training
    self._model_dir = model_dir
    self._reporter = reporter
    self._processes = processes
    self._global_step = tf.train.get_global_step()
    self._step = 0

  def after_create_session(self, session: tf.Session, coord: Any) -> None:
    """Reads the step that training begins with; a validation of this step that a kill prevented is made now."""
    self._step = int(session.run(self._global_step))
    if self._processes.is_chief:
      best.remove_leftovers(self._model_dir)
    self._processes.agreed(True)  # the others read what is left
    self._history = history.History(self._model_dir, self._step, self._processes.is_chief)
    is_due = self._step > 0 and self._step % self._every == 0 and not self._is_validated()
    if self._processes.agreed(is_due):
      self._validate(session)

  def after_run(self, run_context: tf.train.SessionRunContext, run_values: Any) -> None:
    """Counts the step; validates if it is time to, and stops the training if nothing gets better."""
    self._step += 1
    if self._step % self._every:
      return
    self._validate(run_context.session)
    patience = self._settings.patience
    if patience is not None and self._processes.agreed(self._history.since_best() >= patience):
      progress.note(self._reporter, f'Stopping: the last {patience} validations were not better (PATIENCE).')
      self._training.end_here()
      run_context.request_stop()

  def end(self, session: tf.Session) -> None:
    """Validates the last step, and prints what all validations measured."""
    if self._processes.agreed(not self._is_validated()):
      self._validate(session)
    progress.note(self._reporter, history.table(self._history))
    if self._history.best:
      place = os.path.join(self._model_dir, best.FOLDER)
      text = f'Best: step {self._history.best.step:,} in {place}: {_metrics(self._history.best, ", ")}'
      progress.note(self._reporter, text)

  def _is_validated(self) -> bool:
    return any(validation.step == self._step for validation in self._history.validations)

  def _validate(self, session: tf.Session) -> None:
    began = time.monotonic()
    prefix = self._saver.saved(session, self._step)
    if self._measure is None:
      progress.note(self._reporter, f'Validating after step {self._step:,}: reading the examples, building the graph.')
      self._measure = self._make_measure()
    measured = self._measure.measure(prefix, self._step)
    score = scores.of_results(measured, self._settings.metric, self._measure.counted)
    metrics = {f'{result.task}/{result.metric}': result.value for result in measured}
    validation = history.Validation(self._step, score, metrics, round(time.monotonic() - began, 3))
    if self._history.is_best(validation) and self._processes.is_chief:
      name = self._settings.metric or scores.MEAN
      record = {'step': self._step, 'metric': name, 'score': score, 'seconds': validation.seconds, 'metrics': metrics}
      best.keep(self._model_dir, prefix, record)
    # Afterwards: a kill in between makes the same validation again.
    self._history.add(validation)
    if self._processes.is_chief:
      self._summarize(metrics)
    self._report(validation)
    self._training.exclude(time.monotonic() - began)

  def _summarize(self, metrics: dict[str, float]) -> None:
    """Writes what runs/eval.gin writes for TensorBoard, where it writes it."""
    # Outside of the training's graph, which TensorFlow would write into the file.
    with tf.Graph().as_default():
      writer = tf.summary.FileWriterCache.get(folder(self._model_dir, self._settings))
    values = [tf.Summary.Value(tag=f'eval/{name}', simple_value=value) for name, value in metrics.items()]
    writer.add_summary(tf.Summary(value=values), self._step)
    writer.flush()

  def _report(self, validation: history.Validation) -> None:
    is_best = self._history.best is not None and self._history.best.step == validation.step
    text = f'validation {validation.step:,}  score {validation.score:.4f}{" (best)" if is_best else ""}  '
    progress.note(self._reporter, f'{text}{_metrics(validation, "  ")}  {validation.seconds:.1f} s')


def _metrics(validation: history.Validation, separator: str) -> str:
  """'accuracy 71.4286  f1 62.5000'; with their task if there are several."""
  several = len({name.rpartition('/')[0] for name in validation.metrics}) > 1
  shown = lambda name: name if several else name.rpartition('/')[2]
  return separator.join(f'{shown(name)} {value:.4f}' for name, value in validation.metrics.items())


def folder(model_dir: str, settings: ValidationSettings) -> str:
  """Where the summaries and answers of validations are: the folder of runs/eval.gin."""
  return os.path.join(model_dir, f'{settings.split}_eval')


def of_training(
  make_model: measures.MakeModel,
  made_with: Mapping[str, Any],
  saver: Saver,
  training: progress.Hook,
  run: run_state.Run,
) -> ValidationHook | None:
  """The hook of a training, if it is validated. To be called in a graph with a global step.

  Args:
    make_model: of the runtime that trains
    made_with: what the model was made with: model_dir, batch_size, sequence_length, vocabulary
    saver: saves the checkpoint that is validated
    training: the hook that reports progress
    run: the run
  """
  settings, model_dir, processes = ValidationSettings(), made_with['model_dir'], run.processes
  if settings.every is None:
    return None
  mixture = run.task or preflight.parameter('mesh_train_dataset_fn.mixture_or_task_name')

  def make_measure() -> measures.Measure:
    place = folder(model_dir, settings) if processes.is_chief else None
    model = measures.TrainedModel(make_model, made_with, place)
    return settings.measure(model, settings.datasets(mixture, made_with['sequence_length']))

  return ValidationHook(settings, settings.every, make_measure, saver, training, model_dir, run.reporter, processes)
