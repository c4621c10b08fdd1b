"""The parts of the cross-entropy, against NumPy in float64."""

import mesh_tensorflow as mtf
import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from mesh_tensorflow import placement_mesh_impl

from switch_zoo.mesh import label_logits

BATCH, LENGTH, VOCAB = mtf.Dimension('batch', 2), mtf.Dimension('length', 3), mtf.Dimension('vocab', 5)
LABELS = np.array([[0, 4, 4], [2, 1, 0]], np.int32)


def computed(logits, mesh_shape=''):
  """log_z, the labels' logits, and the gradient of the sum of log_z * 1, 2, ... and logits * 10, 20, ..."""
  with tf.Graph().as_default(), tf.Session() as session:
    mesh = mtf.Mesh(mtf.Graph(), 'mesh')
    x = mtf.import_tf_tensor(mesh, logits.astype(np.float32), mtf.Shape([BATCH, LENGTH, VOCAB]))
    labels = mtf.import_tf_tensor(mesh, LABELS, mtf.Shape([BATCH, LENGTH]))
    weights = mtf.import_tf_tensor(mesh, np.arange(1.0, 7.0, dtype=np.float32).reshape(2, 3), labels.shape)
    log_z, logit = label_logits.of_labels(x, labels, VOCAB)
    (gradient,) = mtf.gradients([mtf.reduce_sum(log_z * weights + logit * weights * 10.0)], [x])
    shape = mtf.convert_to_shape(mesh_shape)
    mesh_impl = placement_mesh_impl.PlacementMeshImpl(shape, 'batch:all' if mesh_shape else '', [''] * shape.size)
    lowering = mtf.Lowering(mesh.graph, {mesh: mesh_impl})
    return session.run([lowering.export_to_tf_tensor(tensor) for tensor in (log_z, logit, gradient)])


@pytest.mark.parametrize('mesh_shape', ['', 'all:2'])
@pytest.mark.parametrize('scale', [1.0, 100.0, 1e4])
def test_values_and_gradients(mesh_shape, scale):
  logits = scale * np.random.RandomState(0).standard_normal((2, 3, 5))
  logits[0, 0] = -1e30  # as padding of the vocabulary
  logits[0, 0, 1] = 3.0
  log_z, logit, gradient = computed(logits, mesh_shape)
  logits = logits.astype(np.float32).astype(np.float64)
  largest = logits.max(-1)
  expected = largest + np.log(np.exp(logits - largest[..., None]).sum(-1))
  np.testing.assert_allclose(log_z, expected, rtol=1e-6)
  np.testing.assert_allclose(logit, np.take_along_axis(logits, LABELS[..., None], -1)[..., 0], rtol=1e-6)
  weights = np.arange(1.0, 7.0).reshape(2, 3, 1)
  labels = np.eye(5)[LABELS]
  np.testing.assert_allclose(
    gradient, weights * np.exp(logits - expected[..., None]) + 10 * weights * labels, rtol=1e-5, atol=1e-6
  )
