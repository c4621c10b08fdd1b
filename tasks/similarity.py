"""STS-B: how alike two sentences are, from 0 to 5; the model writes the number.

    'stsb sentence1: A plane is taking off. sentence2: An air plane is taking off.' -> '5.0'

T5 writes scores in steps of 0.2 and measures against what it wrote; we measure against the scores as they were given,
as the benchmark does.
"""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from switch_zoo.tasks import fields
from switch_zoo.tasks.classification import INVALID, UNLABELLED
from switch_zoo.tasks.readers import BadField
from switch_zoo.tasks.sources import TEXT_TO_TEXT

FIELDS = {**TEXT_TO_TEXT, 'score': tf.TensorSpec([], tf.float32)}
HIGHEST = 5


def rows(record: dict[str, Any]) -> Iterator[dict[str, Any]]:
  """The example of a pair, which must have a score; BadField where a field is missing or the score is none."""
  score = _number(fields.text(record, 'score'))
  if not 0 <= score <= HIGHEST:
    raise BadField('score', f'is "{record["score"]}"; it must be a number from 0 to {HIGHEST}')
  # In single precision, like T5: the steps of halfway scores depend on it.
  steps = np.round(np.float32(score) * np.float32(5)) / np.float32(5)
  yield {'inputs': _inputs(record), 'targets': f'{steps:.1f}', 'score': score}


def test_rows(record: dict[str, Any]) -> Iterator[dict[str, Any]]:
  """As `rows`, of a test split: without a score the target is '<unk>'."""
  if record.get('score', '') == '':
    yield {'inputs': _inputs(record), 'targets': UNLABELLED, 'score': math.nan}
  else:
    yield from rows(record)


def tfds_record(row: dict[str, Any]) -> dict[str, Any]:
  """The file's record of a row of TensorFlow Datasets, whose scores are numbers, -1 in the test split."""
  record = {name: row[name] for name in ('sentence1', 'sentence2')}
  return record if row['label'] == -1 else {**record, 'score': str(row['label'])}


def postprocess(text: str, example: dict[str, Any] | None = None, is_target: bool = False) -> float | None:
  """The number that a prediction is, -1 if it is none; the given score for a target (None without one)."""
  if is_target:
    score = float(example['score'])
    return None if math.isnan(score) else score
  number = _number(text)
  return number if math.isfinite(number) else float(INVALID)


def _inputs(record):
  return f'stsb sentence1: {fields.text(record, "sentence1")} sentence2: {fields.text(record, "sentence2")}'


def _number(text):
  try:
    return float(text)
  except ValueError:
    return math.nan
