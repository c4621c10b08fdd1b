"""The norm of the gradients is NumPy's, on one slice and on meshes that cut some of them."""

import mesh_tensorflow as mtf
import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from mesh_tensorflow import optimize, placement_mesh_impl

from switch_zoo.launcher import adafactor, gradient_norm, one_slice
from switch_zoo.mesh import observe

# Factored in both orders, not factored, and two of one shape, which the optimizer of one slice stacks.
SHAPES = {'wide': (128, 200), 'tall': (200, 128), 'experts': (4, 130, 128), 'scale_1': (6,), 'scale_2': (6,)}
MESHES = {
  'one slice': ('', ''),
  'cut': ('a:2', 'wide_0:a;experts_0:a'),
  'cut in two ways, and copied': ('a:2;b:2', 'wide_0:a;tall_0:b;tall_1:a'),
}


def gradients():
  return {name: np.random.RandomState(i).standard_normal(shape) for i, (name, shape) in enumerate(SHAPES.items())}


def exported(optimizer, mesh_shape='', rules='', marked=True):
  """What a step exports, whose gradients are those above."""
  one_slice.mark(mesh_shape)
  if marked:
    gradient_norm.mark()
  mesh = mtf.Mesh(mtf.Graph(), 'mesh')
  variables, grads = [], []
  for name, value in gradients().items():
    shape = mtf.Shape([mtf.Dimension(f'{name}_{i}', size) for i, size in enumerate(value.shape)])
    variables.append(mtf.get_variable(mesh, name, shape).operation)
    grads.append(mtf.import_tf_tensor(mesh, tf.constant(value, tf.float32), shape))
  with_norm = gradient_norm.with_norm(optimize.Optimizer.apply_grads)
  adafactor.fused(with_norm)(optimizer, grads, variables)
  shape = mtf.convert_to_shape(mesh_shape)
  impl = placement_mesh_impl.PlacementMeshImpl(shape, mtf.convert_to_layout_rules(rules), [''] * shape.size)
  mtf.Lowering(mesh.graph, {mesh: impl})
  with tf.Session() as session:
    session.run(tf.global_variables_initializer())
    return session.run(observe.exported())


def optimizers():
  return {
    'Adafactor': optimize.AdafactorOptimizer(learning_rate=0.1, decay_rate=0.5),
    'not factored': optimize.AdafactorOptimizer(learning_rate=0.1, decay_rate=0.5, factored=False),
    'SGD': optimize.SgdOptimizer(learning_rate=0.1),
  }


@pytest.mark.parametrize('optimizer', optimizers())
@pytest.mark.parametrize('mesh', MESHES)
def test_it_is_the_root_of_the_sum_of_all_squares(mesh, optimizer):
  expected = np.sqrt(sum(np.square(value).sum() for value in gradients().values()))
  assert exported(optimizers()[optimizer], *MESHES[mesh]) == {'gradient_norm': pytest.approx(expected, rel=1e-5)}


@pytest.mark.parametrize('mesh', ['one slice', 'cut'])
def test_graphs_that_are_not_of_a_host_do_not_have_it(mesh):
  assert exported(optimizers()['Adafactor'], *MESHES[mesh], marked=False) == {}
