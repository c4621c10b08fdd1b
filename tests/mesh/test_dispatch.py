"""Gather and einsum give the same outputs and the same gradients."""

from typing import Any

import mesh_harness
import mesh_tensorflow as mtf
import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from mesh_harness import Case, Result

from switch_zoo.mesh import dispatch, experts
from switch_zoo.mesh.routing import expert_choice, noisy_top_k, routers, rows
from switch_zoo.mesh.routing.router_base import Router

X = np.random.default_rng(0).standard_normal((4, 12, 6)).astype('float32')
REAL = (np.random.default_rng(1).random((4, 12)) > 0.2).astype(int)
ROUTERS = {
  'top1': routers.Top1('argmax'),
  'prioritized': routers.Top1('argmax', batch_prioritized=True),
  'top2': routers.Top2('threshold'),
  'top3': routers.TopN(3, 'all'),
  'left_behind': routers.NoTokenLeftBehind(jitter=0.0),
  'expert_choice': expert_choice.ExpertChoice(),
  'noisy': noisy_top_k.NoisyTopK(2),
}


def result(method: dispatch.Dispatch, router: Router, **options: Any) -> Result:
  layer = experts.SwitchFeedForward(
    num_experts=5, hidden_size=8, router=router, dispatch=method, group_size=24, min_expert_capacity=1
  )
  case = Case(X, **{'real': REAL, **options})
  return mesh_harness.run(layer, case._replace(weights=mesh_harness.random_weights(layer, case)))


@pytest.mark.parametrize(
  'mesh', [mesh_harness.Mesh(), mesh_harness.Mesh('all:2', 'batch:all')], ids=['one_slice', 'two_slices']
)
@pytest.mark.parametrize('name', ROUTERS)
def test_gather_equals_einsum(name, mesh):
  if name == 'noisy' and mesh.shape:
    pytest.skip('slices draw their own noise')
  gather, einsum = (result(method, ROUTERS[name], mesh=mesh) for method in (dispatch.Gather(), dispatch.Einsum()))
  np.testing.assert_allclose(gather.output, einsum.output, atol=1e-6)
  assert gather.loss == pytest.approx(einsum.loss, abs=1e-6)
  for variable, gradient in gather.gradients.items():
    np.testing.assert_allclose(gradient, einsum.gradients[variable], atol=2e-6, err_msg=variable)


def test_gather_makes_no_tensor_of_tokens_times_experts_times_capacity():
  graph = mtf.Graph()
  x, context = mesh_harness._inputs(mtf.Mesh(graph, 'mesh'), Case(X))
  layer = experts.SwitchFeedForward(
    num_experts=5, hidden_size=8, router=routers.Top1('argmax'), dispatch=dispatch.Gather(), group_size=24
  )
  y = layer.call(context, x)
  mtf.gradients([y], [x])
  masks = [
    t for op in graph.operations for t in op.outputs if {'group', 'expert_capacity'} <= set(t.shape.dimension_names)
  ]
  assert not masks


def test_the_default_is_gather_except_under_xla():
  assert isinstance(dispatch.default(), dispatch.Gather)
  with tf.Graph().as_default():
    defaults = []
    tf.xla.experimental.compile(lambda x: defaults.append(dispatch.default()) or x, [tf.constant(1.0)])
  assert isinstance(defaults[0], dispatch.Einsum)


class TestRows:
  """A table of two groups with three rows each: take, place, and each as the other's gradient."""

  TABLE = np.arange(12, dtype='float32').reshape(1, 2, 3, 2)
  INDEX = np.array([[[2, -1], [0, 0]]])  # two entries for each group

  def tensors(self, order: list[str]) -> tuple[mtf.Tensor, mtf.Tensor, dict[str, mtf.Dimension]]:
    dims = {
      n: mtf.Dimension(n, s) for n, s in {'outer_batch': 1, 'batch': 2, 'group': 3, 'entry': 2, 'd_model': 2}.items()
    }
    mesh = mtf.Mesh(mtf.Graph(), 'mesh')
    table_dims = [dims[n] for n in order]
    axes = [['outer_batch', 'batch', 'group', 'd_model'].index(n) for n in order]
    table = mtf.import_tf_tensor(mesh, tf.constant(self.TABLE.transpose(axes)), mtf.Shape(table_dims))
    index_dims = [dims['outer_batch'], dims['batch'], dims['entry']]
    index = mtf.import_tf_tensor(mesh, tf.constant(self.INDEX, tf.int32), mtf.Shape(index_dims))
    return table, index, dims

  @pytest.mark.parametrize(
    'order',
    [['outer_batch', 'batch', 'group', 'd_model'], ['group', 'outer_batch', 'batch', 'd_model']],
    ids=['rows_last', 'rows_first'],
  )
  def test_take_and_its_gradient(self, order):
    table, index, dims = self.tensors(order)
    taken = rows.take(table, index, [dims['entry'], dims['outer_batch'], dims['batch'], dims['d_model']])
    (gradient,) = mtf.gradients([taken], [table])
    taken, gradient = evaluate(taken), evaluate(gradient)
    # Group 0: row 2 is (4, 5), then nothing. Group 1: row 0 is (6, 7), twice.
    np.testing.assert_array_equal(taken[:, 0], [[[4, 5], [6, 7]], [[0, 0], [6, 7]]])
    axes = [order.index(n) for n in ('outer_batch', 'batch', 'group', 'd_model')]
    np.testing.assert_array_equal(gradient.transpose(axes)[0, :, :, 0], [[0, 0, 1], [2, 0, 0]])

  def test_place_adds_and_leaves_out(self):
    table, index, dims = self.tensors(['outer_batch', 'batch', 'group', 'd_model'])
    ones = mtf.ones(table.mesh, mtf.Shape([*index.shape.dims, dims['d_model']]))
    placed = rows.place(ones, index, table.shape)
    (gradient,) = mtf.gradients([placed], [ones])
    np.testing.assert_array_equal(evaluate(placed)[0, :, :, 0], [[0, 0, 1], [2, 0, 0]])
    np.testing.assert_array_equal(evaluate(gradient)[0, :, :, 0], [[1, 0], [1, 1]])


def evaluate(x: mtf.Tensor) -> np.ndarray:
  lowering = mtf.Lowering(x.graph, {x.mesh: mesh_harness.Mesh().implementation()}, autostack=False)
  with mesh_harness.session() as running:
    return running.run(lowering.export_to_tf_tensor(x))
