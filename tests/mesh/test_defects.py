"""Our layer does not have the defects of the released one, which are tested by their number in docs/routing.md."""

from typing import Any

import mesh_harness
import mesh_tensorflow as mtf
import numpy as np
import pytest
import reference
import tensorflow.compat.v1 as tf
from mesh_harness import EVAL, TRAIN, Case, Result

from switch_zoo.errors import UserError
from switch_zoo.mesh import experts
from switch_zoo.mesh.routing import expert_choice, routers
from switch_zoo.mesh.routing.router_base import Router
from switch_zoo.spec import capacity

X = np.random.default_rng(0).standard_normal((4, 8, 6)).astype('float32')
ALL_ROUTERS = {
  'top1': lambda **o: routers.Top1(**o),
  'top2': lambda **o: routers.Top2(**o),
  'top3': lambda **o: routers.TopN(3, **o),
  'left_behind': lambda **o: routers.NoTokenLeftBehind(**o),
  'expert_choice': lambda **o: expert_choice.ExpertChoice(**o),
}


def layer(router: Router, **options: Any) -> experts.SwitchFeedForward:
  return experts.SwitchFeedForward(
    **{'num_experts': 4, 'hidden_size': 8, 'router': router, 'group_size': 16, 'min_expert_capacity': 1, **options}
  )


def run(sparse: experts.SwitchFeedForward, case: Case) -> Result:
  return mesh_harness.run(sparse, case._replace(weights=mesh_harness.random_weights(sparse, case)))


def test_1_mesh_tensorflow_can_be_imported():
  assert mtf.Dimension('a', 1).size == 1  # tf_compat repaired it before this module was imported


@pytest.mark.parametrize('mode', [TRAIN, EVAL])
@pytest.mark.parametrize('name', ALL_ROUTERS)
def test_3_no_padding_mask_means_no_padding(name, mode):
  results = [run(layer(ALL_ROUTERS[name]()), Case(X, real, mode=mode)) for real in (None, np.ones((4, 8)))]
  np.testing.assert_array_equal(results[0].output, results[1].output)


@pytest.mark.parametrize('name', ALL_ROUTERS)
def test_4_and_5_z_loss_needs_neither_a_mask_nor_microbatches(name):
  result = run(layer(ALL_ROUTERS[name](z_loss_coef=0.1)), Case(X, None, num_microbatches=None))
  assert result.exported['encoder/layer/MoE1D/loss/router_z'] > 0


def test_6_z_loss_has_its_own_weight():
  with_z, without = (run(layer(routers.Top1('argmax', z_loss_coef=z)), Case(X)) for z in (1e-3, 0.0))
  kernel = mesh_harness.random_weights(layer(routers.Top1('argmax')), Case(X))['switch_gating/kernel']
  z = reference.router_z(X @ kernel, np.ones((4, 8)))
  assert with_z.loss - without.loss == pytest.approx(1e-3 * z, rel=1e-3)  # not 1e-5 * z


def test_7_capacity_never_exceeds_the_group():
  assert capacity.expert_capacity(group_size=1, num_experts=64, factor=2.0, minimum=4) == 1


@pytest.mark.parametrize('prioritized', [False, True])
def test_8_balance_is_over_real_tokens_only(prioritized):
  router = routers.Top1('argmax', batch_prioritized=prioritized)
  real = np.tile([1, 1, 1, 1, 1, 0, 0, 0], (4, 1))
  padded = run(layer(router), Case(X, real))
  # The same tokens without the padding, in groups of the same real tokens: the loss must be the same.
  shorter = run(layer(router, group_size=10), Case(X[:, :5]))
  assert padded.loss == pytest.approx(shorter.loss, rel=1e-5)


def test_9_left_behind_has_a_balancing_signal_with_as_many_tries_as_experts():
  result = run(layer(routers.NoTokenLeftBehind(4, jitter=0.0)), Case(X))
  assert result.loss != pytest.approx(0.01, rel=1e-4)
  assert np.abs(result.gradients['ntlb_gating/kernel']).max() > 0


def test_10_left_behind_tries_all_experts_when_there_are_few():
  assert run(layer(routers.NoTokenLeftBehind(4, jitter=0.0), num_experts=2), Case(X)).output.shape == X.shape


def test_11_unknown_policies_are_refused():
  with pytest.raises(UserError, match='argmx'):
    routers.Top1('argmx')
  with pytest.raises(UserError, match='sometimes'):
    routers.Top2('sometimes')


def test_12_second_balance_works_for_two_experts_per_token():
  result = run(layer(routers.TopN(2, 'all', second_balance_loss_coef=0.1)), Case(X))
  assert result.exported['encoder/layer/MoE1D/loss/second_balance'] > 0


@pytest.mark.parametrize('name', ALL_ROUTERS)
def test_13_evaluation_is_deterministic_by_default(name):
  sparse = layer(ALL_ROUTERS[name]())
  case = Case(X, mode=EVAL)
  case = case._replace(weights=mesh_harness.random_weights(sparse, case))
  first, second = (mesh_harness.run(sparse, case._replace(seed=s)) for s in (0, 1))
  np.testing.assert_array_equal(first.output, second.output)


def test_14_expert_choice_in_a_decoder_is_refused():
  with pytest.raises(UserError, match='decoder'):
    run(layer(expert_choice.ExpertChoice()), Case(X, autoregressive=True))


@pytest.mark.parametrize('name', ALL_ROUTERS)
def test_15_metrics_have_the_layers_name_and_no_operation_per_expert(name):
  def num_operations(num_experts):
    graph = mtf.Graph()
    with tf.Graph().as_default():
      x, context = mesh_harness._inputs(mtf.Mesh(graph, 'mesh'), Case(X))
      layer(ALL_ROUTERS[name](), num_experts=num_experts).call(context, x)
    return len(graph.operations)

  assert num_operations(64) == num_operations(8)
  assert all(n.startswith('encoder/layer/MoE1D/') for n in run(layer(ALL_ROUTERS[name]()), Case(X)).exported)


def test_16_groups_do_not_shrink_silently():
  with pytest.raises(UserError, match='equal groups of 1 at most'):
    capacity.split_into_groups(1021, 512)


def test_17_a_token_decoded_alone_goes_where_it_went_in_the_sequence():
  sparse = layer(routers.Top1('argmax'), capacity_factor_eval=4.0)
  case = Case(X, mode=EVAL)
  case = case._replace(weights=mesh_harness.random_weights(sparse, case))
  forced = mesh_harness.run(sparse, case).output[:, 2]
  decoded = mesh_harness.run(sparse, case._replace(x=X[:, 2], mode='incremental')).output
  np.testing.assert_allclose(decoded, forced, atol=1e-5)
