"""The rows of a split's files as examples, and what becomes of rows that are malformed."""

import sys
import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any

import numpy as np
import seqio
import tensorflow as tf

from switch_zoo.errors import UserError
from switch_zoo.tasks import data_folder, example_datasets
from switch_zoo.tasks.raw_files import BadField, MalformedRow, RawRow
from switch_zoo.tasks.split_files import FoundFiles, RowFunction

# Examples that are shuffled together. Official files are in the order in which their authors left them, and a task of
# text to text is small.
SHUFFLED = 16384
_PARALLEL_FILES = 16
_PACKED = 4  # size of a text, roughly, in sizes of its gzip file
_PATIENCE = 10  # seconds
_REPORTED_ROWS = 3  # malformed rows that are reported one by one


def well_formed(row: RawRow | MalformedRow) -> RawRow:
  """The row; UserError, with file and line, if it is malformed."""
  if isinstance(row, MalformedRow):
    raise UserError(str(row))
  return row


def examples_of(row: RawRow, rows: RowFunction) -> list[dict[str, Any]]:
  """The examples that a row becomes.

  Raises:
    UserError: a field is not what it must be, with file, line and field
  """
  try:
    return list(rows(row.value))
  except BadField as error:
    what = str(error) if str(error).endswith(('.', '?')) else f'{error}.'
    raise UserError(str(MalformedRow(row.path, row.line, what, row.item))) from error


class SkippedRows:
  """Reports on stderr which rows of a file were skipped: once, not in every epoch."""

  def __init__(self) -> None:
    self._reported: set[str] = set()

  def report(self, path: str, num_rows: int, malformed: Sequence[str], last_line: int | None = None) -> None:
    """Reports the malformed rows of a file, if it has any.

    Args:
      path: of the file
      num_rows: all its rows
      malformed: a sentence about each malformed row
      last_line: where reading ended, if it ended before the end of the file
    """
    if not malformed:
      return
    end = f', and so is everything from line {last_line:,} on' if last_line else ''
    head = f'{path}: {len(malformed):,} of {num_rows:,} rows are malformed and left out{end}.'
    rest = f' ... and {len(malformed) - _REPORTED_ROWS:,} more' if len(malformed) > _REPORTED_ROWS else ''
    text = f'{head} {" ".join(malformed[:_REPORTED_ROWS])}{rest}'
    if text not in self._reported:
      self._reported.add(text)
      print(text, file=sys.stderr, flush=True)


class FirstExamples:
  """Says on stderr how many examples have been read, while those that are shuffled before the first step are read."""

  def __init__(self, num_files: int, clock: Callable[[], float] = time.monotonic) -> None:
    """
    Args:
      num_files: files of a pass
      clock: gives seconds
    """
    self._clock = clock
    self._files_left = num_files
    self._count = 0
    self._began = self._reported = 0.0

  def reported(self, examples: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The examples of a file, of which several may be read at the same time."""
    self._began = self._began or self._clock()
    self._reported = self._reported or self._began
    for example in examples:
      self._count += 1
      if self._files_left > 0 and self._count < SHUFFLED and self._clock() - self._reported > _PATIENCE:
        self._report()
      yield example
    self._files_left -= 1

  def _report(self) -> None:
    self._reported = self._clock()
    seconds = self._reported - self._began
    print(
      f'Reading: {self._count:,} examples in {seconds:.0f} s. Up to {SHUFFLED:,} are shuffled before the first step.',
      file=sys.stderr,
      flush=True,
    )


class FileRows:
  """The rows of a split that lies in files."""

  def __init__(self, files: FoundFiles, fields: example_datasets.Fields, skipped: SkippedRows | None = None) -> None:
    """Opens nothing.

    Args:
      files: of the split
      fields: of every example
      skipped: where malformed rows are reported; None: they are errors
    """
    self._paths, self._layout = files
    self._fields = fields
    self._skipped = skipped

  @property
  def shards(self) -> list[str]:
    """The files."""
    return list(self._paths)

  @property
  def version(self) -> Hashable:
    """Changes if the number of examples may have changed."""
    return self._skipped is not None, tuple((path, data_folder.size(path)) for path in self._paths)

  @property
  def num_bytes(self) -> int:
    """The size of the files; of gzip files, about that of their text."""
    return sum(data_folder.size(path) * (_PACKED if path.endswith('.gz') else 1) for path in self._paths)

  def check(self) -> None:
    """Reads the first example.

    Raises:
      UserError: a row before it is malformed, with file, line and field; or no file has any
    """
    if next(self.examples(), None) is None:
      names = ', '.join(self._paths[:_REPORTED_ROWS]) + (', ...' if len(self._paths) > _REPORTED_ROWS else '')
      left_out = ' Malformed rows were left out (task_data.skip_malformed).' if self._skipped else ''
      raise UserError(f'{names}: there is not a single row to train on or to evaluate.{left_out}')

  def records(self) -> Iterator[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """Every record and the examples it becomes; UserError for a malformed row."""
    for path in self._paths:
      for row in self._layout.reader.rows(path):
        row = well_formed(row)
        yield row.value, examples_of(row, self._layout.rows)

  def examples(self) -> Iterator[dict[str, Any]]:
    """The examples of all files; UserError for a malformed row that is not skipped."""
    for path in self._paths:
      yield from self._examples_in(path)

  def dataset(self, shuffle: bool, seed: int | None, shard_info: seqio.ShardInfo | None) -> tf.data.Dataset:
    """The examples as a dataset; arguments as in seqio."""
    paths = tf.data.Dataset.from_tensor_slices(np.array(self._paths, dtype=str))
    if shard_info:
      paths = paths.shard(shard_info.num_shards, shard_info.index)
    if shuffle:
      paths = paths.shuffle(len(self._paths), seed=seed)
    parallel = min(_PARALLEL_FILES, len(self._paths))
    waiting = FirstExamples(len(self._paths))
    read = (lambda path: waiting.reported(self._examples_in(path))) if shuffle else self._examples_in
    return example_datasets.from_files(paths, read, self._fields, parallel)

  def _examples_in(self, path: str) -> Iterator[dict[str, Any]]:
    malformed, num_rows, last_line = [], 0, None
    for row in self._layout.reader.rows(path):
      num_rows += 1
      try:
        yield from examples_of(well_formed(row), self._layout.rows)
      except UserError as error:
        if self._skipped is None:
          raise
        malformed.append(str(error))
        last_line = row.line if isinstance(row, MalformedRow) and row.rest else None
    if self._skipped is not None:
      self._skipped.report(path, num_rows, malformed, last_line)
