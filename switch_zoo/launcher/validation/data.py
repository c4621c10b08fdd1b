"""The validation split of a mixture: examples, targets, and the names of its metrics."""

import dataclasses
import functools
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import seqio
import tensorflow.compat.v1 as tf
import tensorflow_datasets as tfds
from mesh_tensorflow.transformer import dataset as mesh_dataset
from t5.models import mesh_transformer

from switch_zoo.errors import UserError
from switch_zoo.launcher import preflight

# What a model reads; a task's other features are for its metrics.
_FEATURES = ('inputs', 'targets')
# Of what a task draws, such as the masked spans: the same in every validation, and as in runs/perplexity.gin.
_SEED = 12345
# Examples from which the names of a task's metrics are learned.
_SAMPLE = 64


@dataclasses.dataclass(frozen=True)
class ValidationTask:
  """The validation examples of a task.

  dataset: with its name, post-processing and metrics
  examples: each feature -> its value
  targets: what the post-processing makes of each example's target
  """

  dataset: mesh_dataset.EvalDataset
  examples: Sequence[Mapping[str, Any]]
  targets: Sequence[Any]

  def measure(self, answers: Sequence[str]) -> dict[str, float]:
    """Metric -> value, of as many answers as there are examples."""
    post = self.dataset.postprocess_fn
    predictions = [post(text, example=example) for text, example in zip(answers, self.examples, strict=True)]
    values: dict[str, float] = {}
    for metric in self.dataset.metric_fns:
      values |= {name: float(value) for name, value in metric(self.targets, predictions).items()}
    return values


def datasets(
  mixture: str, split: str, lengths: Mapping[str, int], examples: int, measured: bool
) -> list[mesh_dataset.EvalDataset]:
  """The datasets of all tasks of a mixture that have the split.

  Args:
    mixture: name of a mixture or task
    split: its name
    lengths: of the features, in tokens
    examples: of each task; -1: all
    measured: leave out tasks without metrics
  Raises:
    UserError: no task has the split, or none a metric
  """
  tasks = seqio.get_subtasks(preflight.mixture_or_task(mixture))
  if not any(split in task.splits for task in tasks):
    splits = ', '.join(sorted({name for task in tasks for name in task.splits})) or 'none'
    raise UserError(
      f'EVAL_STEPS is set, and no task of {mixture} has the split "{split}" (EVAL_SPLIT). It has: {splits}. '
      'Name one of them, or leave out EVAL_STEPS.'
    )
  found = [
    mesh_dataset.EvalDataset(*dataset)
    for dataset in mesh_transformer.mesh_eval_dataset_fn(
      mixture_or_task_name=mixture,
      sequence_length=dict(lengths),
      dataset_split=split,
      num_eval_examples=examples,
      seed=_SEED,
    )
  ]
  with_metrics = [dataset for dataset in found if dataset.metric_fns]
  if measured and not with_metrics:
    raise UserError(
      f'EVAL_STEPS is set, and no task of {mixture} has a metric for its answers. Validate by perplexity: '
      '--gin_param="launcher.validation.measure = @launcher.Perplexity".'
    )
  return with_metrics if measured else found


def read(dataset: mesh_dataset.EvalDataset, limit: int | None = None) -> ValidationTask:
  """Reads the examples of a task.

  Args:
    dataset: of the task
    limit: examples that are read at most; None: all
  """
  with tf.Graph().as_default():
    examples = list(itertools.islice(tfds.as_numpy(dataset.dataset_fn()), limit))
  targets = [
    dataset.postprocess_fn(tf.compat.as_text(example['targets_pretokenized']), example=example, is_target=True)
    for example in examples
  ]
  return ValidationTask(dataset, examples, targets)


def metric_names(dataset: mesh_dataset.EvalDataset) -> list[str]:
  """The names of a task's metrics, learned by measuring the targets of some examples as if they were answers.

  Raises:
    UserError: there are no examples
  """
  task = read(dataset, _SAMPLE)
  if not task.examples:
    raise UserError(f'EVAL_STEPS is set, and the validation split of {dataset.name} has no examples.')
  return list(task.measure([tf.compat.as_text(example['targets_pretokenized']) for example in task.examples]))


def batches(found: Sequence[mesh_dataset.EvalDataset], batch_size: int, lengths: Mapping[str, int]) -> tf.data.Dataset:
  """The examples of all datasets one after another, in batches; the last one is filled up with padding."""
  features = lambda example: {name: example[name] for name in _FEATURES if name in example}
  each = [dataset.dataset_fn(sequence_length=dict(lengths)).map(features) for dataset in found]
  joined = functools.reduce(lambda first, second: first.concatenate(second), each)
  joined = joined.batch(batch_size, drop_remainder=False)
  return mesh_dataset.trim_and_pad_dataset(joined, length=batch_size).prefetch(tf.data.AUTOTUNE)
