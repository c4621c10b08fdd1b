"""GLUE (arXiv:1804.07461) from its release files, put as text as T5 does (arXiv:1910.10683, appendix D).

Tasks `zoo_glue_cola`, `_sst2`, `_mrpc`, `_qqp`, `_stsb`, `_mnli`, `_mnli_mismatched`, `_qnli`, `_rte`, `_wnli` and the
mixture `zoo_glue`, each task at a rate of its training rows. WNLI is a task, but not of the mixture, nor of the score:
its development set contradicts its training set, and T5, like BERT before it, leaves it out.

A few rows of QQP's train.tsv have too few columns; `task_data.skip_malformed = True` passes over them, and says which.
"""

from switch_zoo.tasks import fields as fields_of
from switch_zoo.tasks import metrics, registration, similarity
from switch_zoo.tasks.classification import Classification
from switch_zoo.tasks.readers import Delimited, JsonLines, Text
from switch_zoo.tasks.sources import Files, FileSource, Tfds

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

# Rows of the released train splits, as T5 has them; matched and mismatched pairs of MNLI share theirs.
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


def sst2_line(record):
  """Rows of stsa.binary.*, '1 a stirring , funny film': the label, a blank, the sentence."""
  label, _, sentence = fields_of.text(record, 'text').partition(' ')
  yield from SST2.rows({'label': label, 'sentence': sentence})


def source(folders, ways, tfds, tfds_record, tfds_splits=None, fields=None):
  """The files of a task in any layout they are had in, and the same in TensorFlow Datasets.

  Args:
    folders: the first as the archive of the task unpacks ('CoLA'), below the data folder or below glue/ in it
    ways: of each split
    tfds: name in TensorFlow Datasets
    tfds_record: from a row there to a record of the first way
    tfds_splits: names there of the splits that have another one
    fields: what the row functions yield
  """
  return FileSource(
    (f'glue/{folders[0]}', *folders),
    ways,
    where=f'They are in {folders[0]}.zip of https://gluebenchmark.com/tasks.',
    fields=fields,
    tfds=Tfds(f'glue/{tfds}:1.0.0', {split: split for split in ways} | (tfds_splits or {}), tfds_record),
  )


def _tsv_ways(task):
  """The splits of most tasks."""
  names = {'train': ('train', task.rows), 'validation': ('dev', task.rows), 'test': ('test', task.test_rows)}
  return {split: [Files(f'{name}.tsv', _TSV, rows)] for split, (name, rows) in names.items()}


def _add(folders, name, task, ways, *metric_fns, **tfds):
  the_source = source(folders, ways, name, task.tfds_record, **tfds)
  registration.add_task(f'zoo_glue_{name}', the_source, metric_fns, task.class_id)


def _mnli_ways(kind):
  """The evaluation splits of the pairs that match the training genres, or of those that do not."""
  return {
    'validation': [Files(f'dev_{kind}.tsv', _TSV, MNLI.rows)],
    'test': [Files(f'test_{kind}.tsv', _TSV, MNLI.test_rows)],
  }


_COLA_WAYS = {
  'train': [Files('train.tsv', _COLA, COLA.rows)],
  'validation': [Files('dev.tsv', _COLA, COLA.rows)],
  'test': [Files('test.tsv', _TSV, COLA.test_rows)],
}
_SST2_WAYS = {
  split: [*ways, Files(f'stsa.binary.{name}', Text(), sst2_line)]
  for (split, ways), name in zip(_tsv_ways(SST2).items(), ('train', 'dev', 'test'), strict=True)
}
_RTE_WAYS = {
  'train': [*_tsv_ways(RTE)['train'], Files('train.jsonl', JsonLines(), RTE_OF_SUPERGLUE.rows)],
  'validation': [*_tsv_ways(RTE)['validation'], Files('val.jsonl', JsonLines(), RTE_OF_SUPERGLUE.rows)],
  'test': [*_tsv_ways(RTE)['test'], Files('test.jsonl', JsonLines(), RTE_OF_SUPERGLUE.test_rows)],
}
_STSB_WAYS = {
  split: [*ways, Files(f'sts-{name}.csv', _STSB, similarity.rows)]
  for (split, ways), name in zip(_tsv_ways(similarity).items(), ('train', 'dev', 'test'), strict=True)
}

_add(('CoLA',), 'cola', COLA, _COLA_WAYS, metrics.matthews)
_add(('SST-2',), 'sst2', SST2, _SST2_WAYS, metrics.accuracy)
_add(('MRPC',), 'mrpc', MRPC, _tsv_ways(MRPC), metrics.binary_f1, metrics.accuracy)
_add(('QQP',), 'qqp', QQP, _tsv_ways(QQP), metrics.binary_f1, metrics.accuracy)
_add(
  ('MNLI',),
  'mnli',
  MNLI,
  {'train': _tsv_ways(MNLI)['train'], **_mnli_ways('matched')},
  metrics.accuracy,
  tfds_splits={'validation': 'validation_matched', 'test': 'test_matched'},
)
_add(('MNLI',), 'mnli_mismatched', MNLI, _mnli_ways('mismatched'), metrics.accuracy)
_add(('QNLI',), 'qnli', QNLI, _tsv_ways(QNLI), metrics.accuracy)
_add(('RTE', 'superglue/RTE'), 'rte', RTE, _RTE_WAYS, metrics.accuracy)
_add(('WNLI',), 'wnli', WNLI, _tsv_ways(WNLI), metrics.accuracy)
registration.add_task(
  'zoo_glue_stsb',
  source(('STS-B',), _STSB_WAYS, 'stsb', similarity.tfds_record, fields=similarity.FIELDS),
  (metrics.pearson, metrics.spearman),
  similarity.postprocess,
)
registration.add_mixture(MIXTURE, TRAIN_ROWS, lambda task: TRAIN_ROWS[task.name])
