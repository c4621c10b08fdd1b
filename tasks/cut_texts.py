"""Texts as ids of limited length, and how many of them were longer."""

import sys
import threading
from collections.abc import Mapping
from typing import Any

import numpy as np
import seqio
import tensorflow as tf

from switch_zoo.spec.token_ids import END

# A text's first bytes are enough for its first ids: no piece of T5's vocabularies has more than 16 characters.
_BYTES_PER_ID = 64
_SETTINGS = {'inputs': 'INPUTS_LENGTH', 'targets': 'TARGETS_LENGTH'}


class CutTexts:
  """Tokenizes the texts of a split, cuts them, and reports on stderr after the first pass how many it cut."""

  def __init__(self, name: str, lengths: Mapping[str, int]) -> None:
    """
    Args:
      name: of the task and the split, as the report has it
      lengths: of a sequence, by feature
    """
    self._name = name
    self._lengths = lengths
    self._lock = threading.Lock()
    self._counts = np.zeros(len(lengths), np.int64)
    self._reported = False

  def tokenized(self, rows: tf.data.Dataset, features: Mapping[str, seqio.utils.Feature]) -> tf.data.Dataset:
    """One pass over texts as ids, which end with the end of a sequence where the feature has one.

    Args:
      rows: <string>[] of each feature, and other fields, which are passed through
      features: with the vocabularies
    Returns:
      ids of each feature (<int32>[any], no longer than its length), its text as NAME_pretokenized, other fields
    """
    fields: Any = rows.element_spec
    present = [name for name in self._lengths if name in features and name in fields]

    @tf.autograph.experimental.do_not_convert  # it has nothing to convert, and looking for it takes seconds
    def ids_of(row: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
      result = {f'{name}_pretokenized' if name in present else name: value for name, value in row.items()}
      longer = {name: tf.constant(False) for name in self._lengths}
      for name in present:
        result[name], longer[name] = _ids(row[name], features[name], self._lengths[name])
      flags = tf.stack([longer[name] for name in self._lengths])
      # Only a text that is cut costs a call of Python.
      count = lambda: tf.numpy_function(self._count, [flags], tf.bool)
      with tf.control_dependencies([tf.cond(tf.reduce_any(flags), count, lambda: False)]):
        return {name: tf.identity(value) for name, value in result.items()}

    # As many at a time as in seqio: some take much longer than others.
    ids = rows.map(ids_of, num_parallel_calls=256 if len(present) else tf.data.AUTOTUNE)
    end: Any = tf.data.Dataset.from_generator(self._end, output_signature=ids.element_spec)
    return ids.concatenate(end)

  def _count(self, flags: np.ndarray) -> np.bool_:
    with self._lock:
      self._counts += flags
    return np.True_

  def _end(self) -> tuple[()]:
    """No examples; called when all those of a pass are done."""
    if self._counts.any() and not self._reported:
      cut = [
        f'{count:,} with {name} longer than {_SETTINGS.get(name, name)} = {self._lengths[name]:,}'
        for name, count in zip(self._lengths, self._counts, strict=True)
        if count
      ]
      print(
        f'{self._name}: the tokens after the limit were cut off examples: {", ".join(cut)}.',
        file=sys.stderr,
        flush=True,
      )
    self._reported = True
    return ()


def _ids(text: tf.Tensor, feature: seqio.utils.Feature, length: int) -> tuple[tf.Tensor, tf.Tensor]:
  """The ids of a text, and whether there are more than fit.

  A text of megabytes is not tokenized to its end for a few hundred ids. Its beginning has the same first ids: what
  follows can only change those near the place where it was cut off, which are not among the first half.
  """
  encode = lambda part: tf.cast(feature.vocabulary.encode_tf(part), feature.dtype)
  num_bytes = _BYTES_PER_ID * (length + 1)
  ids = encode(tf.strings.substr(text, 0, num_bytes))
  is_whole = tf.strings.length(text) <= num_bytes
  ids = tf.cond(is_whole | (tf.size(ids) >= 2 * length), lambda: ids, lambda: encode(text))
  ids.set_shape([None])
  room = length - 1 if feature.add_eos else length
  end = [feature.vocabulary.eos_id or END] if feature.add_eos else []
  return tf.concat([ids[:room], tf.constant(end, feature.dtype)], axis=0), tf.size(ids) > room
