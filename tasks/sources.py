"""A seqio source over official release files: found in the data folder, read as a stream, precise about what is bad.

The rows of a file go through a function in pure Python, which makes text-to-text examples of them; so the same function
serves files, TensorFlow Datasets and a test.
"""

import dataclasses
import itertools
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import seqio
import tensorflow as tf
import tensorflow_datasets as tfds
from tensorflow.python.eager import context

from switch_zoo.errors import UserError
from switch_zoo.tasks import data_folder
from switch_zoo.tasks.readers import BadField, Malformed, Reader, Record

Rows = Callable[[dict[str, Any]], Iterable[dict[str, Any]]]

TEXT_TO_TEXT = {name: tf.TensorSpec([], tf.string) for name in ('inputs', 'targets')}
_PARALLEL_FILES = 16
_ROWS_AT_ONCE = 64
_SHOWN = 3  # malformed rows that are told one by one


@dataclasses.dataclass(frozen=True)
class Files:
  """One way in which a split can lie on a disk.

  pattern: name of the file, or of its shards with wildcards; NAME.gz is found too
  reader: of the format
  rows: from a record to examples {'inputs': .., 'targets': .., ...}; raises BadField
  """

  pattern: str
  reader: Reader
  rows: Rows


@dataclasses.dataclass(frozen=True)
class Tfds:
  """The same data in TensorFlow Datasets.

  name: with configuration and version, 'super_glue/cb:1.0.2'
  splits: from our names of splits to theirs
  record: from their row (Python values) to the record of the official file, of which `rows` of the first of the
    split's `Files` makes examples
  """

  name: str
  splits: Mapping[str, str]
  record: Callable[[dict[str, Any]], dict[str, Any]]


class Found(NamedTuple):
  """The files of a split and how they are read."""

  paths: tuple[str, ...]
  files: Files


class State(NamedTuple):
  """Whether a task can run.

  missing: what was looked for and not found, one a split; empty: ready
  where: where to get it
  """

  missing: tuple[str, ...]
  where: str


class FileSource(seqio.DataSource):
  """Rows of official files as a dataset; shards are read in parallel and in a fixed order."""

  def __init__(
    self,
    folders: Sequence[str],
    splits: Mapping[str, Sequence[Files]],
    where: str,
    fields: Mapping[str, tf.TensorSpec] | None = None,
    tfds: Tfds | None = None,
  ):
    """Opens nothing.

    Args:
      folders: below the data folder; the first that has a file of the split is taken
      splits: of each split the ways in which it can lie there, the first that is there is taken
      where: a sentence that says where to get the files
      fields: what `rows` yields; `inputs` and `targets` (<string>[]) where not given
      tfds: the same data in TensorFlow Datasets, read where gin says so
    """
    super().__init__(splits=splits)
    self.folders = tuple(folders)
    self.ways = {split: tuple(ways) for split, ways in splits.items()}
    self.where = where
    self.fields = dict(fields or TEXT_TO_TEXT)
    self.tfds = tfds
    self._counts: dict[Any, int] = {}
    self._reported: set[str] = set()

  @property
  def supports_arbitrary_sharding(self) -> bool:
    """Only whole files are shards."""
    return False

  def list_shards(self, split: str) -> Sequence[str]:
    """The files of a split; one name where it is read from TensorFlow Datasets."""
    return [split] if self._from_tfds() else list(self.found(split).paths)

  def get_dataset(self, split='train', shuffle=True, seed=None, shard_info=None, **unused) -> tf.data.Dataset:
    """The rows of a split as a dataset; arguments as in seqio.

    Raises:
      UserError: files are missing (now), or a row is malformed (when it is read)
    """
    skip = data_folder.task_data().skip_malformed
    if self._from_tfds():
      rows = self._dataset(lambda: self.tfds_examples(split, shuffle, seed))
      return rows.unbatch() if self._are_together else rows
    found = self.found(split)
    paths = tf.data.Dataset.from_tensor_slices(np.array(found.paths, dtype=str))
    if shard_info:
      paths = paths.shard(shard_info.num_shards, shard_info.index)
    if shuffle:
      paths = paths.shuffle(len(found.paths), seed=seed)
    read = lambda path: self._dataset(lambda name: self.examples(tf.compat.as_str(name), found.files, skip), (path,))
    together = min(_PARALLEL_FILES, len(found.paths))
    rows = paths.interleave(read, together, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    return rows.unbatch() if self._are_together else rows

  def num_input_examples(self, split: str) -> int:
    """The number of examples, counted in one pass over the files.

    Raises:
      UserError: files are missing, or a row is malformed
    """
    if self._from_tfds():
      return sum(1 for _ in self.tfds_examples(split))
    found = self.found(split)
    skip = data_folder.task_data().skip_malformed
    key = skip, tuple((path, tf.io.gfile.stat(path).length) for path in found.paths)
    if key not in self._counts:
      self._counts[key] = sum(1 for path in found.paths for _ in self.examples(path, found.files, skip))
    return self._counts[key]

  def found(self, split: str) -> Found:
    """The files of a split.

    Raises:
      UserError: there are none, with what was looked for and where to get it
    """
    folder = data_folder.required(f'The split "{split}" of {self.folders[0]}', self.where)
    found = self._find(folder, split)
    if found is None:
      raise UserError(f'{self._looked_for(folder, split)}: there is no such file. {self.where}')
    return found

  def check(self, split: str) -> None:
    """Refuses a split whose files are missing, or whose first row is malformed: before a run has written anything.

    Raises:
      UserError: with what was looked for, or where the row stands
    """
    if self._from_tfds():
      next(self.tfds_examples(split), None)
      return
    found = self.found(split)
    next(self.examples(found.paths[0], found.files, data_folder.task_data().skip_malformed), None)

  def absent(self, split: str) -> str | None:
    """What of a split was looked for and is not there; None if it is."""
    if self._from_tfds():
      return None
    try:
      self.found(split)
    except UserError as error:
      no_folder = self.ways[split] and not data_folder.task_data().folder
      return self._looked_for('', split) if no_folder else str(error).replace(self.where, '').strip()
    return None

  def state(self) -> State:
    """Whether the files of every split are there."""
    if self._from_tfds():
      return State((), f'TensorFlow Datasets: {self.tfds.name}')
    folder = data_folder.task_data().folder
    missing = (self._looked_for(folder, split) for split in self.splits if not folder or not self._find(folder, split))
    return State(tuple(missing), self.where)

  def records(self, split: str) -> Iterator[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """The raw records of a split and the examples each becomes, from the first file on; malformed ones are an error."""
    if self._from_tfds():
      for raw in self._tfds_rows(split, shuffle=False, seed=None):
        record = self.tfds.record(raw)
        yield record, list(self.ways[split][0].rows(record))
      return
    found = self.found(split)
    for path in found.paths:
      for record in found.files.reader.records(path):
        yield getattr(record, 'value', None), _examples(record, found.files.rows)

  def examples(self, path: str, files: Files, skip: bool) -> Iterator[dict[str, Any]]:
    """The examples of one file.

    Args:
      path: of the file
      files: how it is read
      skip: whether malformed rows are counted and reported on stderr, instead of an error
    Raises:
      UserError: a row is malformed, with file, line and field
    """
    malformed, number = [], 0
    for record in files.reader.records(path):
      number += 1
      try:
        yield from _examples(record, files.rows)
      except UserError as error:
        if not skip:
          raise
        malformed.append(str(error))
    if malformed:
      self._report(f'{path}: {len(malformed):,} of {number:,} rows are malformed and left out.', malformed)

  def tfds_examples(self, split: str, shuffle: bool = False, seed: int | None = None) -> Iterator[dict[str, Any]]:
    """The examples of a split as TensorFlow Datasets has it; a test split without labels is what `rows` makes of it."""
    for row in self._tfds_rows(split, shuffle, seed):
      yield from self.ways[split][0].rows(self.tfds.record(row))

  def _tfds_rows(self, split, shuffle, seed):
    source = seqio.TfdsDataSource(self.tfds.name, splits=dict(self.tfds.splits), read_only=True)
    with context.eager_mode():
      try:
        rows = iter(source.get_dataset(split, shuffle=shuffle, seed=seed))
      except (AssertionError, tfds.core.DatasetNotFoundError) as error:
        raise UserError(
          f'TensorFlow Datasets has no prepared {self.tfds.name} ({str(error).splitlines()[0]}). Prepare it with '
          f'`tfds build {self.tfds.name}` and name its folder (--t5_tfds_data_dir, or TFDS_DATA_DIR); without '
          'task_data.use_tfds the official files are read.'
        ) from error
    while True:
      # Whoever pulls may be another thread each time, and Mesh-TensorFlow has switched eager mode off.
      with context.eager_mode():
        row = next(rows, None)
        if row is None:
          return
        row = tf.nest.map_structure(_python_value, row)
      yield row

  def _from_tfds(self):
    return self.tfds is not None and data_folder.task_data().use_tfds

  def _find(self, folder, split):
    for below in self.folders:
      for files in self.ways[split]:
        paths = data_folder.find(os.path.join(folder, below), files.pattern)
        needed = [need for path in paths for need in files.reader.needs(path)]
        if paths and all(map(tf.io.gfile.exists, needed)):
          return Found(tuple(paths), files)
    return None

  def _looked_for(self, folder, split):
    names = [os.path.join(below, files.pattern) for below in self.folders for files in self.ways[split]]
    return f'{" or ".join(names)} (or .gz) in {folder or "the data folder"}'

  def _dataset(self, generator, args=()):
    """What a generator of rows yields, many rows together where no field is a list."""
    if not self._are_together:
      return tf.data.Dataset.from_generator(generator, args=args, output_signature=self.fields)
    columns = {name: tf.TensorSpec([None], spec.dtype) for name, spec in self.fields.items()}
    batches = lambda *args: self._batches(generator(*args))
    return tf.data.Dataset.from_generator(batches, args=args, output_signature=columns)

  @property
  def _are_together(self):
    """Whether rows are handed to TensorFlow many at a time: each time costs as much as parsing a row."""
    return not any(spec.shape.rank for spec in self.fields.values())

  def _batches(self, rows):
    while batch := list(itertools.islice(rows, _ROWS_AT_ONCE)):
      yield {name: _column([row[name] for row in batch], spec.dtype) for name, spec in self.fields.items()}

  def _report(self, head, malformed):
    rest = f' ... and {len(malformed) - _SHOWN:,} more' if len(malformed) > _SHOWN else ''
    text = f'{head} {" ".join(malformed[:_SHOWN])}{rest}'
    if text not in self._reported:  # once, not in every epoch
      self._reported.add(text)
      print(text, file=sys.stderr, flush=True)


def _examples(record: Record | Malformed, rows: Rows) -> list[dict[str, Any]]:
  if isinstance(record, Malformed):
    raise UserError(str(record))
  try:
    return list(rows(record.value))
  except BadField as error:
    what = str(error) if str(error).endswith(('.', '?')) else f'{error}.'
    raise UserError(str(Malformed(record.path, record.line, what, record.item))) from error


def _column(values, dtype):
  if dtype != tf.string:
    return np.array(values, dtype.as_numpy_dtype)
  return np.array([value.encode('utf-8') if isinstance(value, str) else value for value in values], object)


def _python_value(tensor):
  if isinstance(tensor, tf.RaggedTensor):
    return _as_text(tensor.to_list())
  value = tensor.numpy()
  return _as_text(value.tolist() if isinstance(value, (np.ndarray, np.generic)) else value)


def _as_text(value):
  if isinstance(value, list):
    return [_as_text(one) for one in value]
  return value.decode('utf-8') if isinstance(value, bytes) else value
