"""Questions with and without a text to read the answer from.

`zoo_squad` (SQuAD v1.1, arXiv:1606.05250) in the form of T5, with spaces around every punctuation mark:

    'question: Who won ? context: The Broncos won . ...' -> 'The Broncos'

Closed-book, the form of arXiv:2002.08910: `zoo_natural_questions`, `zoo_web_questions`, `zoo_trivia_qa`.

    'nq question: when was the last time anyone was on the moon' -> '14 December 1972 UTC'

The split 'validation' is the one that this paper and the Switch Transformers report on: the dev sets of NQ and
TriviaQA, and the test set of WebQuestions, which has no dev set except in the layout with a val.json.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import tensorflow as tf

from switch_zoo.tasks import fields, metrics, registration
from switch_zoo.tasks.classification import NO_EXAMPLE, UNLABELLED
from switch_zoo.tasks.example_datasets import TEXT_TO_TEXT
from switch_zoo.tasks.raw_files import BadField
from switch_zoo.tasks.readers import JsonLines, JsonList
from switch_zoo.tasks.sources import ReleaseSource
from switch_zoo.tasks.split_files import SplitFiles
from switch_zoo.tasks.tfds_rows import TfdsDataset

FIELDS = {**TEXT_TO_TEXT, 'answers': tf.TensorSpec([None], tf.string)}
_PUNCTUATION = re.compile(r'[!-/:-@\[-`{-~]')
_BLANKS = re.compile(r'[\t\n\f\r ]+')
# (description "Padmé Amidala") or (description Bahamas), one after another in a (list ...)
_DESCRIPTION = re.compile(r'\(description (?:"([^"]+)"|([^)]+))\)')


def squad_rows(article: dict[str, Any]) -> Iterator[dict[str, Any]]:
  """An example for every question of an article, the first answer its target; BadField if a field is wrong."""
  for paragraph in fields.objects(article, 'paragraphs'):
    context = spaced(fields.text(paragraph, 'context'))
    for question in fields.objects(paragraph, 'qas'):
      answers = [spaced(fields.text(answer, 'text')) for answer in fields.objects(question, 'answers')]
      inputs = f'question: {spaced(fields.text(question, "question"))} context: {context}'
      yield _example(_BLANKS.sub(' ', inputs), answers)


def squad_tfds_record(row: dict[str, Any]) -> dict[str, Any]:
  """The file's record of a row of TensorFlow Datasets, which is one question: an article with a single question."""
  question = {'question': row['question'], 'answers': [{'text': text} for text in row['answers']['text']]}
  return {'paragraphs': [{'context': row['context'], 'qas': [question]}]}


def natural_questions_rows(record: dict[str, Any]) -> Iterator[dict[str, Any]]:
  """{"question": .., "answer": [..]}"""
  yield _example(f'nq question: {fields.text(record, "question")}', fields.texts(record, 'answer'))


def web_questions_rows(record: dict[str, Any]) -> Iterator[dict[str, Any]]:
  """{"qText": .., "answers": [..]}"""
  yield _example(f'wq question: {fields.text(record, "qText")}', fields.texts(record, 'answers'))


def web_questions_release_rows(record: dict[str, Any]) -> Iterator[dict[str, Any]]:
  """{"utterance": .., "targetValue": '(list (description "Jazmyn Bieber") (description "Jaxon Bieber"))'}"""
  value = fields.text(record, 'targetValue')
  answers = [quoted or bare for quoted, bare in _DESCRIPTION.findall(value)]
  if not answers:
    raise BadField('targetValue', f'is {value!r}; it must be (list (description "...") ...)')
  yield _example(f'wq question: {fields.text(record, "utterance")}', answers)


def trivia_qa_rows(record: dict[str, Any]) -> Iterator[dict[str, Any]]:
  """{"Question": .., "Answer": {"Value": .., "Aliases": [..]}}: any alias is right; the value is what is trained on."""
  answer = fields.nested(record, 'Answer')
  value, aliases = fields.text(answer, 'Value').strip(), fields.texts(answer, 'Aliases')
  yield {**_trivia_qa_example(record, [alias.strip() for alias in aliases] or [value]), 'targets': value}


def trivia_qa_test_rows(record: dict[str, Any]) -> Iterator[dict[str, Any]]:
  """As `trivia_qa_rows`, for the test split: without an answer the target is '<unk>'."""
  if 'Answer' in record:
    yield from trivia_qa_rows(record)
  else:
    yield {**_trivia_qa_example(record, [UNLABELLED]), 'answers': []}


def trivia_qa_tfds_record(row: dict[str, Any]) -> dict[str, Any]:
  """The file's record of a row of TensorFlow Datasets."""
  value, aliases = row['answer']['value'], row['answer']['aliases']
  record = {'Question': row['question']}
  return record if value == UNLABELLED else {**record, 'Answer': {'Value': value, 'Aliases': aliases}}


def answers(text: str, example: Mapping[str, Any] = NO_EXAMPLE, is_target: bool = False) -> str | list[str] | None:
  """The postprocessing function: a prediction stays, a target becomes all answers (None if there are none)."""
  if not is_target:
    return text
  return [tf.compat.as_text(answer) for answer in example['answers']] or None


def spaced(text: str) -> str:
  """A text with spaces around every ASCII punctuation mark, and no two blanks in a row.

  >>> spaced("Who's there?  (1)")
  "Who ' s there ? ( 1 ) "
  """
  return _BLANKS.sub(' ', _PUNCTUATION.sub(r' \g<0> ', text))


def _example(inputs: str, right: list[str]) -> dict[str, Any]:
  if not right:
    raise BadField('answers', 'is empty')
  return {'inputs': inputs, 'targets': right[0], 'answers': right}


def _trivia_qa_example(record: dict[str, Any], right: list[str]) -> dict[str, Any]:
  return _example(f'trivia_qa question: {fields.text(record, "Question").strip()}', right)


def _squad_source() -> ReleaseSource:
  reader = JsonList(at=('data',))
  return ReleaseSource(
    ('squad', 'SQuAD', ''),
    {
      'train': [SplitFiles('train-v1.1.json', reader, squad_rows)],
      'validation': [SplitFiles('dev-v1.1.json', reader, squad_rows)],
    },
    where='They are at https://rajpurkar.github.io/SQuAD-explorer/dataset/train-v1.1.json and dev-v1.1.json.',
    fields=FIELDS,
    tfds=TfdsDataset('squad/v1.1:3.0.0', {'train': 'train', 'validation': 'validation'}, squad_tfds_record),
  )


def _natural_questions_source() -> ReleaseSource:
  return ReleaseSource(
    ('nq_open', 'natural_questions'),
    {
      'train': [SplitFiles('NQ-open.train.jsonl', JsonLines(), natural_questions_rows)],
      'validation': [SplitFiles('NQ-open.dev.jsonl', JsonLines(), natural_questions_rows)],
    },
    where='They are in the folder nq_open of https://github.com/google-research-datasets/natural-questions.',
    fields=FIELDS,
    tfds=TfdsDataset('natural_questions_open:1.0.0', {'train': 'train', 'validation': 'validation'}, lambda row: row),
  )


def _web_questions_source() -> ReleaseSource:
  factoid = lambda name: SplitFiles(name, JsonList(), web_questions_rows)
  release = lambda name: SplitFiles(f'webquestions.examples.{name}.json', JsonList(), web_questions_release_rows)
  return ReleaseSource(
    ('webquestions', 'web_questions'),
    {
      'train': [factoid('trainmodel.json'), release('train')],
      'validation': [factoid('val.json'), release('test')],
      'test': [factoid('test.json'), release('test')],
    },
    where='They are at https://worksheets.codalab.org/worksheets/0xba659fe363cb46e7a505c5b6a774dc8a, or in the '
    'folder main of https://github.com/brmson/dataset-factoid-webquestions.',
    fields=FIELDS,
    tfds=TfdsDataset(
      'web_questions:1.0.0',
      {'train': 'train', 'validation': 'test', 'test': 'test'},
      lambda row: {'qText': row['question'], 'answers': row['answers']},
    ),
  )


def _trivia_qa_source() -> ReleaseSource:
  reader = JsonList(at=('Data',))
  return ReleaseSource(
    ('triviaqa-unfiltered', 'triviaqa/triviaqa-unfiltered', 'triviaqa', 'trivia_qa'),
    {
      'train': [SplitFiles('unfiltered-web-train.json', reader, trivia_qa_rows)],
      'validation': [SplitFiles('unfiltered-web-dev.json', reader, trivia_qa_rows)],
      'test': [SplitFiles('unfiltered-web-test-without-answers.json', reader, trivia_qa_test_rows)],
    },
    where='They are in triviaqa-unfiltered.tar.gz at http://nlp.cs.washington.edu/triviaqa.',
    fields=FIELDS,
    tfds=TfdsDataset(
      'trivia_qa/unfiltered.nocontext:1.1.0',
      {'train': 'train', 'validation': 'validation', 'test': 'test'},
      trivia_qa_tfds_record,
    ),
  )


registration.add_task('zoo_squad', _squad_source(), (metrics.squad,), answers)
registration.add_task('zoo_natural_questions', _natural_questions_source(), (metrics.squad,), answers)
registration.add_task('zoo_web_questions', _web_questions_source(), (metrics.squad,), answers)
registration.add_task('zoo_trivia_qa', _trivia_qa_source(), (metrics.trivia_qa,), answers)
