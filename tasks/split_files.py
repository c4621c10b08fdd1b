"""Finds the files of a split: the layouts they can have in the data folder, and which of them is there."""

import dataclasses
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from switch_zoo.errors import UserError
from switch_zoo.tasks import data_folder
from switch_zoo.tasks.readers import RowReader

# From a record, the fields of a row by name, to the examples that it becomes; raises BadField. It is pure Python, so
# that the same function serves files, TensorFlow Datasets and a test.
RowFunction = Callable[[dict[str, Any]], Iterable[dict[str, Any]]]


@dataclasses.dataclass(frozen=True)
class SplitFiles:
  """One layout that the files of a split can have.

  pattern: name of the file, or of its shards with wildcards; NAME.gz is found too
  reader: of the format
  rows: from a record to examples {'inputs': .., 'targets': .., ...}; raises BadField
  """

  pattern: str
  reader: RowReader
  rows: RowFunction


class FoundFiles(NamedTuple):
  """The files of a split that were found, and the layout in which they are."""

  paths: tuple[str, ...]
  layout: SplitFiles


@dataclasses.dataclass(frozen=True)
class FileFinder:
  """Searches the data folder.

  folders: below the data folder, in the order in which they are searched
  layouts: of each split, in the order in which they are tried in a folder
  where: a sentence that says where to get the files
  """

  folders: tuple[str, ...]
  layouts: Mapping[str, Sequence[SplitFiles]]
  where: str

  def find(self, data_dir: str, split: str) -> FoundFiles | None:
    """The files of a split below a data folder; None if there are none."""
    for folder in self.folders:
      for layout in self.layouts[split]:
        paths = data_folder.find(os.path.join(data_dir, folder), layout.pattern)
        needed = [name for path in paths for name in layout.reader.needs(path)]
        if paths and all(map(tf.io.gfile.exists, needed)):
          return FoundFiles(tuple(paths), layout)
    return None

  def required(self, split: str) -> FoundFiles:
    """The files of a split below the data folder that is set.

    Raises:
      UserError: there are none, with the names that were searched for and where to get them; or no data folder
    """
    data_dir = data_folder.required(f'The split "{split}" of {self.folders[0]}', self.where)
    files = self.find(data_dir, split)
    if files is None:
      raise UserError(f'{self.searched_for(data_dir, split)}: there is no such file. {self.where}')
    return files

  def missing(self) -> tuple[str, ...]:
    """What was searched for, of each split that has no files."""
    data_dir = data_folder.task_data().folder
    absent = (split for split in self.layouts if not data_dir or not self.find(data_dir, split))
    return tuple(self.searched_for(data_dir, split) for split in absent)

  def searched_for(self, data_dir: str, split: str) -> str:
    """The names that the files of a split can have; `data_dir` is '' where none is set."""
    names = [os.path.join(folder, layout.pattern) for folder in self.folders for layout in self.layouts[split]]
    return f'{" or ".join(names)} (or .gz) in {data_dir or "the data folder"}'
