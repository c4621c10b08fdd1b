"""GLUE (arXiv:1804.07461) from its release files, written as text as in T5 (arXiv:1910.10683, appendix D).

Tasks `zoo_glue_cola`, `_sst2`, `_mrpc`, `_qqp`, `_stsb`, `_mnli`, `_mnli_mismatched`, `_qnli`, `_rte`, `_wnli` and the
mixture `zoo_glue`, each task at the rate of its training rows. WNLI is a task, but not part of the mixture or the
score: its development set contradicts its training set, and T5, like BERT before it, leaves it out.

A few rows of QQP's train.tsv have too few columns; `task_data.skip_malformed = True` skips them, and reports which.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from switch_zoo.tasks import fields, metrics, registration, similarity
from switch_zoo.tasks.classification import Classification
from switch_zoo.tasks.example_datasets import Fields
from switch_zoo.tasks.readers import Delimited, JsonLines, TextLines
from switch_zoo.tasks.sources import ReleaseSource
from switch_zoo.tasks.split_files import RowFunction, SplitFiles
from switch_zoo.tasks.tfds_rows import TfdsDataset

MIXTURE = 'zoo_glue'
_TSV = Delimited()
_COLA = Delimited(columns=('source', 'label', 'original_label', 'sentence'))
_STSB = Delimited(columns=('genre', 'file', 'year', 'index', 'score', 'sentence1', 'sentence2'), more=True)
_ENTAILED = {'entailment': 'entailment', 'not_entailment': 'not_entailment'}
_NLI = {name: name for name in ('entailment', 'neutral', 'contradiction')}
_PAIR = {'sentence1': 'sentence1', 'sentence2': 'sentence2'}

COLA = Classification('cola', {'sentence': 'sentence'}, {'0': 'unacceptable', '1': 'acceptable'})
SST2 = Classification('sst2', {'sentence': 'sentence'}, {'0': 'negative', '1': 'positive'})
MRPC = Classification(
  'mrpc',
  {'sentence1': '#1 String', 'sentence2': '#2 String'},
  {'0': 'not_equivalent', '1': 'equivalent'},
  label='Quality',
)
QQP = Classification(
  'qqp',
  {'question1': 'question1', 'question2': 'question2'},
  {'0': 'not_duplicate', '1': 'duplicate'},
  label='is_duplicate',
)
MNLI = Classification('mnli', {'hypothesis': 'sentence2', 'premise': 'sentence1'}, _NLI, label='gold_label')
QNLI = Classification('qnli', {'question': 'question', 'sentence': 'sentence'}, _ENTAILED)
RTE = Classification('rte', _PAIR, _ENTAILED)
RTE_OF_SUPERGLUE = Classification('rte', {'sentence1': 'premise', 'sentence2': 'hypothesis'}, _ENTAILED)
WNLI = Classification('wnli', _PAIR, {'0': 'not_entailment', '1': 'entailment'})

# Rows of the released training splits, as in T5; matched and mismatched pairs of MNLI share theirs.
TRAIN_ROWS = {
  'zoo_glue_cola': 8_551,
  'zoo_glue_sst2': 67_349,
  'zoo_glue_mrpc': 3_668,
  'zoo_glue_qqp': 363_849,
  'zoo_glue_stsb': 5_749,
  'zoo_glue_mnli': 392_702,
  'zoo_glue_mnli_mismatched': 0,
  'zoo_glue_qnli': 104_743,
  'zoo_glue_rte': 2_490,
}

_Layouts = Mapping[str, Sequence[SplitFiles]]


def sst2_rows(record: dict[str, Any]) -> Iterator[dict[str, str]]:
  """The example of a line of stsa.binary.*, '1 a stirring , funny film': the label, a space, the sentence."""
  label, _, sentence = fields.text(record, 'text').partition(' ')
  yield from SST2.rows({'label': label, 'sentence': sentence})


def source(
  folders: Sequence[str], layouts: _Layouts, tfds: TfdsDataset, example_fields: Fields | None = None
) -> ReleaseSource:
  """The files of a task, in every layout in use, and the same data in TensorFlow Datasets.

  Args:
    folders: below the data folder or below glue/ in it; the first is the folder in the archive of the task ('CoLA')
    layouts: of each split
    tfds: the data set
    example_fields: what the row functions yield; `inputs` and `targets` if not given
  """
  where = f'They are in {folders[0]}.zip at https://gluebenchmark.com/tasks.'
  return ReleaseSource((f'glue/{folders[0]}', *folders), layouts, where, example_fields, tfds)


def _tfds(
  name: str, record: Callable[[dict[str, Any]], dict[str, Any]], layouts: _Layouts, **splits: str
) -> TfdsDataset:
  """A data set of GLUE; `splits` names those that have another name there."""
  return TfdsDataset(f'glue/{name}:1.0.0', {split: split for split in layouts} | splits, record)


def _tsv(rows: RowFunction, test_rows: RowFunction) -> dict[str, list[SplitFiles]]:
  """The layout that most tasks have."""
  files = {'train': ('train', rows), 'validation': ('dev', rows), 'test': ('test', test_rows)}
  return {split: [SplitFiles(f'{name}.tsv', _TSV, row)] for split, (name, row) in files.items()}


def _mnli(kind: str) -> dict[str, list[SplitFiles]]:
  """The evaluation splits of the pairs that match the training genres, or of those that do not."""
  return {
    'validation': [SplitFiles(f'dev_{kind}.tsv', _TSV, MNLI.rows)],
    'test': [SplitFiles(f'test_{kind}.tsv', _TSV, MNLI.test_rows)],
  }


def _add(
  folders: Sequence[str], name: str, task: Classification, layouts: _Layouts, *metric_fns: metrics.Metric, **splits: str
) -> None:
  tfds = _tfds(name, task.tfds_record, layouts, **splits)
  registration.add_task(f'zoo_glue_{name}', source(folders, layouts, tfds), metric_fns, task.class_id)


_COLA_LAYOUTS = {
  'train': [SplitFiles('train.tsv', _COLA, COLA.rows)],
  'validation': [SplitFiles('dev.tsv', _COLA, COLA.rows)],
  'test': [SplitFiles('test.tsv', _TSV, COLA.test_rows)],
}
_SST2_LAYOUTS = {
  split: [*layouts, SplitFiles(f'stsa.binary.{name}', TextLines(), sst2_rows)]
  for (split, layouts), name in zip(_tsv(SST2.rows, SST2.test_rows).items(), ('train', 'dev', 'test'), strict=True)
}
_RTE_TSV = _tsv(RTE.rows, RTE.test_rows)
_RTE_LAYOUTS = {
  'train': [*_RTE_TSV['train'], SplitFiles('train.jsonl', JsonLines(), RTE_OF_SUPERGLUE.rows)],
  'validation': [*_RTE_TSV['validation'], SplitFiles('val.jsonl', JsonLines(), RTE_OF_SUPERGLUE.rows)],
  'test': [*_RTE_TSV['test'], SplitFiles('test.jsonl', JsonLines(), RTE_OF_SUPERGLUE.test_rows)],
}
_STSB_TSV = _tsv(similarity.rows, similarity.test_rows)
_STSB_LAYOUTS = {
  split: [*layouts, SplitFiles(f'sts-{name}.csv', _STSB, similarity.rows)]
  for (split, layouts), name in zip(_STSB_TSV.items(), ('train', 'dev', 'test'), strict=True)
}

_add(('CoLA',), 'cola', COLA, _COLA_LAYOUTS, metrics.matthews)
_add(('SST-2',), 'sst2', SST2, _SST2_LAYOUTS, metrics.accuracy)
_add(('MRPC',), 'mrpc', MRPC, _tsv(MRPC.rows, MRPC.test_rows), metrics.binary_f1, metrics.accuracy)
_add(('QQP',), 'qqp', QQP, _tsv(QQP.rows, QQP.test_rows), metrics.binary_f1, metrics.accuracy)
_add(
  ('MNLI',),
  'mnli',
  MNLI,
  {'train': [SplitFiles('train.tsv', _TSV, MNLI.rows)], **_mnli('matched')},
  metrics.accuracy,
  validation='validation_matched',
  test='test_matched',
)
_add(('MNLI',), 'mnli_mismatched', MNLI, _mnli('mismatched'), metrics.accuracy)
_add(('QNLI',), 'qnli', QNLI, _tsv(QNLI.rows, QNLI.test_rows), metrics.accuracy)
_add(('RTE', 'superglue/RTE'), 'rte', RTE, _RTE_LAYOUTS, metrics.accuracy)
_add(('WNLI',), 'wnli', WNLI, _tsv(WNLI.rows, WNLI.test_rows), metrics.accuracy)
registration.add_task(
  'zoo_glue_stsb',
  source(('STS-B',), _STSB_LAYOUTS, _tfds('stsb', similarity.tfds_record, _STSB_LAYOUTS), similarity.FIELDS),
  (metrics.pearson, metrics.spearman),
  similarity.postprocess,
)
registration.add_mixture(MIXTURE, TRAIN_ROWS, lambda task: TRAIN_ROWS[task.name])
