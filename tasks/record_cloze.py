"""ReCoRD: which of a passage's entities fills the gap in a query.

'record query: A @placeholder is a bird. entities: penguin, pigeon, potato passage: ...' -> 'penguin'
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import tensorflow as tf

from switch_zoo.tasks import fields
from switch_zoo.tasks.classification import NO_EXAMPLE, UNLABELLED
from switch_zoo.tasks.example_datasets import TEXT_TO_TEXT
from switch_zoo.tasks.raw_files import BadField

_INDICES = ('idx/passage', 'idx/query')
_AFTER_SENTENCE = re.compile(r"""([.?!"'])\n@highlight\n""")

FIELDS = {
  **TEXT_TO_TEXT,
  'answers': tf.TensorSpec([None], tf.string),
  **{name: tf.TensorSpec([], tf.int32) for name in _INDICES},
}


def train_rows(record: dict[str, Any]) -> Iterator[dict[str, Any]]:
  """An example for every distinct answer of every query, as in T5; BadField if a field is wrong."""
  for example in rows(record):
    yield from ({**example, 'targets': answer} for answer in example['answers'])


def rows(record: dict[str, Any]) -> Iterator[dict[str, Any]]:
  """An example for every query; its answers are distinct and sorted, and the first is its target."""
  for query in fields.objects(record, 'qas'):
    if not fields.objects(query, 'answers'):
      raise BadField('qas.answers', 'is empty')
    yield _example(record, query)


def test_rows(record: dict[str, Any]) -> Iterator[dict[str, Any]]:
  """As `rows`, for a test split: without answers the target is '<unk>'."""
  for query in fields.objects(record, 'qas'):
    yield _example(record, {'answers': [], **query})


def tfds_record(row: dict[str, Any]) -> dict[str, Any]:
  """The file's record of a row of TensorFlow Datasets, which is one query and has its entities as texts."""
  answers = [{'text': answer} for answer in row['answers']]
  query = {'query': row['query'], 'idx': row['idx']['query']} | ({'answers': answers} if answers else {})
  return {
    'idx': row['idx']['passage'],
    'passage': {'text': row['passage'], 'entities': [{'text': entity} for entity in row['entities']]},
    'qas': [query],
  }


def postprocess(
  text: str, example: Mapping[str, Any] = NO_EXAMPLE, is_target: bool = False
) -> str | tuple[list[str], tuple[int, int]] | None:
  """The prediction itself; a target becomes (answers, query), None without answers."""
  if not is_target:
    return text
  answers = [tf.compat.as_text(answer) for answer in example['answers']]
  return (answers, (int(example['idx/passage']), int(example['idx/query']))) if answers else None


def _example(record: dict[str, Any], query: dict[str, Any]) -> dict[str, Any]:
  answers = sorted({fields.text(answer, 'text') for answer in fields.objects(query, 'answers')})
  passage = fields.nested(record, 'passage')
  text = _AFTER_SENTENCE.sub(r'\1 ', fields.text(passage, 'text')).replace('\n@highlight\n', '. ')
  entities = sorted({_entity(passage, entity) for entity in fields.objects(passage, 'entities')})
  indices = fields.integer(record, 'idx'), fields.integer(query, 'idx')
  return {
    'inputs': f'record query: {fields.text(query, "query")} entities: {", ".join(entities)} passage: {text}',
    'targets': answers[0] if answers else UNLABELLED,
    'answers': answers,
    **dict(zip(_INDICES, indices, strict=True)),
  }


def _entity(passage: dict[str, Any], entity: dict[str, Any]) -> str:
  """The text of an entity: its own, or that from its first to its last character in the passage."""
  if 'text' in entity:
    return fields.text(entity, 'text')
  text, start, end = passage['text'], fields.integer(entity, 'start'), fields.integer(entity, 'end')
  if not 0 <= start <= end < len(text):
    raise BadField('passage.entities', f'is from character {start} to {end}; the text has {len(text)}')
  return text[start : end + 1]
