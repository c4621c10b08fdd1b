"""The optimizer for one slice, against Mesh-TensorFlow's."""

import gin
import mesh_tensorflow as mtf
import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from mesh_tensorflow import optimize, placement_mesh_impl

from switch_zoo.launcher import adafactor, one_slice, replacements, updates

# Factored over both orders of axes and inside experts; not factored; small ones of one shape, which go together.
SHAPES = {
  'wide': (128, 200),
  'tall': (200, 128),
  'experts': (3, 130, 128),
  'hidden_first': (3, 128, 130),
  'large': (1300, 60),
  'scale_1': (7,),
  'scale_2': (7,),
  'bias': (4, 8),
}
RELEASED = optimize.Optimizer.apply_grads


@pytest.fixture(autouse=True)
def no_bindings():
  gin.clear_config()


def gradient(name, step):
  """Of any size, one expert without a token, and clipped where it is large."""
  values = np.random.RandomState(step).standard_normal(SHAPES[name]).astype(np.float32)
  values *= np.exp(4 * np.random.RandomState(1).standard_normal(SHAPES[name][-1:])).astype(np.float32)
  if len(SHAPES[name]) == 3:
    values[1] = 0.0
  return values


def trained(apply_grads, mark=True, steps=3, narrow=(), **settings):
  """name -> value of all variables after some steps; narrow: the names whose gradients are in bfloat16."""
  with tf.Graph().as_default() as graph, tf.Session() as session:
    if mark:
      one_slice.mark('')
    mesh = mtf.Mesh(mtf.Graph(), 'mesh')
    variables, grads, feeds = [], [], []
    for name, sizes in SHAPES.items():
      dims = [mtf.Dimension(f'{name}_{i}' if len(sizes) > 1 else 'same', size) for i, size in enumerate(sizes)]
      start = np.random.RandomState(len(name)).standard_normal(sizes).astype(np.float32)
      value = mtf.get_variable(mesh, name, mtf.Shape(dims), initializer=tf.constant_initializer(start))
      feeds.append(tf.placeholder(tf.float32, sizes))
      variables.append(value.operation)
      grad = mtf.import_tf_tensor(mesh, feeds[-1], mtf.Shape(dims))
      grads.append(mtf.cast(grad, tf.bfloat16) if name in narrow else grad)
    optimizer = optimize.AdafactorOptimizer(learning_rate=0.1, decay_rate=tf.constant(0.7), **settings)
    operations = apply_grads(optimizer, grads, variables)
    lowering = mtf.Lowering(mesh.graph, {mesh: placement_mesh_impl.PlacementMeshImpl([], [], [''])})
    train_op = tf.group([lowering.lowered_operation(operation) for operation in operations])
    updates.come_last(train_op)
    session.run(tf.global_variables_initializer())
    for step in range(steps):
      session.run(train_op, {feed: gradient(name, step) for feed, name in zip(feeds, SHAPES, strict=True)})
    values = {variable.op.name: session.run(variable) for variable in tf.global_variables()}
    return values, graph.get_operations()


@pytest.mark.parametrize(
  'settings',
  [
    {},
    {'beta1': 0.9},
    {'multiply_by_parameter_scale': False, 'clipping_threshold': None},
    {'exclude_from_parameter_scale': ['wide', 'scale_2'], 'min_dim_size_to_factor': 4},
    {'factored': False},
    {'narrow': ['scale_2']},  # of the shape of another, whose gradient is in float32
  ],
  ids=str,
)
def test_variables_and_slots_are_those_of_the_released_optimizer(settings):
  expected, _ = trained(RELEASED, **settings)
  values, _ = trained(adafactor.fused(RELEASED), **settings)
  assert list(values) == list(expected)  # the order of creation, too
  for name, value in expected.items():
    np.testing.assert_allclose(values[name], value, rtol=1e-5, atol=1e-6, err_msg=name)


def passes(operations):
  """How many operations of a graph compute something of the size of the variable 'wide', which no other has."""
  arithmetic = {'AddV2', 'Mul', 'RealDiv', 'Reciprocal', 'Rsqrt', 'Square', 'Sub'}
  outputs = [op.outputs[0].shape for op in operations if op.type in arithmetic]
  return sum(shape.num_elements() == 128 * 200 for shape in outputs if shape.is_fully_defined())


def test_it_takes_fewer_passes_over_a_weight():
  ours, released = (passes(trained(apply, steps=0)[1]) for apply in (adafactor.fused(RELEASED), RELEASED))
  # 'tall' has as many entries.
  assert ours == 2 * 3 and released >= 2 * 9


def test_other_meshes_and_other_optimizers_keep_the_released_one():
  class Other(optimize.AdafactorOptimizer):
    pass

  refused = lambda *arguments: 'released'
  with tf.Graph().as_default():
    one_slice.mark('batch:2')
    optimizer = optimize.AdafactorOptimizer(learning_rate=0.1, decay_rate=0.5)
    assert adafactor.fused(refused)(optimizer, [1], [1]) == 'released'
    one_slice.mark('')
    for optimizer in (
      Other(learning_rate=0.1, decay_rate=0.5),
      optimize.AdafactorOptimizer(learning_rate=0.1, decay_rate=0.5, stacked_dim_names=['layers']),
    ):
      assert adafactor.fused(refused)(optimizer, [1], [1]) == 'released'


def test_the_table_puts_it_in_place():
  assert any(entry.wrap is adafactor.fused for entry in replacements.TABLE)
