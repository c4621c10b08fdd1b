"""MultiRC: each answer to a question about a paragraph is true or false; several can be true.

'multirc question: What causes a change in motion? answer: A force. paragraph: ...' -> 'True'
"""

from collections.abc import Iterator, Mapping
from typing import Any

import tensorflow as tf

from switch_zoo.tasks import fields
from switch_zoo.tasks.classification import NO_EXAMPLE, UNLABELLED, class_id
from switch_zoo.tasks.example_datasets import TEXT_TO_TEXT

_CLASSES = ('False', 'True')
_INDICES = ('idx/paragraph', 'idx/question', 'idx/answer')

FIELDS = {**TEXT_TO_TEXT, **{name: tf.TensorSpec([], tf.int32) for name in _INDICES}}


def rows(record: dict[str, Any]) -> Iterator[dict[str, Any]]:
  """An example for every answer of a passage, each of which must have a label; BadField if a field is wrong."""
  for question, answer, example in _answers(record):
    label = fields.one_of(answer, 'label', (0, 1))
    yield {**example, 'inputs': _inputs(record, question, answer), 'targets': _CLASSES[label]}


def test_rows(record: dict[str, Any]) -> Iterator[dict[str, Any]]:
  """As `rows`, for a test split: the target of an answer without a label is '<unk>'."""
  for question, answer, example in _answers(record):
    label = fields.one_of(answer, 'label', (0, 1)) if 'label' in answer else None
    target = UNLABELLED if label is None else _CLASSES[label]
    yield {**example, 'inputs': _inputs(record, question, answer), 'targets': target}


def tfds_record(row: dict[str, Any]) -> dict[str, Any]:
  """The file's record of a row of TensorFlow Datasets, which is one answer: a passage with one question."""
  answer = {'text': row['answer'], 'idx': row['idx']['answer']}
  answer |= {} if row['label'] == -1 else {'label': row['label']}
  question = {'question': row['question'], 'idx': row['idx']['question'], 'answers': [answer]}
  return {'idx': row['idx']['paragraph'], 'passage': {'text': row['paragraph'], 'questions': [question]}}


def postprocess(
  text: str, example: Mapping[str, Any] = NO_EXAMPLE, is_target: bool = False
) -> int | tuple[int, tuple[int, int]] | None:
  """A prediction becomes its class; a target (class, question), so that the answers to a question can be grouped.

  T5 takes the question's number alone, which is enough for the released files, where it counts across all passages.
  """
  label = class_id(text, _CLASSES, is_target=is_target)
  if not is_target or label is None:
    return label
  return label, (int(example['idx/paragraph']), int(example['idx/question']))


def _answers(record: dict[str, Any]) -> Iterator[tuple[dict[str, Any], dict[str, Any], dict[str, Any]]]:
  """Each question and answer of a passage, with their indices as fields of an example."""
  passage = fields.integer(record, 'idx')
  for question in fields.objects(fields.nested(record, 'passage'), 'questions'):
    number = fields.integer(question, 'idx')
    for answer in fields.objects(question, 'answers'):
      indices = passage, number, fields.integer(answer, 'idx')
      yield question, answer, dict(zip(_INDICES, indices, strict=True))


def _inputs(record: dict[str, Any], question: dict[str, Any], answer: dict[str, Any]) -> str:
  texts = fields.text(question, 'question'), fields.text(answer, 'text'), fields.text(record['passage'], 'text')
  inputs = 'multirc question: {} answer: {} paragraph: {}'.format(*texts)
  for markup, replacement in (('<br>', ' '), ('<b>', ''), ('</b>', '')):
    inputs = inputs.replace(markup, replacement)
  return inputs
