"""Our layer equals the released MoE1D with the same weights, where the released layer is right: without padding."""

from typing import Any

import mesh_harness
import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from mesh_harness import EVAL, TRAIN, Case, Result
from mesh_tensorflow.transformer import moe

from switch_zoo.mesh import dispatch, experts
from switch_zoo.mesh.routing import routers

X = np.random.default_rng(0).standard_normal((4, 16, 6)).astype('float32')
SHARED: dict[str, Any] = {'num_experts': 5, 'hidden_size': 12, 'group_size': 32, 'min_expert_capacity': 2}
STOCK: dict[str, dict[str, Any]] = {
  'switch': {'moe_gating': 'switch', 'switch_policy_train': 'argmax'},
  'switch_max': {'moe_gating': 'switch_max', 'switch_policy_train': 'argmax'},
  'top_2': {'moe_gating': 'top_2', 'second_policy_train': 'all', 'second_policy_eval': 'all'},
  'top_2_second_loss': {'moe_gating': 'top_2', 'second_policy_train': 'all', 'use_second_place_loss': True},
  'top_n': {'moe_gating': 'top_n', 'second_policy_train': 'all', 'second_policy_eval': 'all'},
  'ntlb': {'moe_gating': 'ntlb', 'switch_jitter': 0.0, 'ntlb_top_k': 3},
}
OURS = {
  'switch': lambda: routers.Top1('argmax'),
  'switch_max': lambda: routers.Top1('argmax', batch_prioritized=True),
  'top_2': lambda: routers.Top2('all'),
  'top_2_second_loss': lambda: routers.Top2('all', second_balance_loss_coef=0.5e-2),
  'top_n': lambda: routers.TopN(3, 'all'),
  'ntlb': lambda: routers.NoTokenLeftBehind(3, jitter=0.0),
}
# The released switch_max has its own kernel name; ours is an option of Top1.
RENAMED = {'switch_max': {'switch_gating/kernel': 'switch_max_gating/kernel'}}
# Its balance loss averages over all k choices (a defect, see test_defects), so losses and gradients differ.
OUTPUT_ONLY = ('ntlb',)
ONES = np.ones(X.shape[:2], int)


def both(name: str, mode: str, method: dispatch.Dispatch | None, **options: Any) -> tuple[Result, Result]:
  """What our layer and the released one give, with the same weights."""
  settings = {**SHARED, **options}
  ours = experts.SwitchFeedForward(router=OURS[name](), dispatch=method, **settings)
  case = Case(X, ONES, mode=mode)
  weights = mesh_harness.random_weights(ours, case)
  renamed = RENAMED.get(name, {})
  stock_case = case._replace(weights={renamed.get(n, n): w for n, w in weights.items()})
  stock = mesh_harness.run(moe.MoE1D(**STOCK[name], **settings), stock_case, 'MoE1D')
  own_names = {theirs: own for own, theirs in renamed.items()}
  stock = stock._replace(gradients={own_names.get(n, n): g for n, g in stock.gradients.items()})
  return mesh_harness.run(ours, case._replace(weights=weights)), stock


@pytest.mark.parametrize('method', [dispatch.Gather(), dispatch.Einsum()], ids=['gather', 'einsum'])
@pytest.mark.parametrize('mode', [TRAIN, EVAL])
@pytest.mark.parametrize('name', STOCK)
def test_outputs_losses_and_gradients_are_those_of_the_released_layer(name, mode, method):
  if name == 'top_2_second_loss' and mode == EVAL:
    pytest.skip('the released second policy is random in evaluation (defect 13)')
  ours, stock = both(name, mode, method)
  np.testing.assert_allclose(ours.output, stock.output, atol=1e-5)
  if name in OUTPUT_ONLY:
    return
  assert ours.loss == pytest.approx(stock.loss, abs=1e-6)
  assert ours.gradients.keys() == stock.gradients.keys()
  for variable, gradient in ours.gradients.items():
    np.testing.assert_allclose(gradient, stock.gradients[variable], atol=1e-5, err_msg=variable)


def test_geglu_experts_have_the_released_variables_and_outputs():
  ours, stock = both('switch', TRAIN, None, activation=['gelu', 'linear'])
  assert set(ours.gradients) == {'switch_gating/kernel', 'wi_0/kernel', 'wi_1/kernel', 'wo/kernel', 'x'}
  np.testing.assert_allclose(ours.output, stock.output, atol=1e-5)


@pytest.mark.parametrize('writer', ['ours', 'stock'])
def test_checkpoints_are_the_same_in_both_directions(writer, tmp_path):
  layers = {
    'ours': experts.SwitchFeedForward(router=routers.Top1('argmax'), **SHARED),
    'stock': moe.MoE1D(**STOCK['switch'], **SHARED),
  }
  reader = {'ours': 'stock', 'stock': 'ours'}[writer]
  case = Case(X, ONES, mode=EVAL)
  path = str(tmp_path / 'model.ckpt')
  written = mesh_harness.run(layers[writer], case, 'MoE1D', save=path)
  read = mesh_harness.run(layers[reader], case._replace(seed=7), 'MoE1D', restore=path)
  np.testing.assert_allclose(read.output, written.output, atol=1e-6)
  assert np.abs(written.output).max() > 0
  assert {name for name, _ in tf.train.list_variables(path)} == {
    f'encoder/layer/MoE1D/{name}/kernel' for name in ('switch_gating', 'wi', 'wo')
  }
