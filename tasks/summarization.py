"""Summarization: `zoo_xsum` (arXiv:1808.08745) and `zoo_cnn_dailymail` (arXiv:1704.04368), in the form of T5.

    'summarize: The full cost of damage in Newton Stewart ...' -> 'Clean-up operations are continuing ...'

Neither is released as files of text: people have them as JSON lines or CSV exported from a library, with the fields
document and summary, or article and highlights.
"""

from collections.abc import Callable, Iterator
from typing import Any

from switch_zoo.tasks import fields, metrics, registration
from switch_zoo.tasks.readers import Delimited, JsonLines, RowReader
from switch_zoo.tasks.sources import ReleaseSource
from switch_zoo.tasks.split_files import SplitFiles
from switch_zoo.tasks.tfds_rows import TfdsDataset

_CSV = Delimited(delimiter=',', quoted=True)
_NAMES = {'train': ('train',), 'validation': ('validation', 'val', 'dev'), 'test': ('test',)}


def summary_rows(article: str, summary: str) -> Callable[[dict[str, Any]], Iterator[dict[str, str]]]:
  """A row function for records that have an article and its summary in these fields."""

  def rows(record: dict[str, Any]) -> Iterator[dict[str, str]]:
    yield {'inputs': f'summarize: {fields.text(record, article)}', 'targets': fields.text(record, summary)}

  return rows


def source(name: str, article: str, summary: str, tfds: str) -> ReleaseSource:
  """The files of a set of articles, and the same data in TensorFlow Datasets, where the fields have the same names."""
  rows = summary_rows(article, summary)
  formats: dict[str, RowReader] = {'jsonl': JsonLines(), 'csv': _CSV}
  layouts = {
    split: [SplitFiles(f'{stem}.{ending}', reader, rows) for ending, reader in formats.items() for stem in stems]
    for split, stems in _NAMES.items()
  }
  where = f'Export {name} from a library of data sets as JSON lines with the fields "{article}" and "{summary}".'
  dataset = TfdsDataset(tfds, {split: split for split in layouts}, lambda row: row)
  return ReleaseSource((name,), layouts, where, tfds=dataset)


registration.add_task('zoo_xsum', source('xsum', 'document', 'summary', 'xsum:1.1.0'), (metrics.rouge,))
registration.add_task(
  'zoo_cnn_dailymail', source('cnn_dailymail', 'article', 'highlights', 'cnn_dailymail:3.4.0'), (metrics.rouge,)
)
