"""WSC: the Winograd schemas of SuperGLUE as T5 puts them (`wsc_simple` in `t5.data.preprocessors`).

    'wsc: Mark told Pete many lies about himself, which Pete included in his book. *He* should have been more
    skeptical.' -> 'Mark'

The target is the candidate, right or wrong. Training takes the schemas whose candidate is right (259 of 554): what the
pronoun of another stands for is not written anywhere. Evaluation takes all: what the model writes and the candidate
are the same referent if the words of one are among those of the other, articles and the like aside.
"""

import re
from collections.abc import Iterator
from typing import Any

import tensorflow as tf
from t5.data import postprocessors

from switch_zoo.tasks import fields
from switch_zoo.tasks.readers import BadField
from switch_zoo.tasks.sources import TEXT_TO_TEXT

FIELDS = {**TEXT_TO_TEXT, 'label': tf.TensorSpec([], tf.int32)}
_UNKNOWN = -1  # the label of a test split


def train_rows(record: dict[str, Any]) -> Iterator[dict[str, Any]]:
  """The example of a schema whose candidate is right, none of another."""
  yield from (example for example in rows(record) if example['label'])


def rows(record: dict[str, Any]) -> Iterator[dict[str, Any]]:
  """The example of a schema, which must have a label; BadField if a field is missing or no word is the pronoun."""
  yield _example(record, int(fields.one_of(record, 'label', (False, True))))


def test_rows(record: dict[str, Any]) -> Iterator[dict[str, Any]]:
  """As `rows`, of a test split, where the label is -1."""
  yield from rows(record) if 'label' in record else [_example(record, _UNKNOWN)]


def tfds_record(row: dict[str, Any]) -> dict[str, Any]:
  """The file's record of a row of TensorFlow Datasets, which has the spans beside the text."""
  target = {name: row[name] for name in ('span1_index', 'span1_text', 'span2_index', 'span2_text')}
  record = {'text': row['text'], 'idx': row['idx'], 'target': target}
  return record if row['label'] == _UNKNOWN else {**record, 'label': bool(row['label'])}


def postprocess(text: str, example: dict[str, Any], is_target: bool = False) -> int | None:
  """1 if a prediction means the candidate, 0 if not, -1 if it is empty; the label for a target (None without one)."""
  if not is_target:
    return postprocessors.wsc_simple(text, example)
  return None if example['label'] == _UNKNOWN else int(example['label'])


def _example(record, label):
  text, target = fields.text(record, 'text'), fields.nested(record, 'target')
  return {'inputs': f'wsc: {_marked(text, target)}', 'targets': _candidate(text, target), 'label': label}


def _marked(text, target):
  """The text with *pronoun* in it.

  The index of the file counts the words between single spaces. Three released texts have other marks on the word there
  ('him,"'), one has the pronoun in the word after: the nearest word that is the pronoun without its marks is taken, and
  the marks behind it are set apart, as T5 does for the same four.
  """
  words = text.split(' ')
  pronoun, index = fields.text(target, 'span2_text'), fields.integer(target, 'span2_index')
  pattern = re.compile(rf'(\W*){re.escape(pronoun)}(\W*)')
  places = [place for place, word in enumerate(words) if pattern.fullmatch(word)]
  if not places:
    raise BadField('target.span2_text', f'is "{pronoun}", which is no word of the text')
  place = min(places, key=lambda place: abs(place - index))
  before, after = pattern.fullmatch(words[place]).groups()
  words[place] = f'{before}*{pronoun}*' + (f' {after}' if after else '')
  return ' '.join(words)


def _candidate(text, target):
  """The candidate as the text has it: the files write some with another first letter or a full stop."""
  candidate, index = fields.text(target, 'span1_text'), fields.integer(target, 'span1_index')
  if candidate in text:
    return candidate
  words = text.split()
  if not 0 <= index < len(words):
    raise BadField('target.span1_index', f'is {index}; the text has {len(words)} words')
  first = candidate[:1].lower() if words[index][0].islower() else candidate[:1].upper()
  return (first + candidate[1:]).rstrip('.').replace('\n', ' ')
