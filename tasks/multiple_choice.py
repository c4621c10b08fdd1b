"""Tasks that choose between texts: `zoo_winogrande_xl`, `zoo_arc_easy` and `zoo_arc_challenge`.

    'winogrande option1: Sarah option2: Maria sentence: Sarah was a much better surgeon than Maria so _ always got the
    easier cases.' -> 'option2'
    'arc choice1: cellular telephone choice2: television choice3: refrigerator choice4: airplane question: Which
    technology was developed most recently?' -> 'choice1'

T5 has neither; they are put as it puts COPA: the texts behind their names, and the name of the right one as the answer.
Choices of ARC are named by their place: the files letter most of them and number some.
"""

from collections.abc import Iterator
from typing import Any

import tensorflow_datasets as tfds

from switch_zoo.tasks import fields, metrics, registration
from switch_zoo.tasks.classification import UNLABELLED, Classification
from switch_zoo.tasks.readers import BadField, JsonLines
from switch_zoo.tasks.sources import Files, FileSource, Tfds

WINOGRANDE = Classification(
  'winogrande',
  {name: name for name in ('option1', 'option2', 'sentence')},
  {'1': 'option1', '2': 'option2'},
  label='answer',
)
_MOST_CHOICES = 5
_CHOICES = Classification('arc', {}, {f'choice{place}': f'choice{place}' for place in range(1, _MOST_CHOICES + 1)})
_LETTERS = 'ABCDE'


def arc_rows(record: dict[str, Any]) -> Iterator[dict[str, str]]:
  """The example of a question, which must have an answer; BadField where a field is wrong."""
  choices = _choices(record)
  letters = [fields.text(choice, 'label') for choice in choices]
  place = letters.index(fields.one_of(record, 'answerKey', letters)) + 1
  yield {'inputs': _arc_inputs(record, choices), 'targets': f'choice{place}'}


def arc_test_rows(record: dict[str, Any]) -> Iterator[dict[str, str]]:
  """As `arc_rows`, of a test split: without an answer the target is '<unk>'."""
  if record.get('answerKey', '') == '':
    yield {'inputs': _arc_inputs(record, _choices(record)), 'targets': UNLABELLED}
  else:
    yield from arc_rows(record)


def arc_tfds_record(row: dict[str, Any]) -> dict[str, Any]:
  """The file's record of a row of TensorFlow Datasets, which numbers the letters and has the choices as columns."""
  columns = zip(row['choices']['text'], row['choices']['label'], strict=True)
  choices = [{'text': text, 'label': _LETTERS[label]} for text, label in columns]
  return {'question': {'stem': row['question'], 'choices': choices}, 'answerKey': _LETTERS[row['answerKey']]}


def winogrande_source() -> FileSource:
  """The files of winogrande_1.1 with the largest train split, and the same in TensorFlow Datasets."""
  # The installed builder's only version: 1.1.0 of TensorFlow Datasets 4.9.3, later 1.2.0 with the same features.
  version = tfds.builder_cls('winogrande').VERSION
  return FileSource(
    ('winogrande', 'winogrande_1.1'),
    {
      'train': [Files('train_xl.jsonl', JsonLines(), WINOGRANDE.rows)],
      'validation': [Files('dev.jsonl', JsonLines(), WINOGRANDE.rows)],
      'test': [Files('test.jsonl', JsonLines(), WINOGRANDE.test_rows)],
    },
    where='They are in winogrande_1.1.zip of https://winogrande.allenai.org.',
    tfds=Tfds(
      f'winogrande:{version}',
      {'train': 'train_xl', 'validation': 'validation', 'test': 'test'},
      WINOGRANDE.tfds_record,
    ),
  )


def arc_source(name: str) -> FileSource:
  """The files of 'ARC-Easy' or 'ARC-Challenge', and the same in TensorFlow Datasets."""
  rows = {'train': ('Train', arc_rows), 'validation': ('Dev', arc_rows), 'test': ('Test', arc_test_rows)}
  splits = {split: [Files(f'{name}-{ending}.jsonl', JsonLines(), row)] for split, (ending, row) in rows.items()}
  return FileSource(
    (f'arc/{name}', 'arc', f'ARC-V1-Feb2018-2/{name}'),
    splits,
    where='They are in ARC-V1-Feb2018.zip of https://allenai.org/data/arc.',
    tfds=Tfds(f'ai2_arc/{name}:1.0.0', {split: split for split in splits}, arc_tfds_record),
  )


def _choices(record):
  choices = fields.objects(fields.nested(record, 'question'), 'choices')
  if not 2 <= len(choices) <= _MOST_CHOICES:
    raise BadField('question.choices', f'has {len(choices)} entries; it must have 2 to {_MOST_CHOICES}')
  return choices


def _arc_inputs(record, choices):
  texts = (f'choice{place}: {fields.text(choice, "text")}' for place, choice in enumerate(choices, 1))
  return ' '.join(('arc', *texts, f'question: {fields.text(record["question"], "stem")}'))


registration.add_task('zoo_winogrande_xl', winogrande_source(), (metrics.accuracy,), WINOGRANDE.class_id)
registration.add_task('zoo_arc_easy', arc_source('ARC-Easy'), (metrics.accuracy,), _CHOICES.class_id)
registration.add_task('zoo_arc_challenge', arc_source('ARC-Challenge'), (metrics.accuracy,), _CHOICES.class_id)
