"""What may be drawn against loops in NumPy, and answers that are drawn from a model."""

import hypothesis
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

import switch_zoo
from switch_zoo.keras import SwitchTransformer, generation
from switch_zoo.keras.generation import Sampling
from switch_zoo.keras.sampling import top_k_only, top_p_only
from switch_zoo.spec.token_ids import END

SMALL = ['d_model = 8', 'd_ff = 16', 'd_kv = 4', 'num_heads = 2', 'vocab_size = 128', "activation_dtype = 'float32'"]
INPUTS = np.array([[5, 9, 7, 1], [3, 1, 0, 0]], np.int32)
# Halves, so that no two sums of probabilities are equal by rounding alone; often two logits are the same.
LOGITS = arrays.arrays(np.float32, (2, 6), elements=st.integers(-8, 8).map(lambda n: n / 2))


def possible(logits):
  return np.asarray(logits) > -1e8


def plain_top_k(logits, k):
  """Tokens with fewer than k more likely ones."""
  return np.array([[sum(other > logit for other in row) < k for logit in row] for row in logits])


def plain_top_p(logits, p):
  """Tokens before which, and before all that are as likely, probability p is not reached yet."""
  rows = []
  for row in logits.astype(np.float64):
    probabilities = np.exp(row) / np.exp(row).sum()
    rows.append([probabilities[row > logit].sum() < p for logit in row])
  return np.array(rows)


@hypothesis.given(LOGITS, st.integers(1, 7))
@hypothesis.settings(max_examples=40, deadline=None)
def test_top_k(logits, k):
  found = top_k_only(tf.constant(logits), k)
  np.testing.assert_array_equal(possible(found), plain_top_k(logits, k))
  np.testing.assert_array_equal(found.numpy()[possible(found)], logits[possible(found)])


@hypothesis.given(LOGITS, st.floats(0.01, 0.99))
@hypothesis.settings(max_examples=40, deadline=None)
def test_top_p(logits, p):
  # Where p is a sum of probabilities up to rounding, both answers are right.
  hypothesis.assume((plain_top_p(logits, p - 1e-5) == plain_top_p(logits, p + 1e-5)).all())
  found = top_p_only(tf.constant(logits), p)
  np.testing.assert_array_equal(possible(found), plain_top_p(logits, p))
  np.testing.assert_array_equal(found.numpy()[possible(found)], logits[possible(found)])


def test_without_top_k_and_top_p_logits_are_what_they_were():
  logits = tf.constant([[1.0, 2.0]])
  assert top_k_only(logits, 0) is logits
  assert top_p_only(logits, 1.0) is logits


def test_top_p_counts_among_the_top_k_at_the_temperature():
  # At temperature 2 the square roots count: of 0.64, 0.2 and 0.16 without the last 0.64 and 0.36.
  logits = np.log(np.array([[0.64, 0.2, 0.16]], np.float32))
  draw = lambda top_p: Sampling(2.0, top_k=2, top_p=top_p).draw(np.repeat(logits, 500, 0), tf.constant([0, 1])).numpy()
  assert set(draw(0.65)) == {0, 1}
  assert set(draw(0.63)) == {0}
  np.testing.assert_allclose((draw(1.0) == 0).mean(), 0.8 / (0.8 + 0.2**0.5), atol=0.07)


@pytest.fixture(scope='module')
def model():
  tf.keras.utils.set_random_seed(3)
  return SwitchTransformer(switch_zoo.load_config('tiny_switch_8', [*SMALL, 'num_experts = 2']))


@pytest.mark.parametrize('sampling', [Sampling(1.0), Sampling(5.0, top_k=9), Sampling(0.5, top_p=0.9)])
def test_scores_of_what_was_drawn_are_those_of_the_model_itself(model, sampling):
  answers = model.generate(INPUTS, 6, sampling=sampling, seed=2)
  np.testing.assert_allclose(answers.scores, model.score(INPUTS, answers.ids), rtol=1e-4)


def test_after_its_end_an_answer_is_padding(model):
  ids = model.generate(np.repeat(INPUTS, 40, 0), 30, sampling=Sampling(3.0)).ids.numpy()
  ends = [list(row).index(END) for row in ids if END in row]
  assert len(set(ends)) > 5, 'the answers should end at different lengths'
  for row in ids:
    if END in row:
      assert not row[list(row).index(END) + 1 :].any()
  assert ids.shape[1] == (30 if len(ends) < len(ids) else max(ends) + 1)


def test_every_token_is_drawn_anew(model):
  """A seed is used with the position: equal logits do not give one token again and again."""
  inference = model.for_inference()
  inference.to_logits = lambda x: tf.zeros([tf.shape(x)[0], 128])
  ids = generation.sample(inference, tf.constant(INPUTS), tf.constant(8), Sampling(1.0), 5).ids.numpy()
  assert all(len(set(row)) > 2 for row in ids)


def test_a_temperature_near_zero_is_greedy(model):
  np.testing.assert_array_equal(model.generate(INPUTS, 6, sampling=Sampling(1e-3)).ids, model.generate(INPUTS, 6).ids)


def test_inputs_may_be_lists(model):
  np.testing.assert_array_equal(model.generate(INPUTS.tolist(), 4).ids, model.generate(INPUTS, 4).ids)


def test_an_empty_batch_has_no_answers(model):
  answers = model.generate(INPUTS[:0], 4)
  assert (answers.ids.shape, answers.scores.shape) == ((0, 0), (0,))
