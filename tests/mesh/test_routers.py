"""Every router by hand on tiny cases, then against the loops of tests/reference.py on random ones."""

from collections.abc import Callable
from typing import Any

import mesh_harness
import mesh_tensorflow as mtf
import numpy as np
import pytest
import reference
import tensorflow.compat.v1 as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from mesh_harness import Routed

from switch_zoo.mesh.routing import expert_choice, gates, losses, noisy_top_k, routers
from switch_zoo.mesh.routing.router_base import Router


def routed(router: Router, logits: np.ndarray, capacity: int, **kwargs: Any) -> Routed:
  """Routes tokens with the given logits [G, S, E]: one-hot tokens, and a kernel that holds the logits."""
  groups, tokens, experts = logits.shape
  x = np.eye(groups * tokens).reshape(groups, tokens, -1)
  kernels = {router.kernel_name: logits.reshape(-1, experts)}
  if router.noise_kernel_name:
    kernels[router.noise_kernel_name] = np.zeros((groups * tokens, experts))
  return mesh_harness.route(router, x, kernels, capacity, **kwargs)


def log(*rows: tuple[float, ...]) -> np.ndarray:
  """Logits of one group whose softmax is `rows` (each sums to one)."""
  return np.log(np.array([rows]))


def where(combine: np.ndarray) -> list[tuple[int, int, int, float]]:
  """(token, expert, slot, gate) of a group's nonzero entries."""
  return [(s, e, c, round(float(combine[0, s, e, c]), 4)) for s, e, c in zip(*np.nonzero(combine[0]), strict=True)]


class TestByHand:
  """Two or three tokens, two or three experts, one or two slots: the arithmetic is in the comments."""

  def test_top1_drops_the_second_token_of_a_full_expert(self):
    # Tokens 0 and 1 choose expert 0, which has one slot; token 2 chooses expert 1.
    result = routed(routers.Top1('argmax'), log((0.7, 0.3), (0.9, 0.1), (0.2, 0.8)), capacity=1)
    assert where(result.combine) == [(0, 0, 0, 0.7), (2, 1, 0, 0.8)]
    # f = (2/3, 1/3), P = (1.8/3, 1.2/3): 2 * (2/3 * 0.6 + 1/3 * 0.4) = 1.0667
    assert result.losses['balance'] == pytest.approx(2 * (2 / 3 * 0.6 + 1 / 3 * 0.4), rel=1e-5)
    assert result.metrics['dropped'] == pytest.approx(1 / 3)
    assert result.metrics['load'] == pytest.approx([2 / 3, 1 / 3])
    assert result.metrics['mean_gate'] == pytest.approx((0.7 + 0.9 + 0.8) / 3)

  def test_batch_priority_keeps_the_token_with_the_higher_gate(self):
    result = routed(routers.Top1('argmax', batch_prioritized=True), log((0.7, 0.3), (0.9, 0.1), (0.2, 0.8)), capacity=1)
    assert where(result.combine) == [(1, 0, 0, 0.9), (2, 1, 0, 0.8)]

  def test_a_tie_goes_to_the_first_expert(self):
    result = routed(routers.Top1('argmax'), log((0.5, 0.5), (0.5, 0.5)), capacity=2)
    assert where(result.combine) == [(0, 0, 0, 0.5), (1, 0, 1, 0.5)]

  def test_padding_takes_no_slot_and_no_part_in_the_loss(self):
    logits = log((0.7, 0.3), (0.9, 0.1), (0.2, 0.8))
    result = routed(routers.Top1('argmax'), logits, capacity=1, real=[[0, 1, 1]])
    assert where(result.combine) == [(1, 0, 0, 0.9), (2, 1, 0, 0.8)]
    # f = (1/2, 1/2), so the loss is 2 * 1/2 * (sum of P) = 1 whatever P is.
    assert result.losses['balance'] == pytest.approx(1.0, rel=1e-5)
    assert result.metrics['dropped'] == 0

  def test_top2_places_first_choices_before_second_ones(self):
    # Normalized pairs: token 0 (2/3, 1/3) on experts 0, 1; token 1 (0.75, 0.25) on experts 1, 0. One slot each:
    # the first choices take both, and for both second choices the expert is full.
    result = routed(routers.Top2('all'), log((0.6, 0.3, 0.1), (0.2, 0.6, 0.2)), capacity=1)
    assert where(result.combine) == [(0, 0, 0, round(2 / 3, 4)), (1, 1, 0, 0.75)]

  def test_top2_threshold_skips_a_weak_second_expert_but_its_place_is_kept(self):
    # Second gates: token 0 has 0.2 / 0.9 = 0.22 on expert 1, token 1 has 0.4 / 0.9 = 0.44 on expert 1.
    # Threshold 0.3 skips token 0, whose place 0 stays empty: token 1 has place 1.
    result = routed(routers.Top2('threshold', second_threshold=0.3), log((0.7, 0.2, 0.1), (0.5, 0.4, 0.1)), capacity=2)
    assert where(result.combine) == [
      (0, 0, 0, round(0.7 / 0.9, 4)),
      (1, 0, 1, round(0.5 / 0.9, 4)),
      (1, 1, 1, round(0.4 / 0.9, 4)),
    ]

  def test_no_token_left_behind_sends_the_overflow_to_other_experts(self):
    # All three choose expert 0 (one slot): token 1 moves on to its second best, expert 1; token 2 to expert 2.
    logits = log((0.8, 0.1, 0.1), (0.6, 0.3, 0.1), (0.6, 0.1, 0.3))
    result = routed(routers.NoTokenLeftBehind(jitter=0.0), logits, capacity=1)
    assert where(result.combine) == [(0, 0, 0, 0.8), (1, 1, 0, 0.3), (2, 2, 0, 0.3)]
    assert result.metrics['dropped'] == 0
    # Balance is over first choices: f = (1, 0, 0), P_0 = 2/3, so 3 * 2/3 = 2 although nobody was dropped.
    assert result.losses['balance'] == pytest.approx(2.0, rel=1e-5)

  def test_expert_choice_takes_the_best_tokens_of_each_expert(self):
    # Two slots. Expert 0 prefers tokens 1 (0.9) and 0 (0.7), expert 1 tokens 2 (0.8) and 0 (0.3).
    result = routed(expert_choice.ExpertChoice(), log((0.7, 0.3), (0.9, 0.1), (0.2, 0.8)), capacity=2)
    assert where(result.combine) == [(0, 0, 1, 0.7), (0, 1, 1, 0.3), (1, 0, 0, 0.9), (2, 1, 0, 0.8)]

  def test_noisy_top_k_without_noise_is_a_softmax_over_the_kept(self):
    # k = 2 of three: token 0 keeps 0.5 and 0.3, normalized 0.625 and 0.375.
    result = routed(noisy_top_k.NoisyTopK(k=2), log((0.5, 0.3, 0.2)), capacity=1, train=False)
    assert where(result.combine) == [(0, 0, 0, 0.625), (0, 1, 0, 0.375)]
    # Importance (0.625, 0.375, 0): mean 1/3, variance (0.625^2 + 0.375^2) / 3 - 1/9 = 0.06597, CV^2 = 0.59375
    assert result.losses['importance'] == pytest.approx(0.59375, rel=1e-5)


ROUTERS: dict[str, tuple[Router, Callable[..., np.ndarray]]] = {
  'top1': (routers.Top1('argmax', z_loss_coef=1.0), lambda p, logits, r, c: reference.top1(p, r, c)),
  'prioritized': (
    routers.Top1('argmax', batch_prioritized=True, z_loss_coef=1.0),
    lambda p, logits, r, c: reference.top1(p, r, c, prioritized=True),
  ),
  'top2': (routers.Top2('all', z_loss_coef=1.0), lambda p, logits, r, c: reference.top_n(p, r, c, 2)),
  'top2_threshold': (
    routers.Top2('threshold', 0.45, z_loss_coef=1.0),
    lambda p, logits, r, c: reference.top_n(p, r, c, 2, lambda gate: gate > 0.45),
  ),
  'top2_none': (
    routers.Top2('none', z_loss_coef=1.0),
    lambda p, logits, r, c: reference.top_n(p, r, c, 2, lambda gate: False),
  ),
  'top3': (routers.TopN(3, 'all', z_loss_coef=1.0), lambda p, logits, r, c: reference.top_n(p, r, c, 3)),
  'left_behind': (
    routers.NoTokenLeftBehind(3, jitter=0.0, z_loss_coef=1.0),
    lambda p, logits, r, c: reference.no_token_left_behind(p, r, c, 3),
  ),
  'expert_choice': (
    expert_choice.ExpertChoice(z_loss_coef=1.0),
    lambda p, logits, r, c: reference.expert_choice(p, r, c),
  ),
  'noisy': (noisy_top_k.NoisyTopK(2, z_loss_coef=1.0), lambda p, logits, r, c: reference.noisy_top_k(logits, r, c, 2)),
}


def check_against_loops(name: str, logits: np.ndarray, real: np.ndarray, capacity: int) -> None:
  router, loop = ROUTERS[name]
  probabilities = reference.softmax(logits.astype(np.float64))
  expected = loop(probabilities, logits, real, capacity)
  result = routed(router, logits, capacity, real=real, train=False)
  np.testing.assert_allclose(result.combine, expected, atol=1e-5)
  np.testing.assert_array_equal(result.dispatch, expected > 0)
  assert result.losses['router_z'] == pytest.approx(reference.router_z(logits, real), rel=1e-4, abs=1e-6)
  if 'balance' in result.losses:
    assert result.losses['balance'] == pytest.approx(reference.switch_balance(probabilities, real), rel=1e-4, abs=1e-6)
  taken = expected.any((2, 3))
  assert result.metrics['dropped'] == pytest.approx((real * ~taken).sum() / max(real.sum(), 1), abs=1e-6)
  if name not in ('noisy',) and real.sum():
    assert result.metrics['entropy'] == pytest.approx(reference.entropy(probabilities, real), rel=1e-4)


@pytest.mark.parametrize('name', ROUTERS)
@pytest.mark.parametrize(
  ('groups', 'tokens', 'experts', 'capacity', 'padding'),
  [
    pytest.param(2, 12, 4, 12, 0.0, id='room_for_all'),
    pytest.param(2, 12, 4, 2, 0.0, id='overflow'),
    pytest.param(3, 10, 5, 2, 0.4, id='padding_and_overflow'),
    pytest.param(4, 1, 3, 1, 0.0, id='one_token'),
    pytest.param(1, 6, 3, 2, 1.0, id='only_padding'),
    pytest.param(2, 7, 7, 1, 0.2, id='seven_experts'),
  ],
)
def test_equals_the_loops(name, groups, tokens, experts, capacity, padding):
  generator = np.random.default_rng(tokens)
  logits = generator.standard_normal((groups, tokens, experts))
  check_against_loops(name, logits, (generator.random((groups, tokens)) >= padding).astype(float), capacity)


@pytest.mark.parametrize('name', ['top1', 'prioritized', 'left_behind', 'expert_choice'])
def test_one_expert(name):
  check_against_loops(name, np.zeros((2, 5, 1)), np.ones((2, 5)), capacity=3)


@pytest.mark.parametrize('name', ROUTERS)
@settings(max_examples=6, deadline=None)
@given(data=st.data())
def test_equals_the_loops_on_anything(name, data):
  groups, tokens = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 8))
  experts = data.draw(st.integers(3, 6))
  # Only a few different logits, so that there are ties; steps of 0.5, so that ties are exact in both precisions.
  size = groups * tokens * experts
  values = data.draw(st.lists(st.integers(-4, 4), min_size=size, max_size=size))
  real = data.draw(st.lists(st.booleans(), min_size=groups * tokens, max_size=groups * tokens))
  logits = np.array(values, np.float64).reshape(groups, tokens, experts) / 2
  if (
    name == 'prioritized'
  ):  # equal gates of different experts differ in the last digit: make the gates of tokens unique
    logits += np.arange(groups * tokens).reshape(groups, tokens, 1) * np.linspace(0.01, 0.02, experts)
  if name == 'expert_choice':
    logits += np.random.default_rng(0).standard_normal(logits.shape) * 0.01
  check_against_loops(name, logits, np.array(real, float).reshape(groups, tokens), data.draw(st.integers(1, tokens)))


def test_load_loss_with_noise_equals_the_loop():
  generator = np.random.default_rng(0)
  clean, noisy_logits = generator.standard_normal((2, 2, 6, 5))
  deviation = np.exp(generator.standard_normal((2, 6, 5)))
  real = np.array([[1, 1, 0, 1, 1, 1], [1, 0, 1, 1, 1, 1]])
  computed = with_tensors(lambda c, n, d, r: losses.load(c, n, d, 2, r), clean, noisy_logits, deviation, real)
  assert computed == pytest.approx(reference.smooth_load(clean, noisy_logits, deviation, 2, real), rel=1e-4)


def test_gshard_balance_is_switch_balance_over_experts_squared():
  probabilities = reference.softmax(np.random.default_rng(0).standard_normal((2, 6, 4)))
  real = np.ones((2, 6))
  count = reference.first_choices(probabilities, real)
  # GShard's algorithm 1, line 13, per group: 1/E * sum_e c_e/S * m_e, with m_e the mean gate.
  expected = np.mean([np.sum(count[g] / 6 * probabilities[g].mean(0)) / 4 for g in range(2)])
  balance = routed(routers.Top2('all', balance_loss=losses.gshard_balance), np.log(probabilities), 6).losses['balance']
  assert balance == pytest.approx(expected, rel=1e-5)


def test_second_balance_is_over_the_probabilities_without_the_first_choice():
  # Token 0: first 0, then of (0.2, 0.1) the shares (2/3, 1/3). Token 1: first 0, then (0.1, 0.3): (1/4, 3/4).
  logits = log((0.7, 0.2, 0.1), (0.6, 0.1, 0.3))
  result = routed(routers.TopN(2, 'all', second_balance_loss_coef=0.1), logits, capacity=2)
  # f = (0, 1/2, 1/2), P = (0, (2/3 + 1/4) / 2, (1/3 + 3/4) / 2): 3 * 1/2 * (P_1 + P_2) = 1.5
  assert result.losses['second_balance'] == pytest.approx(1.5, rel=1e-5)


def with_tensors(function: Callable[..., mtf.Tensor], *arrays: np.ndarray) -> np.ndarray:
  """A scalar function of mtf.Tensors, evaluated on `arrays`, each [G, S] or [G, S, E]."""
  graph = mtf.Graph()
  mesh = mtf.Mesh(graph, 'mesh')
  names = ['batch', 'group', 'expert_unsplit']
  tensors = [
    mtf.import_tf_tensor(
      mesh, tf.constant(a, tf.float32), mtf.Shape([mtf.Dimension(n, s) for n, s in zip(names, a.shape, strict=False)])
    )
    for a in arrays
  ]
  result = function(*tensors)
  lowering = mtf.Lowering(graph, {mesh: mesh_harness.Mesh().implementation()}, autostack=False)
  with mesh_harness.session() as running:
    return running.run(lowering.export_to_tf_tensor(result))


class TestNoise:
  """Routers are deterministic in evaluation, and random in training where they should be."""

  LOGITS = np.random.default_rng(3).standard_normal((1, 40, 4)) * 0.1

  NOISY = {
    'sample': lambda: routers.Top1('sample'),
    'input_dropout': lambda: routers.Top1('input_dropout', input_dropout=0.5),
    'input_jitter': lambda: routers.Top1('input_jitter', jitter=0.5),
    'top2_random': lambda: routers.Top2('random', second_threshold=0.9),
    'left_behind': lambda: routers.NoTokenLeftBehind(jitter=0.5),
    'noisy_top_k': lambda: noisy_top_k.NoisyTopK(2),
  }

  @pytest.mark.parametrize('name', NOISY)
  def test_evaluation_is_the_same_for_two_seeds(self, name):
    first, second = (routed(self.NOISY[name](), self.LOGITS, 20, train=False, seed=s) for s in (0, 1))
    np.testing.assert_array_equal(first.combine, second.combine)

  @pytest.mark.parametrize('name', NOISY)
  def test_training_differs_between_two_seeds(self, name):
    first, second = (routed(self.NOISY[name](), self.LOGITS, 20, train=True, seed=s) for s in (0, 1))
    assert first.combine.shape == second.combine.shape
    assert np.abs(first.combine - second.combine).max() > 0

  def test_the_gate_of_a_sample_is_its_own_probability(self):
    result = routed(routers.Top1('sample'), self.LOGITS, 40)
    probabilities = reference.softmax(self.LOGITS)
    expert = result.dispatch.sum(-1).argmax(-1)
    expected = np.take_along_axis(probabilities, expert[..., None], -1)[..., 0]
    np.testing.assert_allclose(result.combine.sum((2, 3)), expected, rtol=1e-5)

  def test_argmax_has_no_noise(self):
    first, second = (routed(routers.Top1('argmax'), self.LOGITS, 20, seed=s) for s in (0, 1))
    np.testing.assert_array_equal(first.combine, second.combine)


def test_policies_are_those_of_the_paper():
  assert set(gates.POLICIES) == {'argmax', 'sample', 'input_dropout', 'input_jitter'}
