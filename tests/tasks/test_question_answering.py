"""Questions by value, in the files they are published in."""

import json
import tempfile

import benchmark_files
import pytest
import seqio
from hypothesis import given
from hypothesis import strategies as st
from tensorflow_datasets.question_answering import web_questions

from switch_zoo.errors import UserError
from switch_zoo.tasks import data_folder
from switch_zoo.tasks import question_answering as qa
from switch_zoo.tasks.raw_files import BadField

SQUAD = {
  'version': '1.1',
  'data': [
    {
      'title': 'Super_Bowl_50',
      'paragraphs': [
        {
          'context': 'The Broncos won 24–10 (in 2016).',
          'qas': [
            {'id': '1', 'question': 'Who won?', 'answers': [{'text': 'Broncos', 'answer_start': 4}]},
            {
              'id': '2',
              'question': 'When?',
              'answers': [{'text': 'in 2016', 'answer_start': 0}, {'text': '2016)', 'answer_start': 0}],
            },
          ],
        }
      ],
    }
  ],
}
TRIVIA = {
  'Question': ' Which Lloyd Webber musical premiered in the US on 10th December 1993?',
  'QuestionId': 'tc_33',
  'Answer': {'Value': 'Sunset Boulevard', 'Aliases': ['Sunset Blvd', 'Sunset Boulevard ']},
}
JAZMYN = '(list (description "Jazmyn Bieber") (description "Jaxon Bieber (b. 2009)"))'


@pytest.fixture
def files(tmp_path, monkeypatch):
  monkeypatch.setenv(data_folder.VARIABLE, str(tmp_path))
  return tmp_path


def read(task, split):
  source = seqio.TaskRegistry.get(task).source
  return [(example['inputs'], example['targets'], example['answers']) for example in source.examples(split)]


def test_squad(files):
  benchmark_files.write(files / 'squad' / 'dev-v1.1.json', json.dumps(SQUAD))
  context = 'context: The Broncos won 24–10 ( in 2016 ) . '
  assert read('zoo_squad', 'validation') == [
    (f'question: Who won ? {context}', 'Broncos', ['Broncos']),
    (f'question: When ? {context}', 'in 2016', ['in 2016', '2016 ) ']),
  ]


@pytest.mark.parametrize(
  ('name', 'text', 'task', 'split', 'row'),
  [
    (
      'nq_open/NQ-open.dev.jsonl',
      json.dumps({'question': 'when was it', 'answer': ['14 December 1972 UTC', 'December 1972']}),
      'zoo_natural_questions',
      'validation',
      ('nq question: when was it', '14 December 1972 UTC', ['14 December 1972 UTC', 'December 1972']),
    ),
    (
      'webquestions/val.json',
      json.dumps([{'qId': 'wqr000004', 'answers': ['Bahamian dollar'], 'qText': 'what kind of money?'}]),
      'zoo_web_questions',
      'validation',
      ('wq question: what kind of money?', 'Bahamian dollar', ['Bahamian dollar']),
    ),
    (
      'web_questions/webquestions.examples.train.json',
      json.dumps([{'url': 'u', 'utterance': 'who is his brother?', 'targetValue': JAZMYN}]),
      'zoo_web_questions',
      'train',
      ('wq question: who is his brother?', 'Jazmyn Bieber', ['Jazmyn Bieber', 'Jaxon Bieber (b. 2009)']),
    ),
    (
      'triviaqa-unfiltered/unfiltered-web-dev.json',
      json.dumps({'Data': [TRIVIA], 'Domain': 'unfiltered-web', 'Version': 1.0}),
      'zoo_trivia_qa',
      'validation',
      (
        'trivia_qa question: Which Lloyd Webber musical premiered in the US on 10th December 1993?',
        'Sunset Boulevard',
        ['Sunset Blvd', 'Sunset Boulevard'],
      ),
    ),
    (
      'triviaqa/unfiltered-web-test-without-answers.json',
      json.dumps({'Data': [{'Question': 'Who?', 'QuestionId': 'x'}]}),
      'zoo_trivia_qa',
      'test',
      ('trivia_qa question: Who?', '<unk>', []),
    ),
  ],
  ids=['natural questions', 'web questions', 'web questions, release', 'trivia qa', 'trivia qa, test'],
)
def test_closed_book(files, name, text, task, split, row):
  benchmark_files.write(files / name, text)
  assert read(task, split) == [row]


def test_the_published_test_questions_are_used_for_validation_if_there_are_no_others(files):
  rows = json.dumps([{'url': 'u', 'utterance': 'who?', 'targetValue': '(list (description He))'}])
  benchmark_files.write(files / 'webquestions' / 'webquestions.examples.test.json', rows)
  expected = [('wq question: who?', 'He', ['He'])]
  assert read('zoo_web_questions', 'validation') == read('zoo_web_questions', 'test') == expected


def test_what_is_wrong_is_reported_with_its_article(files):
  wrong = {'data': [*SQUAD['data'], {'title': 'T', 'paragraphs': [{'context': 'c', 'qas': [{'question': 'q'}]}]}]}
  path = files / 'squad' / 'train-v1.1.json'
  benchmark_files.write(path, json.dumps(wrong, indent=1))
  with pytest.raises(UserError) as error:
    read('zoo_squad', 'train')
  assert str(error.value).startswith(f'{path}, line ')
  assert 'item 2: field "answers" is missing; the row has: question' in str(error.value)


@pytest.mark.parametrize(
  ('rows', 'row', 'field'),
  [
    (qa.natural_questions_rows, {'question': 'q', 'answer': 'a'}, 'answer'),
    (qa.natural_questions_rows, {'question': 'q', 'answer': []}, 'answers'),
    (qa.natural_questions_rows, {'question': 'q', 'answer': [1]}, 'answer'),
    (qa.web_questions_rows, {'answers': ['a']}, 'qText'),
    (qa.web_questions_release_rows, {'utterance': 'q', 'targetValue': '(list)'}, 'targetValue'),
    (qa.trivia_qa_rows, {'Question': 'q'}, 'Answer'),
    (qa.trivia_qa_rows, {**TRIVIA, 'Answer': {'Value': 'v', 'Aliases': 'v'}}, 'Aliases'),
    (qa.squad_rows, {'paragraphs': [{'context': 'c', 'qas': [{'question': 'q', 'answers': []}]}]}, 'answers'),
  ],
)
def test_a_bad_field_is_named(rows, row, field):
  with pytest.raises(BadField) as error:
    list(rows(row))
  assert error.value.field == field


def test_a_question_without_aliases_has_its_value():
  [example] = qa.trivia_qa_rows({**TRIVIA, 'Answer': {'Value': 'Sunset Boulevard', 'Aliases': []}})
  assert example['answers'] == ['Sunset Boulevard']


ANSWER = st.text(st.sampled_from('ab (.)é'), min_size=1, max_size=6)


@given(st.lists(ANSWER, min_size=1, max_size=4))
def test_answers_of_the_release_are_those_of_tensorflow_datasets(answers):
  value = f'(list {" ".join(f"(description {chr(34)}{answer}{chr(34)})" for answer in answers)})'
  rows = [{'url': 'u', 'utterance': 'q', 'targetValue': value}]
  with tempfile.NamedTemporaryFile('w', suffix='.json') as file:
    json.dump(rows, file)
    file.flush()
    [(_, theirs)] = web_questions.WebQuestions._generate_examples(None, file_path=file.name)
  [example] = qa.web_questions_release_rows(rows[0])
  assert example['answers'] == theirs['answers'] == answers


TFDS_ROWS = [
  (
    qa.trivia_qa_tfds_record,
    qa.trivia_qa_rows,
    {'question': 'Who?', 'answer': {'value': 'V', 'aliases': ['V', 'W'], 'normalized_value': 'v'}},
    ('trivia_qa question: Who?', 'V', ['V', 'W']),
  ),
  (
    qa.trivia_qa_tfds_record,
    qa.trivia_qa_test_rows,
    {'question': 'Who?', 'answer': {'value': '<unk>', 'aliases': []}},
    ('trivia_qa question: Who?', '<unk>', []),
  ),
  (
    seqio.TaskRegistry.get('zoo_web_questions').source.tfds.record,
    qa.web_questions_rows,
    {'url': 'u', 'question': 'who?', 'answers': ['A', 'B']},
    ('wq question: who?', 'A', ['A', 'B']),
  ),
  (
    seqio.TaskRegistry.get('zoo_natural_questions').source.tfds.record,
    qa.natural_questions_rows,
    {'question': 'who', 'answer': ['A', 'B']},
    ('nq question: who', 'A', ['A', 'B']),
  ),
]


@pytest.mark.parametrize(('record', 'rows', 'row', 'expected'), TFDS_ROWS)
def test_rows_of_tensorflow_datasets(record, rows, row, expected):
  [example] = rows(record(row))
  assert (example['inputs'], example['targets'], example['answers']) == expected


def test_all_answers_are_targets():
  example = {'answers': [b'A', 'é'.encode()]}
  assert qa.answers('A', example=example, is_target=True) == ['A', 'é']
  assert qa.answers('said', example=example) == 'said'
  assert qa.answers('<unk>', example={'answers': []}, is_target=True) is None
