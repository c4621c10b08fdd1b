"""Validation during a training on PJRT: the hook of `launcher.validation`, over the weights on the devices."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import jax
import tensorflow.compat.v1 as tf
from tensorflow.compat.v1.estimator import ModeKeys

from switch_zoo.launcher import progress, run_state
from switch_zoo.launcher.validation import hook as validation_hook
from switch_zoo.pjrt import kept_checkpoints

Arrays = Mapping[str, jax.Array]
InputFn = Callable[[Any], Any]


class Measuring(Protocol):
  """What a training's Estimator can do with weights that are on the devices."""

  def use(self, prefix: str, variables: Arrays) -> None:
    """Takes these variables for those of a checkpoint, which then is not read."""
    ...

  def answers(self, input_fn: InputFn, prefix: str) -> Iterator[dict[str, Any]]:
    """An answer to each input."""
    ...

  def perplexity(self, input_fn: InputFn, prefix: str, steps: int | None = None) -> dict[str, float]:
    """Metric -> value over the batches."""
    ...


class _Model:
  """A model over some datasets (`measures.OnCheckpoints`)."""

  def __init__(self, estimator: Measuring, mode: str, datasets: Sequence[Callable[[], tf.data.Dataset]]) -> None:
    self._estimator, self._mode = estimator, mode
    self._input_fns: list[InputFn] = [lambda _, dataset=dataset: dataset() for dataset in datasets]

  def predict(self, input_fn: None = None, checkpoint_path: str = '') -> Iterator[dict[str, Any]]:
    """The predictions for each example, padding included."""
    assert self._mode == ModeKeys.PREDICT
    for read in self._input_fns:
      yield from self._estimator.answers(read, checkpoint_path)

  def evaluate(self, checkpoint_path: str) -> list[Mapping[str, float]]:
    """Metric -> value, over each dataset."""
    assert self._mode == ModeKeys.EVAL
    return [self._estimator.perplexity(read, checkpoint_path) for read in self._input_fns]


class _Saver:
  """Saves what is validated, and lets the Estimator measure what is on the devices (`hook.Saver`)."""

  def __init__(self, estimator: Measuring, saver: kept_checkpoints.Saver, variables: Callable[[], Arrays]) -> None:
    self._estimator, self._saver, self._variables = estimator, saver, variables

  def saved(self, session: Any, step: int) -> str:
    """The prefix of the checkpoint of this step."""
    variables = self._variables()
    prefix = self._saver.saved(step, variables)
    self._estimator.use(prefix, variables)
    return prefix


def hook_of(
  estimator: Measuring,
  settings: Mapping[str, Any],
  saver: kept_checkpoints.Saver,
  variables: Callable[[], Arrays],
  training: progress.Hook,
) -> validation_hook.ValidationHook | None:
  """The hook of a training, if it is validated. To be called in a graph with a global step.

  Args:
    estimator: that trains
    settings: that it was made with
    saver: of the training
    variables: gives the variables of the training by name, as they are now
    training: the hook that reports progress
  """
  make_model = lambda mode, datasets, num_batches: _Model(estimator, mode, datasets)
  saves = _Saver(estimator, saver, variables)
  return validation_hook.of_training(make_model, settings, saves, training, run_state.current())
