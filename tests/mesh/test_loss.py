"""The cross-entropy against NumPy."""

import types
from typing import Any

import mesh_tensorflow as mtf
import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from switch_zoo.mesh import loss, observe

LOGITS = np.array([[[2.0, 0.0, -1.0, 0.5], [0.0, 1.0, 0.0, 3.0], [1.0, 1.0, 1.0, 1.0]]], np.float32)
TARGETS = np.array([[2, 3, 0]], np.int32)  # the third position is padding


def run(
  logits: np.ndarray = LOGITS,
  targets: np.ndarray = TARGETS,
  dtype: tf.DType = tf.float32,
  train: bool = True,
  microbatches: int = 1,
  **options: Any,
) -> tuple[np.floating, dict[str, np.ndarray]]:
  """The loss and what it exports: (value, {name: value})."""
  # The loss reads nothing else of a Unitransformer and of its Context.
  settings = {'label_smoothing': 0.0, 'z_loss': 0.0, '_loss_denominator': None, 'layout': None, 'mesh_shape': None}
  model: Any = types.SimpleNamespace(**{**settings, **options})
  context: Any = types.SimpleNamespace(train=train, num_microbatches=microbatches, encoder_sequence_id=None)
  graph = mtf.Graph()
  mesh = mtf.Mesh(graph, 'mesh')
  batch, length, vocab = (mtf.Dimension(n, s) for n, s in zip(('batch', 'length', 'vocab'), logits.shape, strict=True))
  value = loss.cross_entropy(
    model,
    context,
    mtf.import_tf_tensor(mesh, tf.cast(logits, dtype), mtf.Shape([batch, length, vocab])),
    mtf.import_tf_tensor(mesh, targets, mtf.Shape([batch, length])),
    vocab,
  )
  assert value.dtype == tf.float32
  lowering = mtf.Lowering(graph, {mesh: mtf.placement_mesh_impl.PlacementMeshImpl([], [], [''])})
  with tf.Session() as session:
    return session.run((lowering.export_to_tf_tensor(value), observe.exported()))


def log_softmax(x: np.ndarray) -> np.ndarray:
  return x - np.log(np.exp(x).sum(-1, keepdims=True))


def by_hand() -> np.floating:
  """Mean over the two real tokens."""
  p = log_softmax(LOGITS)[0]
  return -(p[0, 2] + p[1, 3]) / 2


def test_mean_over_the_real_tokens():
  value, exported = run()
  np.testing.assert_allclose(value, by_hand(), rtol=1e-6)
  np.testing.assert_allclose(exported['loss/cross_entropy'], by_hand(), rtol=1e-6)
  assert exported['tokens'] == 4  # two targets; without an encoder they are the inputs as well


def test_z_loss_is_added_and_exported_separately():
  value, exported = run(z_loss=0.01)
  log_z = np.log(np.exp(LOGITS[0, :2]).sum(-1))
  z_loss = 0.01 * (log_z**2).mean()
  np.testing.assert_allclose(value, by_hand() + z_loss, rtol=1e-6)
  np.testing.assert_allclose(exported['loss/logits_z'], z_loss, rtol=1e-5)
  np.testing.assert_allclose(exported['loss/cross_entropy'], by_hand(), rtol=1e-6)


def test_label_smoothing():
  value, _ = run(label_smoothing=0.1)
  p = log_softmax(LOGITS)[0, :2]
  soft = 0.9 * np.eye(4)[[2, 3]] + 0.1 / 4
  np.testing.assert_allclose(value, -(p * soft).sum(-1).mean(), rtol=1e-5)


def test_evaluation_is_the_plain_cross_entropy():
  value, _ = run(train=False, z_loss=0.01, label_smoothing=0.1)
  np.testing.assert_allclose(value, by_hand(), rtol=1e-6)


def test_a_batch_of_padding_has_no_loss():
  assert run(targets=np.zeros_like(TARGETS))[0] == 0


def test_negative_targets_carry_no_loss():
  assert run(targets=np.array([[2, 3, -1]], np.int32))[0] == pytest.approx(by_hand(), rel=1e-6)


def test_a_fixed_denominator_wins():
  assert run(_loss_denominator=8.0)[0] == pytest.approx(by_hand() * 2 / 8, rel=1e-6)


def test_a_microbatch_is_a_share_of_the_step():
  assert run(microbatches=2)[0] == pytest.approx(by_hand() / 2, rel=1e-6)


def test_bfloat16_logits_give_a_float32_loss():
  value, _ = run(dtype=tf.bfloat16)
  assert value == pytest.approx(by_hand(), rel=1e-2) and value.dtype == np.float32


def test_large_logits_do_not_overflow():
  assert np.isfinite(run(logits=LOGITS * 1e4)[0])
