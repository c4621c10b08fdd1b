"""What layers export, with and without microbatches."""

import mesh_tensorflow as mtf
import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from switch_zoo.mesh import observe

X = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0], [7.0, 8.0]], np.float32)


def step(microbatches: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
  """One step of 'loss = sum of x w': exports means and sums of x; returns the exports and the gradient of w."""
  graph = mtf.Graph()
  mesh = mtf.Mesh(graph, 'mesh')
  batch, width = mtf.Dimension('batch', 4), mtf.Dimension('width', 2)
  x = mtf.import_tf_tensor(mesh, X, mtf.Shape([batch, width]))

  def model_fn(features: dict[str, mtf.Tensor]) -> dict[str, mtf.Tensor]:
    w = mtf.get_variable(mesh, 'w', mtf.Shape([width]), initializer=tf.ones_initializer())
    observe.export('mean', mtf.reduce_mean(features['x']))
    observe.export('sum', mtf.reduce_sum(features['x']), summed=True)
    observe.export('vector', mtf.reduce_mean(features['x'], output_shape=[width]))
    return {'loss': mtf.reduce_sum(features['x'] * w)}

  if microbatches == 1:
    loss = model_fn({'x': x})['loss']
    (gradient,) = mtf.gradients([loss], [v.outputs[0] for v in graph.trainable_variables])
  else:
    serialize = observe.through_microbatches(mtf.serialize_training_step)
    (gradient,), outputs = serialize({'x': x}, model_fn, batch, microbatches)
    assert list(outputs) == ['loss']
  lowering = mtf.Lowering(graph, {mesh: mtf.placement_mesh_impl.PlacementMeshImpl([], [], [''])})
  with tf.Session() as session:
    values = (observe.exported(), lowering.export_to_tf_tensor(gradient))
    session.run(tf.global_variables_initializer())
    session.run(lowering.copy_masters_to_slices())
    return session.run(values)


@pytest.mark.parametrize('microbatches', [1, 2, 4])
def test_a_step_exports_the_same_with_any_number_of_microbatches(microbatches):
  exported, gradient = step(microbatches)
  np.testing.assert_allclose(exported['mean'], 4.5)
  np.testing.assert_allclose(exported['sum'], 36.0)
  np.testing.assert_allclose(exported['vector'], [4.0, 5.0])
  np.testing.assert_allclose(gradient, [16.0, 20.0])


def test_nothing_is_exported_by_a_graph_without_layers():
  assert observe.exported() == {}


def test_an_export_passes_no_gradient():
  """The gradient of w is that of the loss alone."""
  _, alone = step(1)
  np.testing.assert_allclose(alone, X.sum(0))


def test_a_loop_that_fails_leaves_nothing_to_the_next_graph():
  def model_fn(features):
    raise RuntimeError

  serialize = observe.through_microbatches(lambda features, model_fn, batch_dim, num_splits: model_fn(features))
  with pytest.raises(RuntimeError):
    serialize({}, model_fn, mtf.Dimension('batch', 4), 2)
  exported, _ = step(1)
  assert set(exported) == {'mean', 'sum', 'vector'}
