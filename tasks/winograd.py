"""WSC: the Winograd schemas of SuperGLUE in the form of T5 (`wsc_simple` in `t5.data.preprocessors`).

    'wsc: Mark told Pete many lies about himself, which Pete included in his book. *He* should have been more
    skeptical.' -> 'Mark'

The target is the candidate, right or wrong. Training uses the schemas whose candidate is right (259 of 554): what the
pronoun of the others refers to is not recorded. Evaluation uses all: what the model writes and the candidate are the
same referent if the words of one are among those of the other, ignoring articles and the like.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import tensorflow as tf
from t5.data import postprocessors

from switch_zoo.tasks import fields
from switch_zoo.tasks.example_datasets import TEXT_TO_TEXT
from switch_zoo.tasks.raw_files import BadField

FIELDS = {**TEXT_TO_TEXT, 'label': tf.TensorSpec([], tf.int32)}
_UNKNOWN = -1  # the label of a test split


def train_rows(record: dict[str, Any]) -> Iterator[dict[str, Any]]:
  """The example of a schema whose candidate is right, none of another."""
  yield from (example for example in rows(record) if example['label'])


def rows(record: dict[str, Any]) -> Iterator[dict[str, Any]]:
  """The example of a schema, which must have a label; BadField if a field is missing or no word is the pronoun."""
  yield _example(record, int(fields.one_of(record, 'label', (False, True))))


def test_rows(record: dict[str, Any]) -> Iterator[dict[str, Any]]:
  """As `rows`, for a test split, where the label is -1."""
  yield from rows(record) if 'label' in record else [_example(record, _UNKNOWN)]


def tfds_record(row: dict[str, Any]) -> dict[str, Any]:
  """The file's record of a row of TensorFlow Datasets, which has the spans next to the text."""
  target = {name: row[name] for name in ('span1_index', 'span1_text', 'span2_index', 'span2_text')}
  record = {'text': row['text'], 'idx': row['idx'], 'target': target}
  return record if row['label'] == _UNKNOWN else {**record, 'label': bool(row['label'])}


def postprocess(text: str, example: Mapping[str, Any], is_target: bool = False) -> int | None:
  """1 if a prediction means the candidate, 0 if not, -1 if it is empty; the label for a target (None without one)."""
  if not is_target:
    return postprocessors.wsc_simple(text, example)
  return None if example['label'] == _UNKNOWN else int(example['label'])


def _example(record: dict[str, Any], label: int) -> dict[str, Any]:
  text, target = fields.text(record, 'text'), fields.nested(record, 'target')
  return {'inputs': f'wsc: {_marked(text, target)}', 'targets': _candidate(text, target), 'label': label}


def _marked(text: str, target: dict[str, Any]) -> str:
  """The text with *pronoun* in it.

  The index in the file counts the words between single spaces. In three released texts the word there carries other
  punctuation too ('him,"'), and in one the pronoun is the word after it: the nearest word that is the pronoun apart
  from punctuation is taken, and the punctuation after it is split off, as T5 does for the same four.
  """
  words = text.split(' ')
  pronoun, index = fields.text(target, 'span2_text'), fields.integer(target, 'span2_index')
  pattern = re.compile(rf'(\W*){re.escape(pronoun)}(\W*)')
  matches = {number: match for number, word in enumerate(words) if (match := pattern.fullmatch(word))}
  if not matches:
    raise BadField('target.span2_text', f'is "{pronoun}", which is not a word of the text')
  nearest = min(matches, key=lambda number: abs(number - index))
  before, after = matches[nearest].groups()
  words[nearest] = f'{before}*{pronoun}*' + (f' {after}' if after else '')
  return ' '.join(words)


def _candidate(text: str, target: dict[str, Any]) -> str:
  """The candidate as it is in the text: the files write some with another first letter or a full stop."""
  candidate, index = fields.text(target, 'span1_text'), fields.integer(target, 'span1_index')
  if candidate in text:
    return candidate
  words = text.split()
  if not 0 <= index < len(words):
    raise BadField('target.span1_index', f'is {index}; the text has {len(words)} words')
  first = candidate[:1].lower() if words[index][0].islower() else candidate[:1].upper()
  return (first + candidate[1:]).rstrip('.').replace('\n', ' ')
