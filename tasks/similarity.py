"""STS-B: how similar two sentences are, from 0 to 5; the model writes the number.

    'stsb sentence1: A plane is taking off. sentence2: An air plane is taking off.' -> '5.0'

T5 writes scores in steps of 0.2 and measures against what it wrote; we measure against the published scores, as the
benchmark does.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from switch_zoo.tasks import fields
from switch_zoo.tasks.classification import INVALID, NO_EXAMPLE, UNLABELLED
from switch_zoo.tasks.example_datasets import TEXT_TO_TEXT
from switch_zoo.tasks.raw_files import BadField

FIELDS = {**TEXT_TO_TEXT, 'score': tf.TensorSpec([], tf.float32)}
HIGHEST = 5


def rows(record: dict[str, Any]) -> Iterator[dict[str, Any]]:
  """The example of a pair, which must have a score; BadField if a field is missing or the score is not one."""
  score = _number(fields.text(record, 'score'))
  if not 0 <= score <= HIGHEST:
    raise BadField('score', f'is "{record["score"]}"; it must be a number from 0 to {HIGHEST}')
  # In single precision, like T5: the rounding of halfway scores depends on it.
  steps = np.round(np.float32(score) * np.float32(5)) / np.float32(5)
  yield {'inputs': _inputs(record), 'targets': f'{steps:.1f}', 'score': score}


def test_rows(record: dict[str, Any]) -> Iterator[dict[str, Any]]:
  """As `rows`, for a test split: without a score the target is '<unk>'."""
  if record.get('score', '') == '':
    yield {'inputs': _inputs(record), 'targets': UNLABELLED, 'score': math.nan}
  else:
    yield from rows(record)


def tfds_record(row: dict[str, Any]) -> dict[str, Any]:
  """The file's record of a row of TensorFlow Datasets, whose scores are numbers, -1 in the test split."""
  record = {name: row[name] for name in ('sentence1', 'sentence2')}
  return record if row['label'] == -1 else {**record, 'score': str(row['label'])}


def postprocess(text: str, example: Mapping[str, Any] = NO_EXAMPLE, is_target: bool = False) -> float | None:
  """The number that a prediction is, -1 if it is not a number; for a target the published score, None without one."""
  if is_target:
    score = float(example['score'])
    return None if math.isnan(score) else score
  number = _number(text)
  return number if math.isfinite(number) else float(INVALID)


def _inputs(record: dict[str, Any]) -> str:
  return f'stsb sentence1: {fields.text(record, "sentence1")} sentence2: {fields.text(record, "sentence2")}'


def _number(text: str) -> float:
  try:
    return float(text)
  except ValueError:
    return math.nan
