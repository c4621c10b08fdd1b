"""Initial values in blocks: the same however they are cut, and only what is asked for is made."""

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from switch_zoo.pjrt import initial_blocks

SHAPE = [10, 64, 32]
INITIALIZERS = {
  'truncated normal': (tf.truncated_normal_initializer(stddev=0.5), 0.5 * 0.8796),
  'normal': (tf.random_normal_initializer(mean=3.0, stddev=0.5), 0.5),
  'uniform': (tf.random_uniform_initializer(-1.0, 1.0), 1 / np.sqrt(3)),
  'zeros': (tf.zeros_initializer(), 0.0),
}


@pytest.fixture(autouse=True)
def blocks_of_three_rows(monkeypatch):
  monkeypatch.setattr(initial_blocks, 'ELEMENTS', 3 * 64 * 32 + 5)


def blocks_of(initializer, shape=SHAPE, seed=7):
  with tf.Graph().as_default():
    tf.set_random_seed(seed)
    return initial_blocks.of(tf.get_variable('experts/wi', shape, initializer=initializer).initial_value)


def whole(blocks):
  return blocks.read(tuple(slice(0, size) for size in SHAPE))


@pytest.mark.parametrize('name', INITIALIZERS)
def test_values_are_distributed_as_the_initializer_says(name):
  initializer, deviation = INITIALIZERS[name]
  values = whole(blocks_of(initializer))
  assert values.shape == tuple(SHAPE) and values.dtype == np.float32
  # 20,480 values: their deviation is known to 0.5%, their mean to 0.007 deviations.
  assert values.std() == pytest.approx(deviation, rel=0.03)
  assert values.mean() == pytest.approx(3.0 if name == 'normal' else 0.0, abs=0.03)


PARTS = [
  (slice(0, 10), slice(0, 64), slice(0, 32)),
  (slice(2, 5), slice(None), slice(None)),
  (slice(9, 10), slice(None), slice(8, 16)),
  (slice(0, 3), slice(32, 64), slice(None)),
  (slice(None), slice(10, 11), slice(31, 32)),
]


@pytest.mark.parametrize('part', PARTS)
def test_a_part_is_that_of_the_whole_in_every_process(part):
  initializer = tf.truncated_normal_initializer()
  np.testing.assert_array_equal(blocks_of(initializer).read(part), whole(blocks_of(initializer))[part])


def test_no_two_rows_are_alike_and_another_seed_gives_others():
  initializer = tf.random_uniform_initializer()
  rows = whole(blocks_of(initializer)).reshape(10, -1)
  other = whole(blocks_of(initializer, seed=8)).reshape(10, -1)
  assert np.abs(np.corrcoef(np.concatenate([rows, other])) - np.eye(20)).max() < 0.12


def test_only_the_blocks_of_a_part_are_made_and_each_once(monkeypatch):
  numbers = []
  original = initial_blocks.Blocks._graph_def
  monkeypatch.setattr(initial_blocks.Blocks, '_graph_def', lambda self, n: numbers.append(n) or original(self, n))
  # The experts of a layer of Switch-C: whole, they are 104 GB.
  blocks = blocks_of(tf.truncated_normal_initializer(), [2048, 2080, 6144])
  monkeypatch.setattr(blocks, '_rows', 1)
  for columns in (slice(0, 8), slice(8, 16)):
    assert blocks.read((slice(1040, 1042), slice(0, 2080), columns)).shape == (2, 2080, 8)
  assert numbers == [1040, 1041]


def test_a_small_value_is_made_whole():
  assert blocks_of(tf.zeros_initializer(), [3, 64, 32]) is None
  assert blocks_of(tf.zeros_initializer(), []) is None


def test_a_value_whose_elements_depend_on_each_other_is_made_whole():
  assert blocks_of(tf.orthogonal_initializer(), [100, 200]) is None
  assert blocks_of(tf.constant_initializer(np.arange(20480.0).reshape(SHAPE))) is None
