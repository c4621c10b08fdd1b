"""SuperGLUE (arXiv:1905.00537) from its release files, written as text as in T5 (arXiv:1910.10683, appendix D).

Tasks `zoo_superglue_boolq`, `_cb`, `_copa`, `_multirc`, `_record`, `_rte`, `_wic`, `_wsc` and the mixture
`zoo_superglue`, each task at the rate of the rows it trains on. Metrics are the benchmark's; its score is in
`benchmark_means`.
"""

from collections.abc import Callable
from typing import Any

from switch_zoo.tasks import metrics, multirc, record_cloze, registration, winograd
from switch_zoo.tasks.classification import Classification
from switch_zoo.tasks.example_datasets import Fields
from switch_zoo.tasks.readers import JsonLines
from switch_zoo.tasks.sources import ReleaseSource
from switch_zoo.tasks.split_files import RowFunction, SplitFiles
from switch_zoo.tasks.tfds_rows import TfdsDataset

MIXTURE = 'zoo_superglue'
_TRUTH = {False: 'False', True: 'True'}
_CHOICES = {0: 'choice1', 1: 'choice2'}


def _same(*names: str) -> dict[str, str]:
  return {name: name for name in names}


BOOLQ = Classification('boolq', _same('passage', 'question'), _TRUTH)
CB = Classification('cb', _same('hypothesis', 'premise'), _same('entailment', 'contradiction', 'neutral'))
COPA = Classification('copa', _same('choice1', 'choice2', 'premise', 'question'), _CHOICES)
RTE = Classification('rte', _same('hypothesis', 'premise'), _same('entailment', 'not_entailment'))
WIC = Classification('wic', _same('sentence1', 'sentence2', 'word'), _TRUTH)

# Rows of the released training splits, as in T5; of WSC those it trains on.
TRAIN_ROWS = {
  'zoo_superglue_boolq': 9_427,
  'zoo_superglue_cb': 250,
  'zoo_superglue_copa': 400,
  'zoo_superglue_multirc': 27_243,
  'zoo_superglue_record': 138_854,
  'zoo_superglue_rte': 2_490,
  'zoo_superglue_wic': 5_428,
  'zoo_superglue_wsc': 259,
}


def source(
  folder: str,
  train: RowFunction,
  validation: RowFunction,
  test: RowFunction,
  tfds_record: Callable[[dict[str, Any]], dict[str, Any]],
  config: str | None = None,
  fields: Fields | None = None,
) -> ReleaseSource:
  """The release files of a task, and the same data in TensorFlow Datasets.

  Args:
    folder: the folder in the archive of the task ('CB')
    train, validation, test: row functions of the splits
    tfds_record: from a row of TensorFlow Datasets to a record of the files
    config: the task's name in TensorFlow Datasets if it is not the folder's in lower case
    fields: what the row functions yield; `inputs` and `targets` if not given
  """
  files = {'train': ('train.jsonl', train), 'validation': ('val.jsonl', validation), 'test': ('test.jsonl', test)}
  layouts = {split: [SplitFiles(name, JsonLines(), rows)] for split, (name, rows) in files.items()}
  return ReleaseSource(
    (f'superglue/{folder}', folder),
    layouts,
    where=f'They are in {folder}.zip at https://super.gluebenchmark.com/tasks.',
    fields=fields,
    tfds=TfdsDataset(f'super_glue/{config or folder.lower()}:1.0.2', _same(*layouts), tfds_record),
  )


def _add_classification(folder: str, task: Classification, *metric_fns: metrics.Metric) -> None:
  registration.add_task(
    f'zoo_superglue_{folder.lower()}',
    source(folder, task.rows, task.rows, task.test_rows, task.tfds_record),
    metric_fns,
    task.class_id,
  )


_add_classification('BoolQ', BOOLQ, metrics.accuracy)
_add_classification('CB', CB, metrics.accuracy, metrics.three_class_f1)
_add_classification('COPA', COPA, metrics.accuracy)
_add_classification('RTE', RTE, metrics.accuracy)
_add_classification('WiC', WIC, metrics.accuracy)
registration.add_task(
  'zoo_superglue_multirc',
  source('MultiRC', multirc.rows, multirc.rows, multirc.test_rows, multirc.tfds_record, fields=multirc.FIELDS),
  (metrics.multirc_f1, metrics.multirc_exact_match),
  multirc.postprocess,
)
registration.add_task(
  'zoo_superglue_record',
  source(
    'ReCoRD',
    record_cloze.train_rows,
    record_cloze.rows,
    record_cloze.test_rows,
    record_cloze.tfds_record,
    fields=record_cloze.FIELDS,
  ),
  (metrics.record,),
  record_cloze.postprocess,
)
registration.add_task(
  'zoo_superglue_wsc',
  source(
    'WSC',
    winograd.train_rows,
    winograd.rows,
    winograd.test_rows,
    winograd.tfds_record,
    config='wsc.fixed',
    fields=winograd.FIELDS,
  ),
  (metrics.accuracy,),
  winograd.postprocess,
)
registration.add_mixture(MIXTURE, TRAIN_ROWS, lambda task: TRAIN_ROWS[task.name])
