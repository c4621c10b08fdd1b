"""The same weights and batch give the same loss and gradients, however the mesh cuts them."""

import functools

import mesh_harness
import numpy as np
import pytest
from mesh_harness import Case, Mesh, Result

from switch_zoo.mesh import attention, dispatch, exchange, experts
from switch_zoo.mesh.routing import routers
from switch_zoo.mesh.routing.router_base import Router

LAYOUTS = {
  'data': [Mesh(f'data:{n}', 'batch:data') for n in (2, 4, 8)],
  'model': [Mesh(f'model:{n}', 'expert_hidden:model;d_model_split:model') for n in (2, 4, 8)],
  'expert': [Mesh(f'all:{n}', 'batch:all;experts:all') for n in (2, 4, 8)],
  'expert_data': [Mesh(f'outer:2;inner:{n}', 'outer_batch:outer;batch:inner;experts:inner') for n in (1, 2, 4)],
  'expert_model': [
    Mesh(f'data:{n};model:2', 'batch:data;experts:data;expert_hidden:model;d_model_split:model') for n in (1, 2, 4)
  ],
}
ROWS = [pytest.param(m, id=f'{name}-{m.implementation().size}') for name, meshes in LAYOUTS.items() for m in meshes]
# Eight groups of eight tokens on every mesh: groups never cross slices, so the drops are the same too.
X = np.random.default_rng(0).standard_normal((2, 8, 4, 16)).astype('float32')
REAL = (np.random.default_rng(1).random((2, 8, 4)) > 0.2).astype(int)
METHODS = {'gather': dispatch.Gather(), 'einsum': dispatch.Einsum()}


def layer(method: str, router: Router | None = None) -> experts.SwitchFeedForward:
  return experts.SwitchFeedForward(
    num_experts=8,
    hidden_size=16,
    router=router or routers.Top1('argmax', z_loss_coef=1e-3),
    dispatch=METHODS[method],
    group_size=4,
    min_expert_capacity=1,
  )


@functools.cache
def weights() -> dict[str, np.ndarray]:
  return mesh_harness.random_weights(layer('einsum'), Case(X, REAL))


@functools.cache
def on_one_slice(method: str) -> Result:
  return mesh_harness.run(layer(method), Case(X, REAL, weights=weights()))


def assert_same(result: Result, expected: Result) -> None:
  np.testing.assert_allclose(result.output, expected.output, atol=1e-5)
  assert result.loss == pytest.approx(expected.loss, rel=1e-5)
  for variable, gradient in expected.gradients.items():
    np.testing.assert_allclose(result.gradients[variable], gradient, atol=2e-5, err_msg=variable)
  for name, value in expected.exported.items():
    np.testing.assert_allclose(result.exported[name], value, atol=1e-5, err_msg=name)


@pytest.mark.parametrize('method', METHODS)
@pytest.mark.parametrize('mesh', ROWS)
def test_loss_gradients_and_metrics_do_not_depend_on_the_mesh(mesh, method):
  assert_same(mesh_harness.run(layer(method), Case(X, REAL, weights=weights(), mesh=mesh)), on_one_slice(method))


@pytest.mark.parametrize('mesh', [LAYOUTS['expert'][1], LAYOUTS['expert_model'][1]], ids=['expert', 'expert_model'])
@pytest.mark.parametrize(
  'router', [routers.Top2('all'), routers.NoTokenLeftBehind(jitter=0.0)], ids=['top2', 'left_behind']
)
def test_other_routers_do_not_depend_on_the_mesh_either(router, mesh):
  case = Case(X, REAL)
  case = case._replace(weights=mesh_harness.random_weights(layer('gather', router), case))
  expected = mesh_harness.run(layer('gather', router), case)
  assert_same(mesh_harness.run(layer('gather', router), case._replace(mesh=mesh)), expected)


def test_switch_attention_does_not_depend_on_the_mesh():
  sparse = attention.SwitchSelfAttention(
    exchange.Exchange(num_experts=8, router=routers.Top1('argmax'), group_size=4),
    hidden_size=16,
    num_heads=4,
    key_value_size=4,
  )
  case = Case(X[0], REAL[0])
  case = case._replace(weights=mesh_harness.random_weights(sparse, case))
  mesh = Mesh('data:2;model:2', 'batch:data;experts:data;expert_hidden:model;heads:model;d_model_split:model')
  assert_same(mesh_harness.run(sparse, case._replace(mesh=mesh)), mesh_harness.run(sparse, case))
