"""Packing, compared with the released one and by hand."""

import inspect

import mesh_tensorflow.transformer.dataset as mesh_dataset
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from switch_zoo.tasks import packing

LENGTHS = {'inputs': 10, 'targets': 6}
KEYS = tuple(LENGTHS)
# The launcher's replacement is undone where another test has installed it.
RELEASED = inspect.unwrap(mesh_dataset.pack_or_pad)


def dataset(rows):
  signature = {key: tf.TensorSpec([None], tf.int32) for key in KEYS}
  columns = [{key: np.array(ids, np.int32) for key, ids in zip(KEYS, row, strict=True)} for row in rows]
  return tf.data.Dataset.from_generator(lambda: iter(columns), output_signature=signature)


def read(dataset):
  return [{key: value.tolist() for key, value in row.items()} for row in tfds.as_numpy(dataset)]


def test_two_examples_in_a_sequence():
  rows = read(packing.packed(dataset([([8, 7, 1], [4, 1]), ([2, 3, 4, 1], [5, 6, 1])]), LENGTHS))
  assert rows == [
    {
      'inputs': [8, 7, 1, 2, 3, 4, 1, 0, 0, 0],
      'inputs_segmentation': [1, 1, 1, 2, 2, 2, 2, 0, 0, 0],
      'inputs_position': [0, 1, 2, 0, 1, 2, 3, 0, 0, 0],
      'targets': [4, 1, 5, 6, 1, 0],
      'targets_segmentation': [1, 1, 2, 2, 2, 0],
      'targets_position': [0, 1, 0, 1, 2, 0],
    }
  ]


def test_an_example_goes_where_all_features_have_room():
  sizes = np.array([[3, 2], [3, 5], [3, 1], [9, 1]], np.int32)
  rows, numbers, begins = packing.places(sizes, np.array([10, 6], np.int32))
  assert rows.tolist() == [0, 1, 1, 2]
  assert numbers.tolist() == [1, 1, 2, 1]
  assert begins.tolist() == [[0, 0], [0, 0], [3, 5], [0, 0]]


def test_a_feature_that_is_cut_ends():
  (row,) = read(packing.packed(dataset([(range(5, 20), [7])]), LENGTHS, ended=('inputs',)))
  assert row['inputs'] == [5, 6, 7, 8, 9, 10, 11, 12, 13, 1]


@pytest.mark.parametrize(
  ('shortest', 'longest', 'ended'),
  [(1, 3, ('targets',)), (1, 15, True), (10, 11, False)],
  ids=['many in one', 'any, ended', 'one in one'],
)
def test_the_same_as_the_released(shortest, longest, ended):
  random = np.random.default_rng(0)
  length = lambda: random.integers(shortest, longest)
  rows = [(random.integers(2, 99, length()), random.integers(2, 99, max(1, length() // 2))) for _ in range(37)]
  theirs = RELEASED
  ours = packing.with_packing(theirs)
  options = {'length': LENGTHS, 'pack': True, 'feature_keys': KEYS, 'ensure_eos': ended}
  assert read(ours(dataset(rows), **options)) == read(theirs(dataset(rows), **options))
  assert ours(dataset(rows), **options).element_spec == theirs(dataset(rows), **options).element_spec


def test_without_packing_it_is_the_released_one():
  pack_or_pad = packing.with_packing(RELEASED)
  rows = read(pack_or_pad(dataset([([8, 1], [4, 1])]), LENGTHS, pack=False, feature_keys=KEYS))
  assert rows == [{'inputs': [8, 1] + [0] * 8, 'targets': [4, 1, 0, 0, 0, 0]}]


def test_all_features_are_packed_unless_some_are_named():
  pack_or_pad = packing.with_packing(RELEASED)
  rows = [([8, 7, 1], [4, 1]), ([2, 3, 4, 1], [5, 6, 1])]
  assert read(pack_or_pad(dataset(rows), LENGTHS)) == read(packing.packed(dataset(rows), LENGTHS))
