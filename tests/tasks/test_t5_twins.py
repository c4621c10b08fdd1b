"""Rows as T5's own preprocessors write them, on rows of the features that TensorFlow Datasets documents."""

import functools

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from hypothesis import given, settings
from hypothesis import strategies as st
from t5.data import glue_utils, preprocessors

from switch_zoo.tasks import (
  anli,
  glue,
  multiple_choice,
  multirc,
  question_answering,
  record_cloze,
  similarity,
  summarization,
  superglue,
  translation,
  winograd,
)

GLUE = tfds.text.glue.Glue.builder_configs
SUPERGLUE = tfds.text.super_glue.SuperGlue.builder_configs
CLASSIFICATIONS = {
  'boolq': (SUPERGLUE, superglue.BOOLQ),
  'cb': (SUPERGLUE, superglue.CB),
  'copa': (SUPERGLUE, superglue.COPA),
  'rte': (SUPERGLUE, superglue.RTE),
  'wic': (SUPERGLUE, superglue.WIC),
  'cola': (GLUE, glue.COLA),
  'sst2': (GLUE, glue.SST2),
  'mrpc': (GLUE, glue.MRPC),
  'qqp': (GLUE, glue.QQP),
  'mnli': (GLUE, glue.MNLI),
  'mnli_mismatched': (GLUE, glue.MNLI),
  'qnli': (GLUE, glue.QNLI),
  'glue rte': (GLUE, glue.RTE),
  'wnli': (GLUE, glue.WNLI),
}


def t5(preprocessor, rows, fields=('inputs', 'targets')):
  """What a preprocessor of T5 makes of rows, as Python values."""
  dataset = preprocessor(tf.data.Dataset.from_generator(lambda: iter(rows), output_signature=signature(rows[0])))
  return [{field: python(row[field]) for field in fields} for row in tfds.as_numpy(dataset)]


def signature(value):
  if isinstance(value, dict):
    return {name: signature(one) for name, one in value.items()}
  if isinstance(value, list):
    return tf.TensorSpec([None], tf.string)
  return tf.TensorSpec([], {str: tf.string, int: tf.int32, float: tf.float32}[type(value)])


def python(value):
  if isinstance(value, np.ndarray):
    return [python(one) for one in value]
  return value.decode() if isinstance(value, bytes) else int(value)


def ours(tfds_record, rows_of, rows, fields=('inputs', 'targets')):
  examples = (example for row in rows for example in rows_of(tfds_record(row)))
  return [{field: example[field] for field in fields} for example in examples]


@pytest.mark.parametrize('name', CLASSIFICATIONS)
def test_classification(name):
  """Every class and an unlabelled row; the texts contain what might break a template."""
  configs, task = CLASSIFICATIONS[name]
  config = configs[name.removeprefix('glue ')]
  places = dict.fromkeys(('start1', 'start2', 'end1', 'end2'), 3) if name == 'wic' else {}
  rows = [
    {text: f'{{0}} %s \\1 {text} é {label}' for text in task.texts} | {'label': label, 'idx': 7} | places
    for label in (*range(len(config.label_classes)), -1)
  ]
  theirs = t5(glue_utils.get_glue_text_preprocessor(config), rows)
  assert ours(task.tfds_record, task.test_rows, rows) == theirs
  assert [row['targets'] for row in theirs] == [*config.label_classes, '<unk>']


ANLI = anli.ANLI, ['entailment', 'neutral', 'contradiction']
WINOGRANDE = multiple_choice.WINOGRANDE, ['option1', 'option2']


@pytest.mark.parametrize(('task', 'labels'), [ANLI, WINOGRANDE], ids=['anli', 'winogrande'])
def test_data_sets_that_t5_does_not_have_follow_its_rule(task, labels):
  rows = [{text: f'the {text}' for text in task.texts} | {'label': label} for label in range(len(labels))]
  rule = functools.partial(preprocessors.glue, benchmark_name=task.prefix, label_names=labels, id_key=None)
  assert ours(task.tfds_record, task.rows, rows) == t5(rule, rows)


def test_multirc():
  row = {'paragraph': '<b>Sent 1: </b>A <i>b</i>.<br>', 'question': 'Who?<br>', 'answer': '<b>He</b>'}
  rows = [{**row, 'label': label, 'idx': {'paragraph': 3, 'question': 4, 'answer': label}} for label in (0, 1)]
  fields = ('inputs', 'targets', 'idx/paragraph', 'idx/question', 'idx/answer')
  theirs = t5(glue_utils.get_glue_text_preprocessor(SUPERGLUE['multirc']), rows, fields)
  assert ours(multirc.tfds_record, multirc.rows, rows, fields) == theirs


PASSAGE = 'One.\n@highlight\nTwo\n@highlight\nThree"\n@highlight\nFour'


def test_record():
  row = {'passage': PASSAGE, 'query': '@placeholder counts', 'idx': {'passage': 1, 'query': 2}}
  rows = [{**row, 'entities': ['Four', 'One'], 'answers': answers} for answers in (['Four'], ['Four', 'One'])]
  fields = ('inputs', 'targets', 'answers', 'idx/passage', 'idx/query')
  theirs = t5(preprocessors.record, rows, fields)
  assert len(theirs) == 3
  assert ours(record_cloze.tfds_record, record_cloze.train_rows, rows, fields) == theirs


def test_record_without_answers():
  rows = [{'passage': 'P.', 'query': 'q', 'entities': ['One'], 'answers': [], 'idx': {'passage': 1, 'query': 2}}]
  theirs = t5(preprocessors.record, rows, ('inputs', 'targets', 'answers'))
  assert ours(record_cloze.tfds_record, record_cloze.test_rows, rows, ('inputs', 'targets', 'answers')) == theirs


WSC_ROWS = [
  ('Mark told Pete many lies. He lied again.', 'Mark', 0, 'He', 5),
  ('I poured water from the bottle into the cup until it was full.', 'the cup', 7, 'it', 10),
  ('Bob paid for a\\1 b. His friend was glad .', 'Bob', 0, 'His', 5),
]


@pytest.mark.parametrize('right_only', [False, True])
def test_wsc(right_only):
  names = ('text', 'span1_text', 'span1_index', 'span2_text', 'span2_index')
  rows = [dict(zip(names, row, strict=True)) | {'label': n % 2, 'idx': n} for n, row in enumerate(WSC_ROWS)]
  theirs = t5(functools.partial(preprocessors.wsc_simple, correct_referent_only=right_only), rows)
  assert len(theirs) == (1 if right_only else 3)
  assert ours(winograd.tfds_record, winograd.train_rows if right_only else winograd.rows, rows) == theirs


def test_stsb_at_every_thousandth():
  """All scores in one row: T5's function also works on a vector of labels."""
  scores = [n / 1000 for n in range(5001)]
  dataset = tf.data.Dataset.from_tensors({'sentence1': 'a', 'sentence2': 'b', 'label': tf.constant(scores), 'idx': 0})
  [row] = tfds.as_numpy(preprocessors.stsb(dataset))
  records = ({'sentence1': 'a', 'sentence2': 'b', 'label': score} for score in scores)
  examples = [example for one in records for example in similarity.rows(similarity.tfds_record(one))]
  assert {example['inputs'] for example in examples} == {row['inputs'].decode()}
  assert [example['targets'] for example in examples] == [target.decode() for target in row['targets']]


def test_squad():
  row = {'id': '1', 'context': "The Broncos (Denver)  won 24-10.\n It's so.", 'question': 'Who won?'}
  rows = [{**row, 'answers': {'text': ['Broncos (Denver)', 'The Broncos']}}]
  theirs = t5(preprocessors.squad, rows, ('inputs', 'targets', 'answers'))
  fields = ('inputs', 'targets', 'answers')
  assert ours(question_answering.squad_tfds_record, question_answering.squad_rows, rows, fields) == theirs


@settings(max_examples=20, deadline=None)
@given(st.lists(st.text(st.characters(exclude_categories=('Cs',), exclude_characters='\0')), min_size=1))
def test_spaces_around_punctuation(texts):
  with tf.Graph().as_default(), tf.compat.v1.Session() as session:
    theirs = session.run(preprocessors._pad_punctuation(tf.constant(texts)))
  assert [question_answering.spaced(text) for text in texts] == [text.decode() for text in theirs]


@pytest.mark.parametrize(
  ('article', 'summary'), [('document', 'summary'), ('article', 'highlights')], ids=['xsum', 'cnn_dailymail']
)
def test_summarize(article, summary):
  rows = [{article: 'Long text.\nMore of it.', summary: 'Short .\nText .'}]
  theirs = t5(functools.partial(preprocessors.summarize, article_key=article, summary_key=summary), rows)
  assert ours(lambda row: row, summarization.summary_rows(article, summary), rows) == theirs


@pytest.mark.parametrize('language', ['de', 'fr', 'zh', 'nb', 'sw'])
def test_translate(language):
  rows = [{language: 'Das ist gut.', 'en': 'That is good.'}]
  translate = functools.partial(preprocessors.translate, source_language=language, target_language='en')
  source = translation.PairSource(language)
  assert ours(lambda row: {'source': row[language], 'english': row['en']}, source.rows, rows) == t5(translate, rows)
