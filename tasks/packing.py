"""Packing: several examples in one sequence, as Mesh-TensorFlow packs them, but a batch of examples at a time.

The released code goes through the examples in a loop of TensorFlow operations. Here that loop, which only adds up
lengths, is plain Python, and the tokens are moved all at once.
"""

import functools
from collections.abc import Callable, Collection, Mapping

import numpy as np
import tensorflow as tf

from switch_zoo.spec.token_ids import END, PADDING


def with_packing(released: Callable[..., tf.data.Dataset]) -> Callable[..., tf.data.Dataset]:
  """`mesh_dataset.pack_or_pad` that packs with `packed`; a run puts it in place of the released one.

  Args:
    released: the function of Mesh-TensorFlow, which still pads where nothing is packed
  """

  @functools.wraps(released)
  def pack_or_pad(
    dataset: tf.data.Dataset,
    length: int | Mapping[str, int],
    pack: bool = True,
    feature_keys: Collection[str] | None = None,
    ensure_eos: bool | Collection[str] = False,
  ) -> tf.data.Dataset:
    if not pack:
      return released(dataset, length, pack, feature_keys, ensure_eos)
    keys: tuple[str, ...] = tuple(feature_keys or tf.compat.v1.data.get_output_shapes(dataset))
    lengths = {key: length if isinstance(length, int) else length[key] for key in keys}
    ended = keys if ensure_eos is True else ensure_eos or ()
    return packed(dataset, lengths, ended)

  return pack_or_pad


def packed(dataset: tf.data.Dataset, lengths: Mapping[str, int], ended: Collection[str] = ()) -> tf.data.Dataset:
  """Examples one after the other in sequences of fixed length, as long as all features have room.

  lengths {'inputs': 10, 'targets': 10}:
    {'inputs': [8, 7, 1], 'targets': [4, 1]} and {'inputs': [2, 3, 4, 1], 'targets': [5, 6, 1]} become
    inputs 8 7 1 2 3 4 1 0 0 0   inputs_segmentation 1 1 1 2 2 2 2 0 0 0   inputs_position 0 1 2 0 1 2 3 0 0 0
    targets 4 1 5 6 1 0 0 0 0 0  ...

  Args:
    dataset: examples, <integer>[any] by feature
    lengths: of a sequence, by feature; longer examples are cut
    ended: features whose last token, if it is not padding, becomes the end of sequence
  Returns:
    <int32>[length] for each feature, its segmentation and its positions
  """
  keys = sorted(lengths)
  cut = lambda row: {key: tf.cast(row[key][: lengths[key]], tf.int32) for key in keys}
  dataset = dataset.map(tf.autograph.experimental.do_not_convert(cut), num_parallel_calls=tf.data.AUTOTUNE)
  # This many examples fill at least one sequence. As in the released code, no sequence spans two batches.
  dataset = dataset.padded_batch(
    max(lengths.values()), padded_shapes={key: [lengths[key]] for key in keys}, padding_values=PADDING
  )
  # Nothing in it is to be converted, and looking for it takes seconds.
  pack = tf.autograph.experimental.do_not_convert(functools.partial(_pack, lengths=lengths, ended=ended))
  return dataset.map(pack, num_parallel_calls=tf.data.AUTOTUNE).unbatch()


def places(sizes: np.ndarray, limits: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Where each example goes: into the current sequence if all its features have room there, otherwise into the next.

  Args:
    sizes: <int32>[examples, features], tokens
    limits: <int32>[features], none smaller than a size
  Returns:
    sequence of each example, from 0 (<int32>[examples]); its number among the examples there, from 1 (the same); where
    its tokens begin (<int32>[examples, features])
  """
  sequence, number, used = 0, 0, [0] * len(limits)
  room = limits.tolist()
  sequences, numbers, begins = [], [], []
  for row in sizes.tolist():
    if any(have + more > limit for have, more, limit in zip(used, row, room, strict=True)):
      sequence, number, used = sequence + 1, 0, [0] * len(room)
    number += 1
    sequences.append(sequence)
    numbers.append(number)
    begins.append(used)
    used = [have + more for have, more in zip(used, row, strict=True)]
  return np.array(sequences, np.int32), np.array(numbers, np.int32), np.array(begins, np.int32)


def _pack(batch: Mapping[str, tf.Tensor], lengths: Mapping[str, int], ended: Collection[str]) -> dict[str, tf.Tensor]:
  """A padded batch of examples -> the sequences they fill."""
  keys = sorted(lengths)
  is_token = lambda key: tf.not_equal(batch[key], PADDING)
  sizes = tf.stack([tf.math.count_nonzero(is_token(key), axis=1, dtype=tf.int32) for key in keys], axis=1)
  limits = tf.constant([lengths[key] for key in keys])
  rows, numbers, begins = tf.numpy_function(places, [sizes, limits], [tf.int32] * 3)
  count = tf.reduce_max(rows) + 1
  sequences = {}
  for index, key in enumerate(keys):
    size = tf.reshape(sizes[:, index], [-1])
    begin = tf.reshape(begins, [-1, len(keys)])[:, index]
    features = _moved(batch[key], size, rows, numbers, begin, (count, lengths[key]))
    ids, segments, positions = (tf.ensure_shape(feature, [None, lengths[key]]) for feature in features)
    if key in ended:
      ids = tf.concat([ids[:, :-1], tf.clip_by_value(ids[:, -1:], PADDING, END)], axis=1)
    sequences |= {key: ids, f'{key}_segmentation': segments, f'{key}_position': positions}
  return sequences


def _moved(
  tokens: tf.Tensor,
  size: tf.Tensor,
  rows: tf.Tensor,
  numbers: tf.Tensor,
  begins: tf.Tensor,
  shape: tuple[tf.Tensor, int],
) -> tuple[tf.Tensor, ...]:
  """One feature of the examples, moved to where it goes in the sequences.

  Args:
    tokens: <int32>[examples, length], padded
    size: <int32>[examples], tokens of each example
    rows, numbers, begins: <int32>[examples], what `places` returns
    shape: number of sequences and their length
  Returns:
    tokens, segments and positions, each <int32>[sequences, length] and 0 where the tokens are padding
  """
  count, length = shape
  position = tf.broadcast_to(tf.range(length), tf.shape(tokens))
  number = tf.broadcast_to(numbers[:, None], tf.shape(tokens))
  exists = tf.sequence_mask(size, length)

  def alone() -> tuple[tf.Tensor, ...]:
    return tuple(tf.where(exists, value, 0) for value in (tokens, number, position))

  def together() -> tuple[tf.Tensor, ...]:
    target = tf.boolean_mask((rows * length + begins)[:, None] + position, exists)[:, None]
    move = lambda value: tf.scatter_nd(target, tf.boolean_mask(value, exists), [count * length])
    return tuple(tf.reshape(move(value), [count, length]) for value in (tokens, number, position))

  # Segments of span corruption fill their sequences: nothing needs to be moved.
  return tf.cond(tf.equal(count, tf.shape(tokens)[0]), alone, together)
