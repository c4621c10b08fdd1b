"""Noise of a training: from the seed and the step, and from nothing else."""

import mesh_tensorflow as mtf
import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from mesh_tensorflow import placement_mesh_impl

from switch_zoo.launcher import noise, replacements, seeds


@pytest.fixture(autouse=True)
def replaced(monkeypatch):
  """With our operation, which the table puts in place for good."""
  monkeypatch.setattr(mtf.RandomOperation, 'lower', noise.with_step(mtf.RandomOperation.lower))
  monkeypatch.setattr(placement_mesh_impl, 'hash', seeds.checksum, raising=False)


def drawn(steps, seed=1, kind='uniform'):
  """What two random operations draw, in a fresh graph, at each of the steps."""
  with tf.Graph().as_default(), tf.Session() as session:
    seeds.reproducible(seed)
    step = tf.train.get_or_create_global_step()
    graph = mtf.Graph()
    mesh = mtf.Mesh(graph, 'mesh')
    shape = mtf.Shape([mtf.Dimension('a', 64)])
    draw = {'uniform': mtf.random_uniform, 'normal': mtf.random_normal}[kind]
    tensors = [draw(mesh, shape), draw(mesh, shape)]
    lowering = mtf.Lowering(graph, {mesh: placement_mesh_impl.PlacementMeshImpl([], [], [''])})
    values = [lowering.export_to_tf_tensor(tensor) for tensor in tensors]
    results = []
    for number in steps:
      session.run(tf.assign(step, number))
      results.append(np.stack(session.run(values)))
    return results


@pytest.mark.parametrize('kind', ['uniform', 'normal'])
def test_the_step_decides(kind):
  first, second, first_again = drawn([5, 6, 5], kind=kind)
  np.testing.assert_array_equal(first, first_again)
  # In another process, or after an interruption.
  np.testing.assert_array_equal(second, drawn([6], kind=kind)[0])
  assert not np.isin(first, second).any() and not np.isin(first[0], first[1]).any()


def test_so_does_the_seed():
  assert not np.isin(drawn([5], seed=1)[0], drawn([5], seed=2)[0]).any()


def test_without_a_seed_nothing_is_changed():
  first, second = drawn([5, 5], seed=None)
  assert not np.isin(first, second).any()


def test_the_distribution_is_the_same():
  values = np.concatenate(drawn(range(200))).ravel()
  np.testing.assert_allclose([values.mean(), values.var()], [1 / 2, 1 / 12], atol=0.01)
  assert values.min() >= 0 and values.max() < 1


def test_the_table_puts_it_in_place():
  assert any(entry.module is mtf.RandomOperation and entry.wrap is noise.with_step for entry in replacements.TABLE)
