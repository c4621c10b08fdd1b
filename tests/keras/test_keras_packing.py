"""Tokens without their padding, and models that compute no other."""
import hypothesis
import numpy as np
import tensorflow as tf
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from switch_zoo.keras.packing import Packing

REAL = [[True, True, False], [True, False, False]]
TOKENS = tf.constant([[10], [11], [12], [20], [21], [22]])


def test_padding_is_left_out():
  np.testing.assert_array_equal(Packing.of(tf.constant(REAL)).pack(TOKENS), [[10], [11], [20]])


def test_real_tokens_come_back_to_their_places():
  packing = Packing.of(tf.constant(REAL))
  back = packing.unpack(packing.pack(TOKENS))
  assert back.shape == [2, 3, 1]
  np.testing.assert_array_equal(tf.boolean_mask(back, REAL), [[10], [11], [20]])


def test_for_padding_stands_the_first_token_of_its_own_text():
  packing = Packing.of(tf.constant(REAL))
  np.testing.assert_array_equal(packing.place, [[0, 1, 0], [2, 2, 2]])


def test_a_text_of_padding_keeps_one_token():
  packing = Packing.of(tf.constant([[False, False], [True, True]]))
  np.testing.assert_array_equal(packing.kept, [0, 2, 3])
  np.testing.assert_array_equal(packing.place, [[0, 0], [1, 2]])


def test_there_may_be_no_text_and_no_token():
  for shape in ((0, 3), (2, 0), (0, 0)):
    packing = Packing.of(tf.zeros(shape, tf.bool))
    assert packing.unpack(packing.pack(tf.zeros([0, 5]))).shape == [*shape, 5]


@hypothesis.given(arrays.arrays(bool, st.tuples(st.integers(0, 4), st.integers(0, 5))))
@hypothesis.settings(deadline=None)
def test_what_is_real_survives(real):
  packing = Packing.of(tf.constant(real))
  tokens = np.arange(real.size)
  back = packing.unpack(packing.pack(tf.constant(tokens))).numpy()
  np.testing.assert_array_equal(back[real], tokens.reshape(real.shape)[real])
