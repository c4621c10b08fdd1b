"""Makes datasets of the examples that Python generators yield."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

# The fields of an example of a text-to-text task.
TEXT_TO_TEXT = {name: tf.TensorSpec([], tf.string) for name in ('inputs', 'targets')}
_EXAMPLES_AT_ONCE = 64

Fields = Mapping[str, tf.TensorSpec]


def from_examples(examples: Callable[[], Iterable[dict[str, Any]]], fields: Fields) -> tf.data.Dataset:
  """A dataset of the examples that a function yields.

  Args:
    examples: called once per iteration over the dataset
    fields: of every example
  """
  return _unbatched(_batches(examples, fields), fields)


def from_files(
  paths: tf.data.Dataset, examples: Callable[[str], Iterable[dict[str, Any]]], fields: Fields, parallel: int
) -> tf.data.Dataset:
  """A dataset of the examples of files that are read in parallel, interleaved in a fixed order.

  Args:
    paths: of the files, <string>[]
    examples: from a path to the examples of that file
    fields: of every example
    parallel: files that are open at the same time
  """
  read = lambda path: _batches(lambda name: examples(tf.compat.as_str(name)), fields, (path,))
  batches = paths.interleave(read, parallel, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
  return _unbatched(batches, fields)


def _can_be_batched(fields: Fields) -> bool:
  """Whether TensorFlow gets many examples at a time, as each call costs as much as parsing a row.

  Lists of different lengths cannot be batched.
  """
  return not any(spec.shape.rank for spec in fields.values())


def _batches(
  examples: Callable[..., Iterable[dict[str, Any]]], fields: Fields, args: tuple[tf.Tensor, ...] = ()
) -> tf.data.Dataset:
  if not _can_be_batched(fields):
    return tf.data.Dataset.from_generator(examples, args=args, output_signature=dict(fields))
  columns = {name: tf.TensorSpec([None], spec.dtype) for name, spec in fields.items()}
  batches = lambda *values: _columns(iter(examples(*values)), fields)
  return tf.data.Dataset.from_generator(batches, args=args, output_signature=columns)


def _unbatched(batches: tf.data.Dataset, fields: Fields) -> tf.data.Dataset:
  return batches.unbatch() if _can_be_batched(fields) else batches


def _columns(examples: Iterator[dict[str, Any]], fields: Fields) -> Iterator[dict[str, np.ndarray]]:
  while batch := list(itertools.islice(examples, _EXAMPLES_AT_ONCE)):
    yield {name: _column([example[name] for example in batch], spec.dtype) for name, spec in fields.items()}


def _column(values: list[Any], dtype: tf.DType) -> np.ndarray:
  if dtype != tf.string:
    return np.array(values, dtype.as_numpy_dtype)
  return np.array([value.encode('utf-8') if isinstance(value, str) else value for value in values], object)
