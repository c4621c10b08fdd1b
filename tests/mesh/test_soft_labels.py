"""The cross-entropy with a teacher's probabilities, against NumPy in float64."""

import types
from typing import Any

import mesh_tensorflow as mtf
import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from mesh_tensorflow import placement_mesh_impl

from switch_zoo.mesh import loss, soft_labels

DIMS = [mtf.Dimension('batch', 2), mtf.Dimension('length', 3), mtf.Dimension('vocab', 8)]
LABELS = np.array([[0, 7, 4], [2, 1, 0]], np.int32)
WEIGHTS = np.arange(1.0, 7.0, dtype=np.float32).reshape(2, 3)
STUDENT, TEACHER = 3 * np.random.RandomState(0).standard_normal((2, 2, 3, 8))
TEACHER[0, 0] = -1e30  # as padding of the vocabulary
TEACHER[0, 0, 3] = 2.0
MESHES = {'one slice': ('', ''), 'batch': ('all:2', 'batch:all'), 'vocabulary': ('all:4', 'vocab:all')}


def computed(temperature: float, mesh: str) -> list[np.ndarray]:
  """Both cross-entropies, and the gradient of the student's with the weights."""
  shape, layout = mtf.convert_to_shape(MESHES[mesh][0]), MESHES[mesh][1]
  model: Any = types.SimpleNamespace(layout=layout, mesh_shape=shape)  # nothing else of a Unitransformer is read
  with tf.Graph().as_default(), tf.Session() as session:
    of = mtf.Mesh(mtf.Graph(), 'mesh')
    logits, teacher = (
      mtf.import_tf_tensor(of, value.astype('float32'), mtf.Shape(DIMS)) for value in (STUDENT, TEACHER)
    )
    labels, weights = (mtf.import_tf_tensor(of, value, mtf.Shape(DIMS[:2])) for value in (LABELS, WEIGHTS))
    log_z, _ = loss.log_z_and_logit(model, logits, labels, DIMS[-1])
    terms = loss.LossTerms(log_z, None, logits, log_z, mtf.reduce_sum)
    both = soft_labels.cross_entropies(model, terms, teacher, labels, DIMS[-1], temperature)
    gradients = mtf.gradients([mtf.reduce_sum(both.of_student * weights)], [logits, teacher])
    assert gradients[1] is None
    whole = [mtf.anonymize(tensor) for tensor in (*both, gradients[0])]
    mesh_impl = placement_mesh_impl.PlacementMeshImpl(shape, layout, [''] * shape.size)
    lowering = mtf.Lowering(of.graph, {of: mesh_impl})
    return session.run([lowering.export_to_tf_tensor(tensor) for tensor in whole])


def log_softmax(x: np.ndarray) -> np.ndarray:
  largest = x.max(-1, keepdims=True)
  return x - largest - np.log(np.exp(x - largest).sum(-1, keepdims=True))


@pytest.mark.parametrize('mesh', MESHES)
@pytest.mark.parametrize('temperature', [1.0, 2.5])
def test_values_and_gradients(temperature, mesh):
  of_student, of_teacher, gradient = computed(temperature, mesh)
  p, log_q = np.exp(log_softmax(TEACHER / temperature)), log_softmax(STUDENT / temperature)
  np.testing.assert_allclose(of_student, -(temperature**2) * (p * log_q).sum(-1), rtol=1e-5)
  expected = -np.take_along_axis(log_softmax(TEACHER), LABELS[..., None], -1)[..., 0]
  np.testing.assert_allclose(of_teacher, expected, rtol=1e-5)
  np.testing.assert_allclose(gradient, temperature * WEIGHTS[..., None] * (np.exp(log_q) - p), rtol=1e-4, atol=1e-5)
