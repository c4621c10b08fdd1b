"""ANLI, WinoGrande, ARC, XSum and CNN/DailyMail by value, in the files people have."""

import json

import benchmark_files
import pytest
import seqio

from switch_zoo.tasks import anli, data_folder, multiple_choice, summarization
from switch_zoo.tasks.raw_files import BadField

ANLI = {'uid': 'x', 'context': 'It rained.', 'hypothesis': 'It was dry.', 'label': 'c', 'reason': 'r', 'tag': 'r3_dev'}
WINOGRANDE = {
  'qID': '3QHITW7OYO7Q6B6ISU2UMJB84ZLAQE-2',
  'sentence': 'Sarah was a better surgeon than Maria so _ got the easier cases.',
  'option1': 'Sarah',
  'option2': 'Maria',
  'answer': '2',
}
CHOICES = [{'text': 'cellular telephone', 'label': 'A'}, {'text': 'television', 'label': 'B'}]
ARC = {'id': 'MCAS_2000_4_6', 'question': {'stem': 'Which is newer?', 'choices': CHOICES}, 'answerKey': 'A'}
NUMBERED = {'question': {'stem': 'Which?', 'choices': [{'text': t, 'label': str(n)} for n, t in enumerate('xyz', 1)]}}
ROWS = {
  'zoo_anli_r3': (
    *('anli_v1.0/R3/dev.jsonl', ANLI),
    *('anli context: It rained. hypothesis: It was dry.', 'contradiction'),
  ),
  'zoo_winogrande_xl': (
    *('winogrande_1.1/dev.jsonl', WINOGRANDE),
    'winogrande option1: Sarah option2: Maria sentence: Sarah was a better surgeon than Maria so _ got the easier '
    'cases.',
    'option2',
  ),
  'zoo_arc_easy': (
    *('ARC-V1-Feb2018-2/ARC-Easy/ARC-Easy-Dev.jsonl', ARC),
    *('arc choice1: cellular telephone choice2: television question: Which is newer?', 'choice1'),
  ),
  'zoo_arc_challenge': (
    *('arc/ARC-Challenge-Dev.jsonl', {**NUMBERED, 'answerKey': '3'}),
    *('arc choice1: x choice2: y choice3: z question: Which?', 'choice3'),
  ),
  'zoo_xsum': (
    *('xsum/validation.jsonl', {'document': 'Long\ntext.', 'summary': 'Short.', 'id': '7'}),
    *('summarize: Long\ntext.', 'Short.'),
  ),
  'zoo_cnn_dailymail': (
    *('cnn_dailymail/val.jsonl', {'article': 'Long.', 'highlights': 'One .\nTwo .', 'id': '7'}),
    *('summarize: Long.', 'One .\nTwo .'),
  ),
}


@pytest.fixture
def files(tmp_path, monkeypatch):
  monkeypatch.setenv(data_folder.VARIABLE, str(tmp_path))
  return tmp_path


def read(task, split='validation'):
  source = seqio.TaskRegistry.get(task).source
  return [(example['inputs'], example['targets']) for example in source.examples(split)]


@pytest.mark.parametrize('task', ROWS)
def test_a_row(files, task):
  name, row, *pair = ROWS[task]
  benchmark_files.write(files / name, json.dumps(row) + '\n')
  assert read(task) == [tuple(pair)]


def test_articles_of_a_table(files):
  text = 'id,article,highlights\n1,"A ""long"", \ntext.",Short.\n'
  benchmark_files.write(files / 'cnn_dailymail' / 'train.csv', text)
  assert read('zoo_cnn_dailymail', 'train') == [('summarize: A "long", \ntext.', 'Short.')]


@pytest.mark.parametrize(
  ('rows', 'row', 'field'),
  [
    (anli.ANLI.rows, {**ANLI, 'label': 'entailment'}, 'label'),
    (anli.ANLI.rows, {'context': 'c', 'label': 'e'}, 'hypothesis'),
    (multiple_choice.WINOGRANDE.rows, {**WINOGRANDE, 'answer': ''}, 'answer'),
    (multiple_choice.WINOGRANDE.rows, {**WINOGRANDE, 'answer': 2}, 'answer'),
    (multiple_choice.arc_rows, {**ARC, 'answerKey': 'C'}, 'answerKey'),
    (multiple_choice.arc_rows, {**NUMBERED}, 'answerKey'),
    (multiple_choice.arc_rows, {**ARC, 'question': 'Which?'}, 'question'),
    (multiple_choice.arc_rows, {**ARC, 'question': {'stem': 's', 'choices': CHOICES[:1]}}, 'question.choices'),
    (multiple_choice.arc_rows, {**ARC, 'question': {'choices': CHOICES}}, 'stem'),
    (summarization.summary_rows('document', 'summary'), {'document': 'd'}, 'summary'),
  ],
)
def test_a_bad_field_is_named(rows, row, field):
  with pytest.raises(BadField) as error:
    list(rows(row))
  assert error.value.field == field


@pytest.mark.parametrize('answer', [None, ''])
def test_a_test_split_needs_no_answer(answer):
  without = {'answer': answer, 'answerKey': answer} if answer is not None else {}
  winogrande = {name: WINOGRANDE[name] for name in ('sentence', 'option1', 'option2')} | without
  arc = {'question': ARC['question']} | without
  assert [one['targets'] for one in multiple_choice.WINOGRANDE.test_rows(winogrande)] == ['<unk>']
  assert [one['targets'] for one in multiple_choice.arc_test_rows(arc)] == ['<unk>']
  assert [one['targets'] for one in multiple_choice.arc_test_rows(ARC)] == ['choice1']


def test_arc_of_tensorflow_datasets():
  row = {'id': 'i', 'question': 'Which?', 'choices': {'text': ['x', 'y', 'z'], 'label': [0, 1, 2]}, 'answerKey': 1}
  assert list(multiple_choice.arc_rows(multiple_choice.arc_tfds_record(row))) == [
    {'inputs': 'arc choice1: x choice2: y choice3: z question: Which?', 'targets': 'choice2'}
  ]


@pytest.mark.parametrize(('said', 'number'), [('choice1', 0), ('choice5', 4), ('Choice1', -1), ('', -1)])
def test_a_choice_is_numbered(said, number):
  assert seqio.TaskRegistry.get('zoo_arc_easy').postprocess_fn(said, example={}, is_target=False) == number


@pytest.mark.parametrize('task', ROWS)
def test_every_task_is_in_tensorflow_datasets_too(task):
  """Every split here has a split there."""
  source = seqio.TaskRegistry.get(task).source
  assert set(source.tfds.splits) == set(source.splits)
