"""ReCoRD: which of a passage's entities stands in the gap of a query.

'record query: A @placeholder is a bird. entities: penguin, pigeon, potato passage: ...' -> 'penguin'
"""

import re
from collections.abc import Iterator
from typing import Any

import tensorflow as tf

from switch_zoo.tasks import fields
from switch_zoo.tasks.classification import UNLABELLED
from switch_zoo.tasks.readers import BadField
from switch_zoo.tasks.sources import TEXT_TO_TEXT

_PLACE = ('idx/passage', 'idx/query')
_AFTER_SENTENCE = re.compile(r"""([.?!"'])\n@highlight\n""")

FIELDS = {
  **TEXT_TO_TEXT,
  'answers': tf.TensorSpec([None], tf.string),
  **{name: tf.TensorSpec([], tf.int32) for name in _PLACE},
}


def train_rows(record: dict[str, Any]) -> Iterator[dict[str, Any]]:
  """An example for every different answer of every query, as T5 has it; BadField where a field is wrong."""
  for example in rows(record):
    yield from ({**example, 'targets': answer} for answer in example['answers'])


def rows(record: dict[str, Any]) -> Iterator[dict[str, Any]]:
  """An example for every query, its target the first of its answers, which are different ones in sorted order."""
  for query in fields.objects(record, 'qas'):
    if not fields.objects(query, 'answers'):
      raise BadField('qas.answers', 'is empty')
    yield _example(record, query)


def test_rows(record: dict[str, Any]) -> Iterator[dict[str, Any]]:
  """As `rows`, of a test split: without answers the target is '<unk>'."""
  for query in fields.objects(record, 'qas'):
    yield _example(record, {'answers': [], **query})


def tfds_record(row: dict[str, Any]) -> dict[str, Any]:
  """The file's record of a row of TensorFlow Datasets, which is one query and holds its entities as texts."""
  answers = [{'text': answer} for answer in row['answers']]
  query = {'query': row['query'], 'idx': row['idx']['query']} | ({'answers': answers} if answers else {})
  return {
    'idx': row['idx']['passage'],
    'passage': {'text': row['passage'], 'entities': [{'text': entity} for entity in row['entities']]},
    'qas': [query],
  }


def postprocess(text: str, example: dict[str, Any] | None = None, is_target: bool = False) -> Any:
  """A prediction stays; a target becomes (answers, query), None without answers."""
  if not is_target:
    return text
  answers = [tf.compat.as_text(answer) for answer in example['answers']]
  return (answers, (int(example['idx/passage']), int(example['idx/query']))) if answers else None


def _example(record, query):
  answers = sorted({fields.text(answer, 'text') for answer in fields.objects(query, 'answers')})
  passage = fields.nested(record, 'passage')
  text = _AFTER_SENTENCE.sub(r'\1 ', fields.text(passage, 'text')).replace('\n@highlight\n', '. ')
  entities = sorted({_entity(passage, one) for one in fields.objects(passage, 'entities')})
  place = fields.integer(record, 'idx'), fields.integer(query, 'idx')
  return {
    'inputs': f'record query: {fields.text(query, "query")} entities: {", ".join(entities)} passage: {text}',
    'targets': answers[0] if answers else UNLABELLED,
    'answers': answers,
    **dict(zip(_PLACE, place, strict=True)),
  }


def _entity(passage, entity):
  """The text of an entity: its own, else from its first to its last character in the passage."""
  if 'text' in entity:
    return fields.text(entity, 'text')
  text, start, end = passage['text'], fields.integer(entity, 'start'), fields.integer(entity, 'end')
  if not 0 <= start <= end < len(text):
    raise BadField('passage.entities', f'is from character {start} to {end}; the text has {len(text)}')
  return text[start : end + 1]
