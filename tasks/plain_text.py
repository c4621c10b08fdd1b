"""Documents for pre-training from folders of plain text: it is cut into pieces, and some of them are held out."""

import dataclasses
import hashlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import gin

from switch_zoo.errors import UserError
from switch_zoo.tasks import data_folder, documents
from switch_zoo.tasks.raw_files import MalformedRow, RawRow, text_lines
from switch_zoo.tasks.sources import FileSource, SourceState
from switch_zoo.tasks.split_files import FoundFiles, SplitFiles

_PIECE = 8192  # characters that make a document
_HELD_OUT = 100


class TextCorpus(NamedTuple):
  """The plain text that gin names; see `text_corpus`."""

  files: str
  validation: str
  held_out: int


@gin.configurable(module='tasks')  # pyright: ignore[reportCallIssue] - gin has no types
def text_corpus(files: str = '', validation: str = '', held_out: int = _HELD_OUT) -> TextCorpus:
  """The plain text of zoo_text_span: gin's `text_corpus.files` and, if it has files of its own, `.validation`.

  Args:
    files: .txt or .txt.gz files with wildcards ('books/*.txt'), absolute or below the data folder
    validation: the same for the validation split; without it one document in `held_out` is kept for validation
    held_out: see above; which documents are held out depends on their text alone
  Raises:
    UserError: less than one document in two is left for training
  """
  if not validation and held_out < 2:
    raise UserError(
      f'text_corpus.held_out = {held_out}: it must be at least 2; one document in that many is kept for validation.'
    )
  return TextCorpus(files, validation, held_out)


@dataclasses.dataclass(frozen=True)
class TextPieces:
  """Reads a plain text of any length as documents of whole lines and about 8,192 characters."""

  def needs(self, path: str) -> tuple[str, ...]:
    """The file itself."""
    return (path,)

  def rows(self, path: str) -> Iterator[RawRow | MalformedRow]:
    """One row per document, at the line where it begins; empty lines are dropped."""
    begin, kept, size = 1, [], 0
    for row in text_lines(path):
      if isinstance(row, MalformedRow):
        yield row
        continue
      number, line = row
      if not kept:
        begin = number
      if line.strip():
        kept.append(line)
        size += len(line)
      if size >= _PIECE:
        yield RawRow(path, begin, {'text': '\n'.join(kept)})
        kept, size = [], 0
    if kept:
      yield RawRow(path, begin, {'text': '\n'.join(kept)})


@dataclasses.dataclass(frozen=True)
class HeldOutSplit:
  """A row function: the documents of one split, where one document in `held_out` is for validation."""

  split: str
  held_out: int

  def __call__(self, row: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The document if it belongs to the split."""
    number = int.from_bytes(hashlib.sha256(row['text'].encode()).digest()[:8], 'big')
    if (number % self.held_out == 0) == (self.split == 'validation'):
      yield row


class TextSource(FileSource):
  """The plain text that gin names, {'text': <string>[]}. Documents are not counted, as in `DocumentSource`."""

  def __init__(self) -> None:
    """Opens nothing."""
    where = 'Name .txt or .txt.gz files with --gin_param="text_corpus.files = \'FOLDER/*.txt\'".'
    super().__init__(('train', 'validation'), where, documents.TEXT)

  def find_files(self, split: str) -> FoundFiles:
    """The files of a split.

    Raises:
      UserError: gin names none, or they are not there
    """
    files, validation, held_out = text_corpus()
    if not files:
      raise UserError(f'No plain text is named. {self.where}')
    pattern = validation if validation and split == 'validation' else files
    paths = data_folder.find(data_folder.task_data().folder, pattern)
    if not paths:
      raise UserError(f'text_corpus: there is no file "{pattern}". {self.where}')
    rows = documents.document_rows if validation else HeldOutSplit(split, held_out)
    return documents.with_settings(FoundFiles(tuple(paths), SplitFiles(pattern, TextPieces(), rows)))

  def num_input_examples(self, split: str) -> None:
    """Unknown."""
    del split

  def state(self) -> SourceState:
    """Whether gin names files that are there."""
    try:
      self.find_files('train')
    except UserError as error:
      return SourceState((str(error).split(' Name ')[0],), self.where)
    return SourceState((), self.where)
