"""The Switch feed-forward layer itself: variables, dense equality, precision, decoding, refusals."""

from typing import Any

import mesh_harness
import mesh_tensorflow as mtf
import numpy as np
import pytest
import reference
import tensorflow.compat.v1 as tf
from mesh_harness import EVAL, TRAIN, Case, Mesh, Result

from switch_zoo.errors import UserError
from switch_zoo.mesh import dispatch, exchange, experts
from switch_zoo.mesh.routing import expert_choice, noisy_top_k, routers

X = np.random.default_rng(0).standard_normal((4, 8, 6)).astype('float32')
REAL = (np.random.default_rng(1).random((4, 8)) > 0.2).astype(int)


def layer(**options: Any) -> experts.SwitchFeedForward:
  return experts.SwitchFeedForward(
    **{
      'num_experts': 4,
      'hidden_size': 12,
      'router': routers.Top1('argmax'),
      'group_size': 16,
      'min_expert_capacity': 1,
      **options,
    }
  )


def run(sparse: experts.SwitchFeedForward, case: Case) -> Result:
  return mesh_harness.run(sparse, case._replace(weights=mesh_harness.random_weights(sparse, case)))


def test_variables_are_those_of_the_released_layer():
  shapes = mesh_harness.variable_shapes(layer(), Case(X))
  assert shapes == {'switch_gating/kernel': (6, 4), 'wi/kernel': (4, 6, 12), 'wo/kernel': (4, 12, 6)}


def test_output_is_that_of_the_loops():
  sparse, case = layer(), Case(X, REAL, mode=EVAL)
  weights = mesh_harness.random_weights(sparse, case)
  result = mesh_harness.run(sparse, case._replace(weights=weights))
  groups = X.reshape(2, 16, 6)
  probabilities = reference.softmax(groups @ weights['switch_gating/kernel'])
  # capacity factor 2: 2 * 16 / 4 = 8 slots
  combine = reference.top1(probabilities, REAL.reshape(2, 16), capacity=8)
  expected = reference.experts_output(groups, combine, weights['wi/kernel'], weights['wo/kernel'])
  np.testing.assert_allclose(result.output, expected.reshape(X.shape), atol=1e-5)
  assert result.loss == pytest.approx(0.01 * reference.switch_balance(probabilities, REAL.reshape(2, 16)), rel=1e-5)


@pytest.mark.parametrize('method', [dispatch.Gather(), dispatch.Einsum()], ids=['gather', 'einsum'])
def test_one_expert_with_room_for_all_is_the_dense_layer(method):
  sparse = layer(num_experts=1, dispatch=method)
  weights = mesh_harness.random_weights(sparse, Case(X))
  result = mesh_harness.run(sparse, Case(X, weights=weights))
  wi, wo = (weights[f'{n}/kernel'][0] for n in ('wi', 'wo'))
  np.testing.assert_allclose(result.output, np.maximum(X @ wi, 0) @ wo, atol=1e-5)


def test_total_loss_is_the_sum_of_the_exported_ones():
  result = run(layer(router=routers.Top1('argmax', z_loss_coef=0.1)), Case(X, REAL))
  exported = {n.removeprefix('encoder/layer/MoE1D/'): v for n, v in result.exported.items()}
  assert exported['loss/balance'] + exported['loss/router_z'] == pytest.approx(result.loss)
  assert set(exported) == {'load', 'dropped', 'entropy', 'mean_gate', 'loss/balance', 'loss/router_z'}


def test_nothing_is_exported_while_decoding():
  assert run(layer(), Case(X, mode='first_part')).exported == {}


def test_microbatches_share_the_loss():
  whole, half = (run(layer(), Case(X, REAL, num_microbatches=n)).loss for n in (1, 2))
  assert half == pytest.approx(whole / 2)


def test_expert_dropout_is_for_training_and_inside_experts_only():
  dropping = layer(expert_dropout_rate=0.5)
  case = Case(X)
  case = case._replace(weights=mesh_harness.random_weights(dropping, case))
  first, second = (mesh_harness.run(dropping, case._replace(seed=s)) for s in (0, 1))
  assert np.abs(first.output - second.output).max() > 1e-3
  np.testing.assert_array_equal(first.exported['encoder/layer/MoE1D/load'], second.exported['encoder/layer/MoE1D/load'])
  without = mesh_harness.run(layer(), case._replace(mode=EVAL))
  np.testing.assert_array_equal(mesh_harness.run(dropping, case._replace(mode=EVAL)).output, without.output)


def test_kernels_start_small():
  # Variance 0.1 / fan-in, truncated at two deviations, which leaves 0.88 of the deviation.
  wide = layer(num_experts=2, hidden_size=64)
  with tf.Graph().as_default():
    graph = mtf.Graph()
    x, context = mesh_harness._inputs(mtf.Mesh(graph, 'mesh'), Case(np.zeros((1, 4, 100))))
    wide.call(context, x)
    (wi,) = [v for v in graph.trainable_variables if v.name == 'wi/kernel']
    with tf.Session() as session:
      session.run(tf.global_variables_initializer())
      values = session.run(wi.get_master())
  assert values.std() == pytest.approx(0.88 * (0.1 / 100) ** 0.5, rel=0.05)
  assert np.abs(values).max() <= 2 * (0.1 / 100) ** 0.5


class TestDecoding:
  """One token of each sequence at a time: the group is the batch, and no token may be dropped because of the others."""

  def test_equals_teacher_forcing_token_by_token(self):
    sparse = layer(capacity_factor_eval=4.0)
    case = Case(X, mode=EVAL)
    case = case._replace(weights=mesh_harness.random_weights(sparse, case))
    forced = mesh_harness.run(sparse, case).output
    step = case._replace(mode='incremental')
    decoded = [mesh_harness.run(sparse, step._replace(x=X[:, t])).output for t in range(3)]
    np.testing.assert_allclose(np.stack(decoded, 1), forced[:, :3], atol=1e-5)

  def test_tokens_that_all_choose_one_expert_all_get_it(self):
    same = np.repeat(X[:1, 0], 16, axis=0)
    sparse = layer()
    output = run(sparse, Case(same, mode='incremental')).output
    np.testing.assert_allclose(output, np.repeat(output[:1], 16, axis=0), atol=1e-6)
    assert np.abs(output).max() > 0

  def test_a_factor_brings_the_ordinary_capacity_back(self):
    same = np.repeat(X[:1, 0], 16, axis=0)
    output = run(layer(capacity_factor_decode=1.0), Case(same, mode='incremental')).output
    assert (np.abs(output).max(-1) > 0).sum() == 4  # 16 tokens / 4 experts


class TestPrecision:
  """The router in float32 while everything around it is bfloat16."""

  def test_selective_router_keeps_the_digits_of_its_kernel(self):
    # Logits 1 and 1.001 are the same number in bfloat16 (8 bits), and differ in float32.
    x = np.ones((1, 2, 1), 'float32')
    weights = {
      'switch_gating/kernel': np.array([[1.0, 1.001]], 'float32'),
      'wi/kernel': np.ones((2, 1, 1), 'float32'),
      'wo/kernel': np.array([[[1.0]], [[2.0]]], 'float32'),
    }
    loads = {}
    for precision in exchange.PRECISIONS:
      sparse = layer(num_experts=2, hidden_size=1, precision=precision)
      result = mesh_harness.run(sparse, Case(x, weights=weights, dtype=tf.bfloat16, mode=EVAL))
      loads[precision] = result.exported['encoder/layer/MoE1D/load']
    np.testing.assert_array_equal(loads['selective'], [0, 1])
    np.testing.assert_array_equal(loads['float32'], [0, 1])
    np.testing.assert_array_equal(loads['bfloat16'], [1, 0])

  @pytest.mark.parametrize('precision', list(exchange.PRECISIONS))
  @pytest.mark.parametrize('dtype', [tf.float32, tf.bfloat16])
  def test_activations_keep_their_dtype_and_losses_are_float32(self, precision, dtype):
    x, context = mesh_harness._inputs(mtf.Mesh(mtf.Graph(), 'mesh'), Case(X, REAL, dtype=dtype))
    y = layer(precision=precision).call(context, x)
    assert y.dtype == dtype
    assert [loss.dtype for loss in context.losses or []] == [tf.float32]

  def test_bfloat16_output_is_near_the_float32_one(self):
    weights = mesh_harness.random_weights(layer(), Case(X))
    full, half = (mesh_harness.run(layer(), Case(X, weights=weights, dtype=d)) for d in (tf.float32, tf.bfloat16))
    np.testing.assert_allclose(half.output, full.output, atol=0.05)
    assert half.loss == pytest.approx(full.loss, rel=0.02)


REFUSED = {
  'no_experts': (lambda: layer(num_experts=0), 'num_experts=0'),
  'capacity_factor_0': (lambda: layer(capacity_factor_train=0), 'capacity_factor_train=0.*positive'),
  'negative_capacity': (lambda: layer(capacity_factor_eval=-1.0), 'capacity_factor_eval=-1.0'),
  'group_size': (lambda: layer(group_size=0), 'group_size=0'),
  'policy': (lambda: routers.Top1('input_jiter'), "'input_jiter'.*Did you mean input_jitter"),
  'second_policy': (lambda: routers.Top2('randm'), "'randm'.*Did you mean random"),
  'second_threshold': (lambda: routers.Top2(second_threshold=0), 'second_threshold=0'),
  'top_n_above_experts': (lambda: layer(router=routers.TopN(5)), 'n=5.*num_experts=4.*n=4 or fewer'),
  'top_2_of_one': (lambda: layer(num_experts=1, router=routers.Top2()), 'n=2.*num_experts=1'),
  'top_0': (lambda: routers.TopN(0), 'n=0'),
  'k_of_k': (lambda: layer(router=noisy_top_k.NoisyTopK(4)), 'k=4.*num_experts=4'),
  'no_tries': (lambda: routers.NoTokenLeftBehind(0), 'most_tries=0'),
  'negative_coef': (lambda: routers.Top1(balance_loss_coef=-0.1), 'balance_loss_coef=-0.1'),
  'router_is_a_name': (lambda: layer(router='top_1'), "router='top_1'.*@routing.Top1"),
  'router_is_a_class': (lambda: layer(router=routers.Top1), 'parentheses'),
  'precision': (lambda: layer(precision='float23'), "'float23'.*Did you mean float32"),
  'activation': (lambda: layer(activation='rleu'), "'rleu'.*Did you mean relu"),
  'dropout': (lambda: layer(expert_dropout_rate=1.0), 'expert_dropout_rate=1.0'),
}


@pytest.mark.parametrize('name', REFUSED)
def test_wrong_settings_are_refused_when_the_layer_is_built(name):
  build, message = REFUSED[name]
  with pytest.raises(UserError, match=message):
    build()


def test_tokens_that_do_not_divide_over_the_mesh_are_refused():
  with pytest.raises(UserError, match='32 tokens do not divide evenly among the 3'):
    mesh_harness.run(layer(), Case(X, mesh=Mesh('all:3', 'batch:all')))


def test_expert_choice_is_refused_in_a_decoder():
  sparse = layer(router=expert_choice.ExpertChoice())
  mesh_harness.run(sparse, Case(X))
  with pytest.raises(UserError, match='ExpertChoice.*decoder.*Top1'):
    mesh_harness.run(sparse, Case(X, autoregressive=True))


def test_released_cross_entropy_in_bfloat16_is_refused():
  with pytest.raises(UserError, match='loss_fn'):
    mesh_harness.run(layer(), Case(X, mode=TRAIN, dtype=tf.bfloat16, autoregressive=True))
