"""Routers and layers with experts against loops over tokens."""

import hypothesis
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from switch_zoo.errors import UserError
from switch_zoo.keras.experts import RouterKernel, SwitchFeedForward
from switch_zoo.keras.routing import TopK, balance_loss, queue
from switch_zoo.keras.shapes import static_size
from switch_zoo.keras.sparse import NO_EXPERT

D_MODEL, D_FF, EXPERTS = 5, 7, 4


def normal(*shape, seed=0):
  return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def probabilities(*shape):
  return tf.nn.softmax(2 * normal(*shape, seed=3))


def plain_queue(expert):
  """Positions of one group, choice by choice. [S, K] -> [S, K]"""
  lengths, positions = np.zeros(EXPERTS, int), np.zeros_like(expert)
  for choice in range(expert.shape[1]):
    for token in range(expert.shape[0]):
      chosen = expert[token, choice]
      if chosen != NO_EXPERT:
        positions[token, choice] = lengths[chosen]
        lengths[chosen] += 1
  return positions


CHOICES = arrays.arrays(
  np.int32, st.tuples(st.just(2), st.integers(0, 6), st.integers(1, 3)), elements=st.integers(-1, 3)
)


@hypothesis.given(CHOICES)
@hypothesis.settings(max_examples=30, deadline=None)
def test_queues(expert):
  positions, first_count = queue(tf.constant(expert), EXPERTS)
  for group in range(2):
    np.testing.assert_array_equal(positions[group], plain_queue(expert[group]))
    first = expert[group, :, 0]
    np.testing.assert_array_equal(first_count[group], np.bincount(first[first >= 0], minlength=EXPERTS))


def test_the_gate_of_one_expert_is_its_probability():
  expert, gate = TopK(1, False).best(tf.constant([[0.1, 0.6, 0.3]]))
  np.testing.assert_array_equal(expert, [[1]])
  np.testing.assert_allclose(gate, [[0.6]])


def test_the_gates_of_several_experts_sum_to_one():
  expert, gate = TopK(2, True).best(tf.constant([[0.1, 0.6, 0.3]]))
  np.testing.assert_array_equal(expert, [[1, 2]])
  np.testing.assert_allclose(gate, [[2 / 3, 1 / 3]], rtol=1e-5)


def test_padding_goes_nowhere_and_takes_no_place():
  real = tf.constant([[True, False, True]])
  choices = TopK(1, False).choose(tf.constant([[[0.9, 0.1]] * 3]), real, training=True)
  np.testing.assert_array_equal(choices.expert[..., 0], [[0, NO_EXPERT, 0]])
  np.testing.assert_array_equal(choices.position.numpy()[0, [0, 2], 0], [0, 1])
  np.testing.assert_array_equal(choices.first_count, [[2, 0]])


@pytest.mark.parametrize(('training', 'share'), [(True, 0.6), (False, 1.0)])
def test_in_training_a_second_expert_is_used_with_twice_its_gate(training, share):
  tf.random.set_seed(0)
  p = tf.tile(tf.constant([[[0.7, 0.3, 0.0]]]), [1, 4000, 1])
  choices = TopK(2, True).choose(p, tf.ones([1, 4000], tf.bool), training)
  assert (choices.expert.numpy()[..., 0] == 0).all()
  second = choices.expert.numpy()[..., 1]
  assert set(second.ravel()) <= {1, NO_EXPERT}
  # Four standard deviations of 4000 draws; outside of training it is exact.
  assert abs((second == 1).mean() - share) <= (0.031 if training else 0)


@pytest.mark.parametrize(
  ('name', 'hint'), [('top_2', 'Did you mean top2'), ('expert_choice', 'Known are top1, top2, top_n')]
)
def test_an_unknown_router(name, hint):
  with pytest.raises(UserError, match=f'The Keras model has no router "{name}".*{hint}'):
    TopK.named(name, 2)


def test_balance_loss_is_the_equation_of_the_paper():
  p, real = probabilities(2, 6, EXPERTS), np.array([[1, 1, 1, 1, 0, 0], [1, 1, 0, 1, 1, 1]], bool)
  count = TopK(1, False).choose(p, tf.constant(real), True).first_count
  expected = 0.0
  for group in range(2):
    tokens = p.numpy()[group][real[group]]
    f = np.bincount(tokens.argmax(-1), minlength=EXPERTS) / len(tokens)
    expected += EXPERTS * (f * tokens.mean(0)).sum() * len(tokens)
  np.testing.assert_allclose(balance_loss(count, p, tf.constant(real)), expected / real.sum(), rtol=1e-5)


def test_balance_loss_is_one_when_balanced_and_the_number_of_experts_at_worst():
  real = tf.ones([1, EXPERTS], tf.bool)
  even = tf.fill([1, EXPERTS, EXPERTS], 1 / EXPERTS)
  np.testing.assert_allclose(balance_loss(tf.fill([1, EXPERTS], 1), even, real), 1.0)
  all_to_one = tf.one_hot(tf.zeros([1, EXPERTS], tf.int32), EXPERTS)
  np.testing.assert_allclose(balance_loss(tf.constant([[EXPERTS, 0, 0, 0]]), all_to_one, real), EXPERTS)


def test_balance_loss_of_padding_alone_is_zero():
  zero = balance_loss(tf.zeros([1, EXPERTS], tf.int32), probabilities(1, 3, EXPERTS), tf.zeros([1, 3], tf.bool))
  assert zero.numpy() == 0.0


def plain_layer(layer, x, real, slots=None):
  """Each token by itself through the experts it chooses; a queue for the whole batch. [B, T, M] -> same shape"""
  tokens, k = x.reshape(-1, D_MODEL), layer.choice.k
  router = getattr(layer, layer.router_kernel).kernel.numpy()
  wi, wo = layer.wi.kernel.numpy(), layer.wo.kernel.numpy()
  logits = tokens @ router
  p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
  expert = np.where(real.reshape(-1, 1), np.argsort(-p, -1)[:, :k], NO_EXPERT)
  position = plain_queue(expert)
  y = np.zeros_like(tokens)
  for token, choices in enumerate(expert):
    gates = p[token, choices] / (p[token, choices].sum() if k > 1 else 1)
    for e, gate, place in zip(choices, gates, position[token], strict=True):
      if e != NO_EXPERT and (slots is None or place < slots):
        y[token] += gate * (np.maximum(tokens[token] @ wi[e], 0) @ wo[e])
  return y.reshape(x.shape)


def made(router='top1', k=1, **settings):
  """A layer with the same weights in every test, so large that experts differ."""
  layer = SwitchFeedForward(D_MODEL, D_FF, EXPERTS, router=router, experts_per_token=k, jitter=0.0, **settings)
  layer.set_weights([2 * normal(*weight.shape, seed=seed) for seed, weight in enumerate(layer.get_weights())])
  return layer


X, REAL = normal(2, 6, D_MODEL, seed=5), np.array([[1, 1, 1, 1, 1, 0], [1, 1, 1, 0, 0, 0]], bool)


@pytest.mark.parametrize(('router', 'k'), [('top1', 1), ('top2', 2), ('top_n', 3)])
def test_outside_training_nobody_is_dropped(router, k):
  layer = made(router, k)
  np.testing.assert_allclose(layer(X, REAL), plain_layer(layer, X, REAL), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('training', [True, False])
@pytest.mark.parametrize('slots', [1, 2, 12])
def test_tokens_beyond_the_slots_come_back_as_zeros(slots, training):
  # 12 tokens and 4 experts: the factor gives 3 slots each, and the minimum decides.
  factor = slots * EXPERTS / 12
  layer = made(capacity_factor=factor, capacity_factor_train=factor, min_expert_capacity=1)
  y = layer(X, REAL, training=training).numpy()
  np.testing.assert_allclose(y, plain_layer(layer, X, REAL, slots), rtol=1e-4, atol=1e-5)
  dropped = (y == 0).all(-1) & REAL
  assert dropped.any() == (slots < 12)


def test_slots_are_those_of_a_group():
  # Two groups of six tokens, one slot for an expert in each: what one group does leaves the other alone.
  layer = made(capacity_factor=EXPERTS / 6, min_expert_capacity=1, group_size=6)
  expected = [plain_layer(layer, X[row : row + 1], REAL[row : row + 1], 1)[0] for row in range(2)]
  np.testing.assert_allclose(layer(X, REAL), expected, rtol=1e-4, atol=1e-5)


def test_training_without_a_limit_drops_nobody():
  layer = made(capacity_factor_train=None)
  np.testing.assert_allclose(layer(X, REAL, training=True), plain_layer(layer, X, REAL), rtol=1e-4, atol=1e-5)


def test_limited_slots_need_a_fixed_shape():
  graph = tf.function(made(capacity_factor=1.0))
  specs = tf.TensorSpec([None, 6, D_MODEL]), tf.TensorSpec([None, 6], tf.bool)
  with pytest.raises(UserError, match=r'got \(None, 6\).*drop_remainder=True'):
    graph.get_concrete_function(*specs)
  unlimited = tf.function(made()).get_concrete_function(*specs)
  assert unlimited(tf.constant(X), tf.constant(REAL)).shape == X.shape


def test_the_router_computes_in_float32():
  kernel = RouterKernel((D_MODEL, EXPERTS), 1.0, dtype='bfloat16')
  p = kernel(tf.cast(X, tf.bfloat16))
  assert (kernel.kernel.dtype, p.dtype) == (tf.float32, tf.float32)
  np.testing.assert_allclose(tf.reduce_sum(p, -1), np.ones([2, 6]), rtol=1e-6)


def test_jitter_multiplies_the_routers_input_in_training_only():
  kernel = RouterKernel((1, 2), 1.0, jitter=0.25)
  kernel.kernel.assign([[1.0, 0.0]])
  x = np.full([2000, 1], 2.0, np.float32)
  logits = lambda p: np.log(p[:, 0] / p[:, 1])  # the difference of the two logits, which is the input
  np.testing.assert_allclose(logits(kernel(x).numpy()), 2.0, rtol=1e-5)
  jittered = logits(kernel(x, training=True).numpy())
  assert 1.5 <= jittered.min() < 1.51 and 2.49 < jittered.max() <= 2.5 + 1e-5


def test_balance_losses_are_added_in_training_with_their_coefficient():
  layer = made(balance_loss_coef=0.5)
  layer(X, REAL)
  assert layer.losses == []
  layer(X, REAL, training=True)
  (loss,) = layer.losses
  assert 0.5 * 0.9 < float(loss) <= 0.5 * EXPERTS
  without = made(balance_loss_coef=0.0)
  without(X, REAL, training=True)
  assert without.losses == []


def test_a_size_that_is_not_known_is_named():
  sizes = []
  tf.function(lambda x: sizes.append(static_size(x, 1))).get_concrete_function(tf.TensorSpec([None, 3]))
  assert sizes == [3]
  with pytest.raises(ValueError, match='Axis 0 of .* must have a size that is known when the graph is made'):
    tf.function(lambda x: static_size(x, 0), autograph=False).get_concrete_function(tf.TensorSpec([None, 3]))
