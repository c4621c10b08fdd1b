"""What a validation measures: metrics of decoded answers as runs/eval.gin, or perplexity as runs/perplexity.gin."""

import abc
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import gin
import mesh_tensorflow.transformer.utils as mesh_utils
import tensorflow.compat.v1 as tf
from mesh_tensorflow.transformer import dataset as mesh_dataset
from tensorflow.compat.v1.estimator import ModeKeys

from switch_zoo.launcher.results import MetricResult
from switch_zoo.launcher.validation import data
from switch_zoo.launcher.validation.checkpoint_model import CheckpointModel

_OF_TARGETS = ('neg_log_perplexity', 'token_accuracy', 'sequence_accuracy')


class TrainedModel:
  """The model that is being trained, as a validation sees it."""

  def __init__(self, model_fn: Callable[..., Any], settings: Mapping[str, Any], folder: str) -> None:
    """
    Args:
      model_fn: the released model function
      settings: what it was made with: batch_size, sequence_length, vocabulary
      folder: where answers are written
    """
    self.model_fn = model_fn
    self.batch_size: int = settings['batch_size']
    self.lengths: Mapping[str, int] = settings['sequence_length']
    self.vocabulary = settings['vocabulary']
    self.folder = folder

  def on_checkpoints(
    self, mode: str, found: Sequence[mesh_dataset.EvalDataset], examples: int | None = None
  ) -> CheckpointModel:
    """The model over datasets. examples: how many they have, if that is known"""
    num_batches = None if examples is None else -(-examples // self.batch_size)
    return CheckpointModel(self.model_fn, mode, lambda: data.batches(found, self.batch_size, self.lengths), num_batches)


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
    self._on_checkpoints: CheckpointModel | None = None

  @staticmethod
  def names(dataset: mesh_dataset.EvalDataset) -> list[str]:
    """The metrics of a task."""
    return data.metric_names(dataset)

  def measure(self, prefix: str, step: int) -> list[MetricResult]:
    """Decodes the inputs with the weights of a checkpoint, and measures the answers of each task."""
    self._on_checkpoints = self._on_checkpoints or self._model.on_checkpoints(
      ModeKeys.PREDICT, [task.dataset for task in self._tasks], sum(len(task.examples) for task in self._tasks)
    )
    decoded = mesh_utils.decode(self._on_checkpoints, None, self._model.vocabulary, prefix)
    answers = [tf.compat.as_text(answer) for answer in decoded]
    measured, start = [], 0
    for task in self._tasks:
      of_task = answers[start : start + len(task.examples)]
      start += len(task.examples)
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
    self._on_checkpoints: dict[str, CheckpointModel] = {}

  @staticmethod
  def names(dataset: mesh_dataset.EvalDataset) -> list[str]:
    """The metrics of a task."""
    return list(_OF_TARGETS)

  def measure(self, prefix: str, step: int) -> list[MetricResult]:
    """Measures each task with the weights of a checkpoint."""
    measured = []
    for dataset in self._found:
      if dataset.name not in self._on_checkpoints:
        self._on_checkpoints[dataset.name] = self._model.on_checkpoints(ModeKeys.EVAL, [dataset])
      values = self._on_checkpoints[dataset.name].evaluate(prefix)
      measured += [MetricResult(dataset.name, name, step, values[name]) for name in _OF_TARGETS]
    return measured
