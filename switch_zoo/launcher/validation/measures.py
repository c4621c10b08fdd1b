"""What a validation measures: metrics of decoded answers as runs/eval.gin, or perplexity as runs/perplexity.gin."""

import abc
import functools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Protocol

import gin
import mesh_tensorflow.transformer.utils as mesh_utils
import tensorflow.compat.v1 as tf
from mesh_tensorflow.transformer import dataset as mesh_dataset
from tensorflow.compat.v1.estimator import ModeKeys

from switch_zoo.launcher.results import MetricResult
from switch_zoo.launcher.validation import data

_OF_TARGETS = ('neg_log_perplexity', 'token_accuracy', 'sequence_accuracy')


class OnCheckpoints(Protocol):
  """A model over some datasets, with the weights of one checkpoint after another."""

  def predict(self, input_fn: None = None, checkpoint_path: str = '') -> Iterator[dict[str, Any]]:
    """The predictions for each example, padding included, as `Estimator.predict` yields them."""
    ...

  def evaluate(self, checkpoint_path: str) -> list[Mapping[str, float]]:
    """Metric -> value, over each dataset."""
    ...


# From a mode of `tf.estimator.ModeKeys`, what makes the datasets, and how many batches they have, if that is known.
MakeModel = Callable[[str, Sequence[Callable[[], tf.data.Dataset]], int | None], OnCheckpoints]


class TrainedModel:
  """The model that is being trained, as a validation sees it."""

  def __init__(self, make_model: MakeModel, settings: Mapping[str, Any], folder: str | None) -> None:
    """
    Args:
      make_model: of the runtime that trains
      settings: what the model was made with: batch_size, sequence_length, vocabulary
      folder: where answers are written; None: they are not
    """
    self._make_model = make_model
    self.batch_size: int = settings['batch_size']
    self.lengths: Mapping[str, int] = settings['sequence_length']
    self.vocabulary = settings['vocabulary']
    self.folder = folder

  def on_checkpoints(
    self, mode: str, found: Sequence[Sequence[mesh_dataset.EvalDataset]], examples: int | None = None
  ) -> OnCheckpoints:
    """The model over groups of datasets; each group is one. examples: how many there are, if that is known"""
    num_batches = None if examples is None else -(-examples // self.batch_size)
    batches = lambda group: data.batches(group, self.batch_size, self.lengths)
    return self._make_model(mode, [functools.partial(batches, group) for group in found], num_batches)


class Measure(abc.ABC):
  """
  counted: the metrics that belong to the mean; None: all
  of_answers: tasks without a metric of their answers are left out
  """

  counted: ClassVar[Sequence[str] | None]
  of_answers: ClassVar[bool]

  @abc.abstractmethod
  def __init__(self, model: TrainedModel, found: Sequence[mesh_dataset.EvalDataset]) -> None:
    """
    Args:
      model: that is measured
      found: the datasets that it is measured on
    """

  @staticmethod
  @abc.abstractmethod
  def names(dataset: mesh_dataset.EvalDataset) -> list[str]:
    """The metrics of a task."""

  @abc.abstractmethod
  def measure(self, prefix: str, step: int) -> list[MetricResult]:
    """Measures the model with the weights of a checkpoint."""


@gin.configurable(module='launcher')
class DecodedMetrics(Measure):
  """The metrics of each task, of answers that the model decodes."""

  counted = None
  of_answers = True

  def __init__(self, model: TrainedModel, found: Sequence[mesh_dataset.EvalDataset]) -> None:
    self._model = model
    self._tasks = [data.read(dataset) for dataset in found]
    self._on_checkpoints: OnCheckpoints | None = None

  @staticmethod
  def names(dataset: mesh_dataset.EvalDataset) -> list[str]:
    """The metrics of a task."""
    return data.metric_names(dataset)

  def measure(self, prefix: str, step: int) -> list[MetricResult]:
    """Decodes the inputs with the weights of a checkpoint, and measures the answers of each task."""
    self._on_checkpoints = self._on_checkpoints or self._model.on_checkpoints(
      ModeKeys.PREDICT, [[task.dataset for task in self._tasks]], sum(len(task.examples) for task in self._tasks)
    )
    decoded = mesh_utils.decode(self._on_checkpoints, None, self._model.vocabulary, prefix)
    answers = [tf.compat.as_text(answer) for answer in decoded]
    measured, start = [], 0
    for task in self._tasks:
      of_task = answers[start : start + len(task.examples)]
      start += len(task.examples)
      if self._model.folder is not None:
        path = os.path.join(self._model.folder, f'{task.dataset.name}_{step}_predictions')
        mesh_utils.write_lines_to_file(of_task, path)
      measured += [MetricResult(task.dataset.name, name, step, value) for name, value in task.measure(of_task).items()]
    return measured


@gin.configurable(module='launcher')
class Perplexity(Measure):
  """Negative log perplexity and accuracies of the targets, by teacher forcing."""

  counted = ('neg_log_perplexity',)
  of_answers = False

  def __init__(self, model: TrainedModel, found: Sequence[mesh_dataset.EvalDataset]) -> None:
    self._model, self._found = model, found
    self._on_checkpoints: OnCheckpoints | None = None

  @staticmethod
  def names(dataset: mesh_dataset.EvalDataset) -> list[str]:
    """The metrics of a task."""
    return list(_OF_TARGETS)

  def measure(self, prefix: str, step: int) -> list[MetricResult]:
    """Measures each task with the weights of a checkpoint."""
    self._on_checkpoints = self._on_checkpoints or self._model.on_checkpoints(
      ModeKeys.EVAL, [[dataset] for dataset in self._found]
    )
    measured = zip(self._found, self._on_checkpoints.evaluate(prefix), strict=True)
    return [
      MetricResult(dataset.name, name, step, values[name]) for dataset, values in measured for name in _OF_TARGETS
    ]
