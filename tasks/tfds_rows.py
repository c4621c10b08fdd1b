"""The bridge to TensorFlow Datasets: its rows become the records of the official files, and then the same examples."""

import contextlib
import dataclasses
from collections.abc import Callable, Hashable, Iterator, Mapping
from typing import Any

import numpy as np
import seqio
import tensorflow as tf
import tensorflow_datasets as tfds
from tensorflow.python.eager import context

from switch_zoo.errors import UserError
from switch_zoo.tasks import example_datasets
from switch_zoo.tasks.split_files import RowFunction


@dataclasses.dataclass(frozen=True)
class TfdsDataset:
  """A data set of TensorFlow Datasets.

  name: with configuration and version, 'super_glue/cb:1.0.2'
  splits: from our names of splits to theirs
  record: from a row of theirs (Python values) to the record of the official file
  """

  name: str
  splits: Mapping[str, str]
  record: Callable[[dict[str, Any]], dict[str, Any]]

  def records(self, split: str, shuffle: bool = False, seed: int | None = None) -> Iterator[dict[str, Any]]:
    """The records of a split.

    Raises:
      UserError: the data set has not been prepared
    """
    # The thread that asks for a row may be another one each time, and Mesh-TensorFlow switches eager mode off.
    with _eager_mode():
      rows = self._open(split, shuffle, seed)
    while True:
      with _eager_mode():
        row = next(rows, None)
        if row is None:
          return
        row = tf.nest.map_structure(_python_value, row)
      yield self.record(row)

  def _open(self, split: str, shuffle: bool, seed: int | None) -> Iterator[dict[str, Any]]:
    source = seqio.TfdsDataSource(self.name, splits=dict(self.splits), read_only=True)
    try:
      return iter(source.get_dataset(split, shuffle=shuffle, seed=seed))
    except (AssertionError, tfds.core.DatasetNotFoundError) as error:
      raise UserError(
        f'TensorFlow Datasets has no prepared {self.name} ({str(error).splitlines()[0]}). Prepare it with '
        f'`tfds build {self.name}` and name its folder (--t5_tfds_data_dir, or TFDS_DATA_DIR); without '
        'task_data.use_tfds the official files are read.'
      ) from error


class TfdsRows:
  """The rows of a split that is read from TensorFlow Datasets."""

  def __init__(self, dataset: TfdsDataset, split: str, rows: RowFunction, fields: example_datasets.Fields) -> None:
    """Opens nothing.

    Args:
      dataset: the data set
      split: our name of the split
      rows: from a record to examples
      fields: of every example
    """
    self._dataset = dataset
    self._split = split
    self._rows = rows
    self._fields = fields

  @property
  def shards(self) -> list[str]:
    """One: TensorFlow Datasets shards and shuffles its files itself."""
    return [self._split]

  @property
  def version(self) -> Hashable:
    """Changes if the number of examples may have changed: the name has a version in it."""
    return self._dataset.name, self._split

  @property
  def num_bytes(self) -> None:
    """Not known."""

  def check(self) -> None:
    """Reads the first example; UserError if there is none, or the data set has not been prepared."""
    if next(self.examples(), None) is None:
      raise UserError(f'{self._dataset.name} ({self._split}): there is not a single row to train on or to evaluate.')

  def records(self) -> Iterator[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """Every record and the examples it becomes."""
    for record in self._dataset.records(self._split):
      yield record, list(self._rows(record))

  def examples(self, shuffle: bool = False, seed: int | None = None) -> Iterator[dict[str, Any]]:
    """All examples; a test split without labels is what the row function makes of it."""
    for record in self._dataset.records(self._split, shuffle, seed):
      yield from self._rows(record)

  def dataset(self, shuffle: bool, seed: int | None, shard_info: seqio.ShardInfo | None) -> tf.data.Dataset:
    """The examples as a dataset; arguments as in seqio, with `shard_info` unused as there is only one shard."""
    del shard_info
    return example_datasets.from_examples(lambda: self.examples(shuffle, seed), self._fields)


@contextlib.contextmanager
def _eager_mode() -> Iterator[None]:
  with context.eager_mode():  # pyright: ignore[reportGeneralTypeIssues] - TensorFlow's decorator hides the type
    yield


def _python_value(tensor: tf.Tensor | tf.RaggedTensor) -> Any:
  if isinstance(tensor, tf.RaggedTensor):
    return _as_text(tensor.to_list())
  value = tensor.numpy()
  return _as_text(value.tolist() if isinstance(value, (np.ndarray, np.generic)) else value)


def _as_text(value: Any) -> Any:
  if isinstance(value, list):
    return [_as_text(item) for item in value]
  return value.decode('utf-8') if isinstance(value, bytes) else value
