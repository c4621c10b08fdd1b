"""Summarization: `zoo_xsum` (arXiv:1808.08745) and `zoo_cnn_dailymail` (arXiv:1704.04368), in the form of T5.

    'summarize: The full cost of damage in Newton Stewart ...' -> 'Clean-up operations are continuing ...'

Neither is released as files of text: people have them as JSON lines, or as CSV, that were exported from a library, with
the fields document and summary, or article and highlights.
"""

from collections.abc import Callable, Iterator
from typing import Any

from switch_zoo.tasks import fields, metrics, registration
from switch_zoo.tasks.readers import Delimited, JsonLines
from switch_zoo.tasks.sources import Files, FileSource, Tfds

_CSV = Delimited(delimiter=',', quoted=True)
_NAMES = {'train': ('train',), 'validation': ('validation', 'val', 'dev'), 'test': ('test',)}


def summary_rows(article: str, summary: str) -> Callable[[dict[str, Any]], Iterator[dict[str, str]]]:
  """A row function for records that hold an article and its summary under these names."""

  def rows(record):
    yield {'inputs': f'summarize: {fields.text(record, article)}', 'targets': fields.text(record, summary)}

  return rows


def source(name: str, article: str, summary: str, tfds: str) -> FileSource:
  """The files of a set of articles, and the same in TensorFlow Datasets, where the fields have the same names."""
  rows = summary_rows(article, summary)
  layouts = (('jsonl', JsonLines()), ('csv', _CSV))
  splits = {
    split: [Files(f'{stem}.{ending}', reader, rows) for ending, reader in layouts for stem in stems]
    for split, stems in _NAMES.items()
  }
  where = f'Export {name} of a library of data sets as JSON lines with the fields "{article}" and "{summary}".'
  return FileSource((name,), splits, where, tfds=Tfds(tfds, {split: split for split in splits}, lambda row: row))


registration.add_task('zoo_xsum', source('xsum', 'document', 'summary', 'xsum:1.1.0'), (metrics.rouge,))
registration.add_task(
  'zoo_cnn_dailymail', source('cnn_dailymail', 'article', 'highlights', 'cnn_dailymail:3.4.0'), (metrics.rouge,)
)
