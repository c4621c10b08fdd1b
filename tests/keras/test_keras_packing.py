"""Tokens without their padding, and models that compute no other."""
import hypothesis
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

import switch_zoo
from switch_zoo.keras import SwitchTransformer, generation
from switch_zoo.keras.inference_layers import FeedForward
from switch_zoo.keras.packing import Packing

REAL = [[True, True, False], [True, False, False]]
TOKENS = tf.constant([[[10], [11], [12]], [[20], [21], [22]]])


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
    assert packing.unpack(packing.pack(tf.zeros([*shape, 5]))).shape == [*shape, 5]


@hypothesis.given(arrays.arrays(bool, st.tuples(st.integers(0, 4), st.integers(0, 5))))
@hypothesis.settings(deadline=None)
def test_what_is_real_survives(real):
  packing = Packing.of(tf.constant(real))
  tokens = np.arange(real.size).reshape(real.shape)
  back = packing.unpack(packing.pack(tf.constant(tokens))).numpy()
  np.testing.assert_array_equal(back[real], tokens[real])


@pytest.fixture
def eager():
  tf.config.run_functions_eagerly(True)
  yield
  tf.config.run_functions_eagerly(False)


def test_a_model_computes_no_padding(eager, monkeypatch):
  rows, computed = [], FeedForward.__call__
  monkeypatch.setattr(FeedForward, '__call__', lambda self, x: rows.append(len(x)) or computed(self, x))
  small = ['d_model = 8', 'd_ff = 16', 'd_kv = 4', 'num_heads = 2', 'vocab_size = 64']
  model = SwitchTransformer(switch_zoo.load_config('tiny_switch_8', small)).for_inference()
  generation.score(model, tf.constant([[5, 9, 1], [7, 1, 0]]), tf.constant([[8, 1, 0, 0], [1, 0, 0, 0]]))
  # The texts have 5 tokens, the targets 3; a layer of T5 has one feed-forward layer.
  assert rows == [5] * model.config.num_encoder_layers + [3] * model.config.num_decoder_layers
