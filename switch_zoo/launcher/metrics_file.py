"""`metrics.jsonl` in the folder of a training: what TensorBoard gets and what validations measured, a line each.

`pandas.read_json('metrics.jsonl', lines=True)` reads it. A record has the step, the time (UTC), and either the values
of a training step by the name of their summary, or `validation`: TASK/METRIC -> value.
"""

import datetime
import json
import os
from collections.abc import Mapping
from typing import Any

import tensorflow.compat.v1 as tf

FILE = 'metrics.jsonl'


def append(model_dir: str, step: int, values: Mapping[str, Any]) -> None:
  """Adds a record.

  Args:
    model_dir: the folder of the training
    step: the step that the values belong to
    values: name -> number, or a list of them; what is not finite is written as null
  """
  time = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec='seconds')
  record = {'step': step, 'time': time, **values}
  with tf.io.gfile.GFile(os.path.join(model_dir, FILE), 'a') as file:
    file.write(json.dumps(_finite(record), allow_nan=False) + '\n')


def read(model_dir: str) -> list[dict[str, Any]]:
  """All records, in the order in which they were written; a line that a kill cut off is left out."""
  path = os.path.join(model_dir, FILE)
  if not tf.io.gfile.exists(path):
    return []
  with tf.io.gfile.GFile(path) as file:
    return [record for record in map(_record, file) if record is not None]


def cut_after(model_dir: str, step: int) -> None:
  """Removes the records of later steps, which a training that resumes from this step will do again."""
  records = read(model_dir)
  kept = [record for record in records if record['step'] <= step]
  path = os.path.join(model_dir, FILE)
  if not tf.io.gfile.exists(path):
    return
  with tf.io.gfile.GFile(f'{path}.partial', 'w') as file:
    file.write(''.join(json.dumps(record) + '\n' for record in kept))
  tf.io.gfile.rename(f'{path}.partial', path, overwrite=True)


def _record(line: str) -> dict[str, Any] | None:
  try:
    record = json.loads(line)
  except ValueError:
    return None
  return record if isinstance(record, dict) and isinstance(record.get('step'), int) else None


def _finite(value: Any) -> Any:
  """The value as JSON can write it."""
  if isinstance(value, Mapping):
    return {name: _finite(inner) for name, inner in value.items()}
  if isinstance(value, list):
    return [_finite(inner) for inner in value]
  return None if isinstance(value, float) and not abs(value) < float('inf') else value
