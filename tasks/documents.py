"""Documents for pre-training: C4's and mC4's shards as people download them, and folders of plain text."""

import dataclasses
import hashlib
from collections.abc import Iterator
from typing import Any

import gin
import tensorflow as tf

from switch_zoo.errors import UserError
from switch_zoo.tasks import data_folder, fields
from switch_zoo.tasks.raw_files import Malformed, Record, text_lines
from switch_zoo.tasks.readers import JsonLines
from switch_zoo.tasks.sources import Files, FileSource, Found, State, Tfds

_SIGNATURE = {'text': tf.TensorSpec([], tf.string)}
_C4 = (
  'https://huggingface.co/datasets/allenai/c4 has the files: folder en for c4-train.*.json.gz and '
  'c4-validation.*.json.gz, folder multilingual for mC4. Any number of shards will do.'
)
_PIECE = 8192  # characters of a plain text that make a document
HELD_OUT = 100  # of plain text one document in so many is for validation


@gin.configurable(module='tasks')
def documents(remove_duplicates: bool = False) -> bool:
  """What gin says (`documents.remove_duplicates`): whether a document loses every line that it has had before.

  The Switch paper (arXiv:2101.03961, section 3) trains on a C4 whose "intra-example text duplication" was removed, and
  does not say how. Here a line (a paragraph, in C4) goes if an earlier line of its document is the same but for blanks.
  """
  return remove_duplicates


@gin.configurable(module='tasks')
def text_corpus(files: str = '', validation: str = '', held_out: int = HELD_OUT) -> tuple[str, str, int]:
  """The plain text of zoo_text_span: gin's `text_corpus.files` and, if it has files of its own, `.validation`.

  Args:
    files: .txt or .txt.gz files with wildcards ('books/*.txt'), whole or below the data folder
    validation: the same for the validation split; without it one document in `held_out` is kept for it
    held_out: see above; which documents they are depends on their text alone
  """
  if not validation and held_out < 2:
    raise UserError(f'text_corpus.held_out = {held_out}: one document in at least 2 is kept for validation.')
  return files, validation, held_out


def without_repeated_lines(text: str) -> str:
  """A text without the lines that it has had before.

  >>> without_repeated_lines('Menu\\nA story.\\nMenu ')
  'Menu\\nA story.'
  """
  seen = set()
  kept = []
  for line in text.split('\n'):
    words = ' '.join(line.split())
    if not words or words not in seen:
      kept.append(line)
    seen.add(words)
  return '\n'.join(kept)


@dataclasses.dataclass(frozen=True)
class TextPieces:
  """A plain text, of any length, as documents of whole lines and about 8,192 characters."""

  def needs(self, path: str) -> tuple[str, ...]:
    """The file itself."""
    return (path,)

  def records(self, path: str) -> Iterator[Record | Malformed]:
    """One record a document, at the line where it begins; empty lines are left out."""
    begin, kept, size = 1, [], 0
    for found in text_lines(path):
      if isinstance(found, Malformed):
        yield found
        continue
      number, line = found
      if not kept:
        begin = number
      if line.strip():
        kept.append(line)
        size += len(line)
      if size >= _PIECE:
        yield Record(path, begin, {'text': '\n'.join(kept)})
        kept, size = [], 0
    if kept:
      yield Record(path, begin, {'text': '\n'.join(kept)})


class DocumentSource(FileSource):
  """Documents, {'text': <string>[]}. They are not counted: that would take a pass over all of them."""

  def found(self, split: str) -> Found:
    """The files of a split; UserError if there are none."""
    return _with_settings(super().found(split))

  def num_input_examples(self, split: str) -> None:
    """Not known."""
    del split

  def size(self, split: str) -> int:
    """Bytes of the split's files, as they lie on the disk."""
    return sum(data_folder.size(path) for path in self.found(split).paths)


def c4() -> DocumentSource:
  """The source of C4's English."""
  patterns = {'train': 'c4-train.*.json', 'validation': 'c4-validation.*.json'}
  return _c4(('c4/en', 'en', 'c4', ''), patterns, Tfds('c4/en:3.0.1', {name: name for name in patterns}, _tfds_record))


def mc4(language: str) -> DocumentSource:
  """The source of a language of mC4, given as the names of its files have it ('bg-Latn')."""
  splits = {'train': language, 'validation': f'{language}-validation'}
  patterns = {split: f'c4-{theirs}.tfrecord-*.json' for split, theirs in splits.items()}
  tfds = Tfds('c4/multilingual:3.1.0', splits, _tfds_record)
  return _c4(('mc4', 'multilingual', 'c4/multilingual', ''), patterns, tfds)


def _c4(folders, patterns, tfds):
  splits = {split: [Files(pattern, JsonLines(), _rows)] for split, pattern in patterns.items()}
  return DocumentSource(folders, splits, _C4, fields=_SIGNATURE, tfds=tfds)


def _tfds_record(row):
  return {'text': without_repeated_lines(row['text']) if documents() else row['text']}


class TextSource(DocumentSource):
  """The plain text that gin names."""

  def __init__(self):
    """Opens nothing."""
    where = 'Name .txt or .txt.gz files with --gin_param="text_corpus.files = \'FOLDER/*.txt\'".'
    super().__init__(('text',), {'train': (), 'validation': ()}, where, fields=_SIGNATURE)

  def found(self, split: str) -> Found:
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
    rows = _rows if validation else _Part(split, held_out)
    return _with_settings(Found(tuple(paths), Files(pattern, TextPieces(), rows)))

  def state(self) -> State:
    """Whether gin names files that are there."""
    try:
      self.found('train')
    except UserError as error:
      return State((str(error).split(' Name ')[0],), self.where)
    return State((), self.where)


@dataclasses.dataclass(frozen=True)
class _Part:
  """The documents of one split where one in so many is held out."""

  split: str
  held_out: int

  def __call__(self, row: dict[str, Any]) -> Iterator[dict[str, Any]]:
    number = int.from_bytes(hashlib.sha256(row['text'].encode()).digest()[:8], 'big')
    if (number % self.held_out == 0) == (self.split == 'validation'):
      yield row


def _rows(row):
  """The document of a row; none of a blank one, of which no token would come."""
  text = fields.text(row, 'text')
  return ({'text': text},) if text and not text.isspace() else ()


def _with_settings(found):
  """Asks gin once, not for every document."""
  if not documents():
    return found
  rows = found.files.rows
  without = lambda row: ({'text': without_repeated_lines(document['text'])} for document in rows(row))
  return found._replace(files=dataclasses.replace(found.files, rows=without))
