"""Documents for pre-training: C4's and mC4's shards as people download them."""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import gin
import tensorflow as tf

from switch_zoo.tasks import data_folder, fields
from switch_zoo.tasks.readers import JsonLines
from switch_zoo.tasks.sources import ReleaseSource
from switch_zoo.tasks.split_files import FoundFiles, SplitFiles
from switch_zoo.tasks.tfds_rows import TfdsDataset

TEXT = {'text': tf.TensorSpec([], tf.string)}
_C4 = (
  'https://huggingface.co/datasets/allenai/c4 has the files: folder en for c4-train.*.json.gz and '
  'c4-validation.*.json.gz, folder multilingual for mC4. Any number of shards will do.'
)


@gin.configurable(module='tasks')  # pyright: ignore[reportCallIssue] - gin has no types
def documents(remove_duplicates: bool = False) -> bool:
  """Returns what gin says (`documents.remove_duplicates`): whether repeated lines of a document are removed.

  The Switch paper (arXiv:2101.03961, section 3) trains on a C4 whose "intra-example text duplication" was removed, and
  does not say how. Here a line (a paragraph, in C4) is removed if an earlier line of its document is the same apart
  from whitespace.
  """
  return remove_duplicates


def without_repeated_lines(text: str) -> str:
  """A text without the lines that repeat an earlier one.

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


def document_rows(row: dict[str, Any]) -> Iterator[dict[str, Any]]:
  """The document of a row; none for blank text, which has no tokens."""
  text = fields.text(row, 'text')
  if text and not text.isspace():
    yield {'text': text}


def with_settings(files: FoundFiles) -> FoundFiles:
  """The files, read as `documents.remove_duplicates` says; gin is queried once, not for every document."""
  if not documents():
    return files
  rows = files.layout.rows
  unrepeated = lambda row: ({'text': without_repeated_lines(document['text'])} for document in rows(row))
  return files._replace(layout=dataclasses.replace(files.layout, rows=unrepeated))


class DocumentSource(ReleaseSource):
  """Documents, {'text': <string>[]}. They are not counted: that would take a pass over all of them."""

  def find_files(self, split: str) -> FoundFiles:
    """The files of a split; UserError if there are none."""
    return with_settings(super().find_files(split))

  def num_input_examples(self, split: str) -> None:
    """Unknown."""
    del split

  def size(self, split: str) -> int:
    """Bytes of the split's files, compressed or not as they are."""
    return sum(data_folder.size(path) for path in self.find_files(split).paths)


def c4() -> DocumentSource:
  """The source of C4's English."""
  patterns = {'train': 'c4-train.*.json', 'validation': 'c4-validation.*.json'}
  tfds = TfdsDataset('c4/en:3.0.1', {name: name for name in patterns}, _tfds_record)
  return _c4(('c4/en', 'en', 'c4', ''), patterns, tfds)


def mc4(language: str) -> DocumentSource:
  """The source of a language of mC4, named as in its files ('bg-Latn')."""
  splits = {'train': language, 'validation': f'{language}-validation'}
  patterns = {split: f'c4-{name}.tfrecord-*.json' for split, name in splits.items()}
  tfds = TfdsDataset('c4/multilingual:3.1.0', splits, _tfds_record)
  return _c4(('mc4', 'multilingual', 'c4/multilingual', ''), patterns, tfds)


def _c4(folders: tuple[str, ...], patterns: Mapping[str, str], tfds: TfdsDataset) -> DocumentSource:
  layouts = {split: [SplitFiles(pattern, JsonLines(), document_rows)] for split, pattern in patterns.items()}
  return DocumentSource(folders, layouts, _C4, fields=TEXT, tfds=tfds)


def _tfds_record(row: dict[str, Any]) -> dict[str, Any]:
  return {'text': without_repeated_lines(row['text']) if documents() else row['text']}
