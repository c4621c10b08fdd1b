"""seqio sources over files: what they read is searched for when it is needed, and they can say what is missing."""

import abc
from collections.abc import Collection, Hashable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import seqio
import tensorflow as tf

from switch_zoo.errors import UserError, paragraph
from switch_zoo.tasks import data_folder, example_datasets
from switch_zoo.tasks.file_rows import FileRows, SkippedRows
from switch_zoo.tasks.split_files import FileFinder, FoundFiles, SplitFiles
from switch_zoo.tasks.tfds_rows import TfdsDataset, TfdsRows


class SourceState(NamedTuple):
  """Whether a task can run.

  missing: what was searched for and not found, one item per split; empty: ready
  where: where to get it
  """

  missing: tuple[str, ...]
  where: str


class SplitRows(Protocol):
  """The rows of a split, wherever they are; documented at `FileRows`."""

  @property
  def shards(self) -> list[str]: ...

  @property
  def version(self) -> Hashable: ...

  @property
  def num_bytes(self) -> int | None: ...

  def check(self) -> None: ...

  def records(self) -> Iterator[tuple[dict[str, Any], list[dict[str, Any]]]]: ...

  def examples(self) -> Iterator[dict[str, Any]]: ...

  def dataset(self, shuffle: bool, seed: int | None, shard_info: seqio.ShardInfo | None) -> tf.data.Dataset: ...


class FileSource(seqio.DataSource):
  """Rows of files as a dataset; shards are read in parallel and in a fixed order."""

  def __init__(self, splits: Collection[str], where: str, fields: example_datasets.Fields | None = None) -> None:
    """Opens nothing.

    Args:
      splits: their names
      where: a sentence that says where to get the files
      fields: of every example; `inputs` and `targets` (<string>[]) if not given
    """
    super().__init__(splits=splits)
    self.where = where
    self.fields = dict(fields or example_datasets.TEXT_TO_TEXT)
    self._skipped = SkippedRows()
    self._counts: dict[Hashable, int] = {}

  @abc.abstractmethod
  def find_files(self, split: str) -> FoundFiles:
    """The files of a split.

    Raises:
      UserError: there are none, with what was searched for and where to get it
    """

  @abc.abstractmethod
  def state(self) -> SourceState:
    """Whether the files of every split are there."""

  def split_rows(self, split: str) -> SplitRows:
    """The rows of a split; UserError if its files are missing."""
    skipped = self._skipped if data_folder.task_data().skip_malformed else None
    return FileRows(self.find_files(split), self.fields, skipped)

  def absent(self, split: str) -> str | None:
    """What was searched for, of a split that is not there; None if it is there."""
    try:
      self.find_files(split)
    except UserError as error:
      return paragraph(error).replace(self.where, '').strip()
    return None

  def check(self, split: str) -> None:
    """Refuses a split whose files are missing or whose first row is malformed, before a run has written anything.

    Raises:
      UserError: with what was searched for, or with file, line and field of the row
    """
    self.split_rows(split).check()

  def records(self, split: str) -> Iterator[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """The records of a split and the examples each becomes, from the first file on; malformed rows are errors."""
    return self.split_rows(split).records()

  def examples(self, split: str) -> Iterator[dict[str, Any]]:
    """The examples of a split, from the first file on.

    Raises:
      UserError: files are missing (now), or a row is malformed (when it is read)
    """
    return self.split_rows(split).examples()

  def num_input_examples(self, split: str) -> int | None:
    """The number of examples, counted in one pass over the files.

    Raises:
      UserError: files are missing, or a row is malformed
    """
    rows = self.split_rows(split)
    if rows.version not in self._counts:
      self._counts[rows.version] = sum(1 for _ in rows.examples())
    return self._counts[rows.version]

  def num_bytes(self, split: str) -> int | None:
    """The size of a split's files; None if it is not known."""
    return self.split_rows(split).num_bytes

  @property
  def supports_arbitrary_sharding(self) -> bool:
    """Only whole files are shards."""
    return False

  def list_shards(self, split: str) -> Sequence[str]:
    """The files of a split; one name where it is read from TensorFlow Datasets."""
    return self.split_rows(split).shards

  def get_dataset(
    self,
    split: str = 'train',
    shuffle: bool = True,
    seed: int | None = None,
    shard_info: seqio.ShardInfo | None = None,
    **unused: Any,
  ) -> tf.data.Dataset:
    """The examples of a split as a dataset; arguments as in seqio.

    Raises:
      UserError: files are missing (now), or a row is malformed (when it is read)
    """
    return self.split_rows(split).dataset(shuffle, seed, shard_info)


class ReleaseSource(FileSource):
  """Official release files in the data folder, or the same data in TensorFlow Datasets where gin says so."""

  def __init__(
    self,
    folders: Sequence[str],
    layouts: Mapping[str, Sequence[SplitFiles]],
    where: str,
    fields: example_datasets.Fields | None = None,
    tfds: TfdsDataset | None = None,
  ) -> None:
    """Opens nothing.

    Args:
      folders: below the data folder; the first one that has files of the split is taken
      layouts: of each split the layouts that its files can have; the first one that is there is taken
      where: a sentence that says where to get the files
      fields: what the row functions yield; `inputs` and `targets` (<string>[]) if not given
      tfds: the same data in TensorFlow Datasets, read with the row function of the first layout
    """
    super().__init__(layouts, where, fields)
    self.finder = FileFinder(tuple(folders), {split: tuple(files) for split, files in layouts.items()}, where)
    self.tfds = tfds

  def find_files(self, split: str) -> FoundFiles:
    """The files of a split; UserError if there are none."""
    return self.finder.required(split)

  def split_rows(self, split: str) -> SplitRows:
    """The rows of a split, in files or in TensorFlow Datasets; UserError if the files are missing."""
    tfds = self._tfds_in_use()
    if tfds is None:
      return super().split_rows(split)
    return TfdsRows(tfds, split, self.finder.layouts[split][0].rows, self.fields)

  def absent(self, split: str) -> str | None:
    """What was searched for, of a split that is not there; None if it is there."""
    if self._tfds_in_use() is not None:
      return None
    if not data_folder.task_data().folder:
      return self.finder.searched_for('', split)
    return super().absent(split)

  def state(self) -> SourceState:
    """Whether the files of every split are there."""
    tfds = self._tfds_in_use()
    if tfds is not None:
      return SourceState((), f'TensorFlow Datasets: {tfds.name}')
    return SourceState(self.finder.missing(), self.where)

  def _tfds_in_use(self) -> TfdsDataset | None:
    return self.tfds if data_folder.task_data().use_tfds else None
