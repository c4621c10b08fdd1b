"""Tokens without their padding, and models that compute no other."""

import hypothesis
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

import switch_zoo
from switch_zoo.keras import SwitchTransformer, generation
from switch_zoo.keras.inference_layers import InferenceFeedForward
from switch_zoo.keras.without_padding import WithoutPadding

REAL = tf.constant([[True, True, False], [True, False, False]])
# Two heads of one number: token 10 has the heads 100 and 101.
TOKENS = tf.constant([[10, 11, 12], [20, 21, 22]])
HEADS = 2


def heads_of(tokens):
  """[...] -> [..., HEADS]"""
  return tf.stack([10 * tokens, 10 * tokens + 1], -1)


def test_padding_is_left_out():
  np.testing.assert_array_equal(WithoutPadding.keeping(REAL, HEADS).pack(TOKENS), [10, 11, 20])


def test_heads_are_split_and_for_padding_stands_the_first_token_of_its_own_text():
  packing = WithoutPadding.keeping(REAL, HEADS)
  apart = packing.split_heads(heads_of(packing.pack(TOKENS)))
  assert apart.shape == [2, HEADS, 3, 1]
  np.testing.assert_array_equal(apart[..., 0], [[[100, 110, 100], [101, 111, 101]], [[200, 200, 200], [201, 201, 201]]])


def test_heads_are_joined_without_the_padding():
  packing = WithoutPadding.keeping(REAL, HEADS)
  apart = tf.constant([[[100, 110, -1], [101, 111, -1]], [[200, -1, -1], [201, -1, -1]]])[..., None]
  np.testing.assert_array_equal(packing.join_heads(apart), [[100, 101], [110, 111], [200, 201]])


def test_a_head_may_have_many_numbers():
  packing = WithoutPadding.keeping(REAL, HEADS)
  apart = packing.split_heads(tf.reshape(tf.range(18), [3, HEADS * 3]))
  np.testing.assert_array_equal(apart[0, 1, :2], [[3, 4, 5], [9, 10, 11]])  # the second head of the first two tokens
  np.testing.assert_array_equal(packing.join_heads(apart), np.arange(18).reshape(3, 6))


def test_a_text_of_padding_keeps_one_token():
  packing = WithoutPadding.keeping(tf.constant([[False, False], [True, True]]), 1)
  np.testing.assert_array_equal(packing.kept, [0, 2, 3])
  np.testing.assert_array_equal(packing.apart[:, 0], [[0, 0], [1, 2]])


def test_there_may_be_no_text_and_no_token():
  for batch, length in ((0, 3), (2, 0), (0, 0)):
    packing = WithoutPadding.keeping(tf.zeros([batch, length], tf.bool), HEADS)
    apart = packing.split_heads(heads_of(packing.pack(tf.zeros([batch, length], tf.int32))))
    assert apart.shape == [batch, HEADS, length, 1]
    assert packing.join_heads(apart).shape == [0, HEADS]


@hypothesis.given(arrays.arrays(bool, st.tuples(st.integers(0, 4), st.integers(0, 5))))
@hypothesis.settings(deadline=None)
def test_what_is_real_survives(real):
  packing = WithoutPadding.keeping(tf.constant(real), HEADS)
  tokens = np.arange(real.size).reshape(real.shape)
  packed = heads_of(packing.pack(tf.constant(tokens)))
  apart = packing.split_heads(packed)
  # The plain way: a transpose, and a mask of what is real.
  plain = heads_of(tf.constant(tokens)).numpy().transpose(0, 2, 1)
  for head in range(HEADS):
    np.testing.assert_array_equal(apart.numpy()[:, head, :, 0][real], plain[:, head][real])
  np.testing.assert_array_equal(packing.join_heads(apart), packed)


@pytest.fixture
def eager():
  tf.config.run_functions_eagerly(True)
  yield
  tf.config.run_functions_eagerly(False)


def test_a_model_computes_no_padding(eager, monkeypatch):
  rows, computed = [], InferenceFeedForward.__call__
  monkeypatch.setattr(
    InferenceFeedForward, '__call__', lambda self, x, first: rows.append(len(x)) or computed(self, x, first)
  )
  small = ['d_model = 8', 'd_ff = 16', 'd_kv = 4', 'num_heads = 2', 'vocab_size = 64']
  model = SwitchTransformer(switch_zoo.load_config('tiny_switch_8', small)).for_inference()
  generation.score(model, tf.constant([[5, 9, 1], [7, 1, 0]]), tf.constant([[8, 1, 0, 0], [1, 0, 0, 0]]))
  # The texts have 5 tokens, the targets 3; a layer of T5 has one feed-forward layer.
  assert rows == [5] * model.config.num_encoder_layers + [3] * model.config.num_decoder_layers
