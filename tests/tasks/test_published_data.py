"""Every published file that lies next to a checkout is read from end to end, and its rows are counted.

They are not part of the repository; SWITCH_ZOO_SHARED names the folder that holds `data`.
"""

import json
import os
import pathlib
import re

import pytest
import seqio
import tensorflow as tf
import tensorflow_datasets as tfds
from t5.data import preprocessors as t5_preprocessors
from tensorflow_datasets.text import super_glue

from switch_zoo.tasks import (
  data_folder,
  multiple_choice,
  parallel_files,
  question_answering,
  record_cloze,
  superglue,
  vocabularies,
  winograd,
)
from switch_zoo.tasks.readers import JsonLines, JsonList

CHECKOUT = pathlib.Path(__file__).parents[2]
DATA = pathlib.Path(os.environ.get('SWITCH_ZOO_SHARED', CHECKOUT.parent / 'shared')) / 'data'
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason=f'no {DATA}; SWITCH_ZOO_SHARED names another')

# Task, split and examples; a row of MultiRC is a passage with several.
COUNTS = [
  *(('superglue_boolq', 'validation', 3270), ('superglue_cb', 'train', 250), ('superglue_cb', 'validation', 56)),
  *(('superglue_copa', 'train', 400), ('superglue_copa', 'validation', 100)),
  *(('superglue_multirc', 'train', 27243), ('superglue_multirc', 'validation', 4848)),
  *(('superglue_rte', 'train', 2490), ('superglue_rte', 'validation', 277)),
  *(('superglue_wic', 'train', 5428), ('superglue_wic', 'validation', 638)),
  *(('superglue_wsc', 'train', 259), ('superglue_wsc', 'validation', 104)),
  *(('glue_sst2', 'train', 6920), ('glue_sst2', 'validation', 872), ('glue_sst2', 'test', 1821)),
  *(('glue_stsb', 'train', 5749), ('glue_stsb', 'validation', 1500), ('glue_stsb', 'test', 1379)),
  *(('glue_qnli', 'validation', 5463), ('glue_rte', 'train', 2490), ('glue_rte', 'validation', 277)),
  *(('natural_questions', 'validation', 3610), ('web_questions', 'train', 2834), ('web_questions', 'test', 2032)),
  *(('web_questions', 'validation', 755), ('arc_easy', 'train', 2251), ('arc_easy', 'validation', 570)),
  *(('arc_challenge', 'train', 1119), ('arc_challenge', 'validation', 299)),
]
# Files that no task has as a split of its own.
OTHERS = [
    ('superglue/BoolQ/train32.jsonl', JsonLines(), superglue.BOOLQ.rows, 32),
    ('superglue/BoolQ/dev32.jsonl', JsonLines(), superglue.BOOLQ.rows, 32),
    ('superglue/ReCoRD/train32.jsonl', JsonLines(), record_cloze.rows, 32),
    ('superglue/ReCoRD/dev32.jsonl', JsonLines(), record_cloze.rows, 32),
    ('qa/nq_open/NQ-open.efficientqa.dev.1.1.jsonl', JsonLines(), question_answering.natural_questions_rows, 1800),
    ('qa/webquestions/devtest.json', JsonList(), question_answering.web_questions_rows, 189),
    ('qa/triviaqa/triviaqa_sample.json', JsonList(at=('Data',)), question_answering.trivia_qa_rows, 1),
    *((f'qa/xquad/xquad.{language}.json.gz', JsonList(at=('data',)), question_answering.squad_rows, 1190)
      for language in ('en', 'de', 'es', 'ro')),
]  # fmt: skip

# The first ids of the first validation example, in the vocabulary of T5.
IDS = {
  'superglue_cb': ([3, 75, 115, 22455, 10, 3833, 1433, 47], [27252]),  # cb hypothesis: Valence was
  'superglue_copa': ([7326, 9, 1160, 536, 10, 37, 6699, 3353], [1160, 357]),  # copa choice1: The toilet filled
  'superglue_multirc': ([1249, 52, 75, 822, 10, 5328, 8, 3294], [10747, 7, 15]),  # multirc question: Would the mass
  'superglue_wsc': ([3, 210, 7, 75, 10, 14735, 3, 6], [1321]),  # wsc: Bernard ,
  'glue_stsb': ([3, 7, 17, 7, 115, 7142, 536, 10], [3, 20734]),  # stsb sentence1:
  'glue_qnli': ([3, 1824, 29, 40, 23, 822, 10, 363], [3, 35, 5756, 297]),  # qnli question: What
  'translate_de_en': ([13959, 2968, 12, 1566, 10, 736, 13672, 745], [461, 2089, 6]),  # ...: Am Montag haben
}


def examples_of(task, split):
  return list(seqio.TaskRegistry.get(task).source.examples(split))


@pytest.mark.parametrize(('task', 'split', 'count'), COUNTS, ids=[f'{task}-{split}' for task, split, _ in COUNTS])
def test_every_row_is_read(monkeypatch, task, split, count):
  below = '' if 'glue' in task else 'qa'
  monkeypatch.setenv(data_folder.VARIABLE, str(DATA / below))
  assert len(examples_of(f'zoo_{task}', split)) == count


@pytest.mark.parametrize(('name', 'reader', 'rows', 'count'), OTHERS, ids=[name for name, *_ in OTHERS])
def test_every_row_of_other_files_is_read(name, reader, rows, count):
  examples = [example for found in reader.rows(str(DATA / name)) for example in rows(found.value)]
  assert len(examples) == count


def test_winogrande_as_instructions():
  """The sentence and the options are extracted from the instruction: the records of the published dev set."""
  pattern = re.compile(r'.*given sentence: (.*)\n\nOption1: (.*) Option2: (.*) Answer format: .*', re.DOTALL)
  rows = json.loads((DATA / 'qa/winogrande/test.json').read_text())
  for row in rows:
    values = (*pattern.fullmatch(row['instruction']).groups(), row['answer'].removeprefix('option'))
    record = dict(zip(('sentence', 'option1', 'option2', 'answer'), values, strict=True))
    [example] = multiple_choice.WINOGRANDE.rows(record)
    assert example['targets'] == row['answer']
  assert len(rows) == 1267


@pytest.mark.parametrize(('split', 'count'), [('train', 554), ('val', 104)])
def test_every_schema_is_written_as_in_t5(split, count):
  """Through TensorFlow Datasets' repairs and T5's preprocessor, except for a blank at the end, which is not a token."""
  records = [found.value for found in JsonLines().rows(str(DATA / f'superglue/WSC/{split}.jsonl'))]
  fixed = [super_glue._fix_wst({'text': one['text'], **one['target']}) for one in records]
  rows = [{**row, 'label': 1, 'idx': 0} for row in fixed]
  kind = lambda value: tf.string if isinstance(value, str) else tf.int32
  signature = {name: tf.TensorSpec([], kind(value)) for name, value in rows[0].items()}
  dataset = tf.data.Dataset.from_generator(lambda: iter(rows), output_signature=signature)
  theirs = [
    (row['inputs'].decode().rstrip(), row['targets'].decode())
    for row in tfds.as_numpy(t5_preprocessors.wsc_simple(dataset))
  ]
  examples = (example for one in records for example in winograd.rows(one))
  assert [(one['inputs'].rstrip(), one['targets']) for one in examples] == theirs
  assert len(theirs) == count


def test_every_pair_of_aligned_lines(monkeypatch):
  """Tatoeba's 88,877 pairs of 112 languages, and 997 lines of 101 languages of FLORES."""
  monkeypatch.setenv(data_folder.VARIABLE, str(DATA))
  pairs = parallel_files.pairs(str(DATA / 'translation'))
  assert len([pair for pair in pairs if pair.split == 'train']) == 112
  assert len([pair for pair in pairs if pair.split == 'validation']) == 101
  count = {'train': 0, 'validation': 0}
  for task in seqio.get_mixture_or_task('zoo_translate').tasks:
    for split in task.splits:
      count[split] += task.num_input_examples(split)
  assert count == {'train': 88877, 'validation': 997 * 101}


@pytest.mark.parametrize('task', IDS)
def test_ids_of_real_rows(monkeypatch, task):
  monkeypatch.setenv(data_folder.VARIABLE, str(DATA))
  monkeypatch.setenv(vocabularies.VARIABLE, str(DATA / 'vocab/t5/spiece.model'))
  inputs, targets = IDS[task]
  dataset = seqio.TaskRegistry.get(f'zoo_{task}').get_dataset(split='validation', shuffle=False)
  [row] = tfds.as_numpy(dataset.take(1))
  assert row['inputs'].tolist()[:8] == inputs
  assert row['targets'].tolist()[: len(targets)] == targets
  assert row['inputs'][-1] == row['targets'][-1] == 1  # end of sequence
