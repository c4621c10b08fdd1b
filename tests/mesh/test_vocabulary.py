"""Ids that only pad the vocabulary's table, in the loss of a training and in a step of the optimizer."""

import gin
import mesh_tensorflow as mtf
import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from test_loss import LOGITS, TARGETS, log_softmax, run

from switch_zoo.mesh import vocabulary

# As the logits of rows of zeros, and in the way if they counted.
PADDED = np.pad(LOGITS, [[0, 0], [0, 0], [0, 4]])


def bind(vocab_size):
  gin.parse_config(f'vocabulary.num_ids.vocab_size = {vocab_size}')


@pytest.mark.parametrize('train', [True, False])
@pytest.mark.parametrize('options', [{}, {'label_smoothing': 0.2}, {'z_loss': 0.1}], ids=str)
def test_padding_changes_no_loss(train, options):
  expected, _ = run(train=train, **options)
  bind(4)
  value, exported = run(PADDED, train=train, **options)
  np.testing.assert_allclose(value, expected, rtol=1e-6)
  np.testing.assert_allclose(exported['loss/cross_entropy'], run(train=train)[1]['loss/cross_entropy'], rtol=1e-6)


def test_without_a_binding_all_rows_are_ids():
  """As in the operative_config.gin of earlier trainings."""
  p = log_softmax(PADDED)[0]
  np.testing.assert_allclose(run(PADDED)[0], -(p[0, 2] + p[1, 3]) / 2, rtol=1e-6)


@pytest.mark.parametrize(('vocab_size', 'expected'), [(None, 8), (5, 5), (8, 8), (128, 8)])
def test_the_number_of_ids(vocab_size, expected):
  bind(vocab_size)
  assert vocabulary.num_ids(mtf.Dimension('vocab', 8)) == expected


def test_padding_gets_no_gradient():
  bind(4)
  graph = mtf.Graph()
  mesh = mtf.Mesh(graph, 'mesh')
  vocab = mtf.Dimension('vocab', 8)
  logits = mtf.import_tf_tensor(mesh, PADDED[0, 0], mtf.Shape([vocab]))
  log_z = mtf.reduce_logsumexp(vocabulary.masked(logits, vocab), vocab)
  gradient = mtf.gradients([log_z], [logits])[0]
  lowering = mtf.Lowering(graph, {mesh: mtf.placement_mesh_impl.PlacementMeshImpl([], [], [''])})
  with tf.Session() as session:
    value = session.run(lowering.export_to_tf_tensor(gradient))
  np.testing.assert_allclose(value, [*np.exp(log_softmax(LOGITS[0, 0])), 0, 0, 0, 0], rtol=1e-5)
  assert TARGETS.max() < 4
