"""SuperGLUE (arXiv:1905.00537) from its release files, put as text as T5 does (arXiv:1910.10683, appendix D).

Tasks `zoo_superglue_boolq`, `_cb`, `_copa`, `_multirc`, `_record`, `_rte`, `_wic`, `_wsc` and the mixture
`zoo_superglue`, each task at a rate of the rows it trains on. Metrics are the benchmark's; its score is in
`benchmark_means`.
"""

from switch_zoo.tasks import metrics, multirc, record_cloze, registration, winograd
from switch_zoo.tasks.classification import Classification
from switch_zoo.tasks.readers import JsonLines
from switch_zoo.tasks.sources import Files, FileSource, Tfds

MIXTURE = 'zoo_superglue'
_TRUTH = {False: 'False', True: 'True'}
_CHOICES = {0: 'choice1', 1: 'choice2'}


def _same(*names):
  return {name: name for name in names}


BOOLQ = Classification('boolq', _same('passage', 'question'), _TRUTH)
CB = Classification('cb', _same('hypothesis', 'premise'), _same('entailment', 'contradiction', 'neutral'))
COPA = Classification('copa', _same('choice1', 'choice2', 'premise', 'question'), _CHOICES)
RTE = Classification('rte', _same('hypothesis', 'premise'), _same('entailment', 'not_entailment'))
WIC = Classification('wic', _same('sentence1', 'sentence2', 'word'), _TRUTH)

# Rows of the released train splits, as T5 has them; of WSC those it trains on.
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


def source(folder, train, validation, test, tfds_record, config=None, fields=None):
  """The release files of a task, and the same in TensorFlow Datasets.

  Args:
    folder: 'CB', as the archive of the task unpacks
    train, validation, test: row functions of the splits
    tfds_record: from a row of TensorFlow Datasets to a record of the files
    config: the task's name in TensorFlow Datasets where it is not the folder's in small letters
    fields: what the row functions yield
  """
  files = {'train': ('train.jsonl', train), 'validation': ('val.jsonl', validation), 'test': ('test.jsonl', test)}
  splits = {split: [Files(name, JsonLines(), rows)] for split, (name, rows) in files.items()}
  return FileSource(
    (f'superglue/{folder}', folder),
    splits,
    where=f'They are in {folder}.zip of https://super.gluebenchmark.com/tasks.',
    fields=fields,
    tfds=Tfds(f'super_glue/{config or folder.lower()}:1.0.2', {split: split for split in splits}, tfds_record),
  )


def _add_classification(folder, task, *metric_fns):
  registration.add_task(
    f'zoo_superglue_{folder.lower()}',
    source(folder, task.rows, task.rows, task.test_rows, task.tfds_record),
    metric_fns,
    task.class_id,
  )


def _add(name, the_source, metric_fns, postprocess):
  registration.add_task(f'zoo_superglue_{name}', the_source, metric_fns, postprocess)


_add_classification('BoolQ', BOOLQ, metrics.accuracy)
_add_classification('CB', CB, metrics.accuracy, metrics.three_class_f1)
_add_classification('COPA', COPA, metrics.accuracy)
_add_classification('RTE', RTE, metrics.accuracy)
_add_classification('WiC', WIC, metrics.accuracy)
_add(
  'multirc',
  source('MultiRC', multirc.rows, multirc.rows, multirc.test_rows, multirc.tfds_record, fields=multirc.FIELDS),
  (metrics.multirc_f1, metrics.multirc_exact_match),
  multirc.postprocess,
)
_add(
  'record',
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
_add(
  'wsc',
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
