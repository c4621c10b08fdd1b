"""The order of cores is that of Mesh-TensorFlow's launcher, and neighbours in the mesh are neighbours on the slice."""

import itertools

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from mesh_tensorflow import simd_mesh_impl

from switch_zoo.mesh.one_core import core_order


def places(x, y, z=1, cores=2):
  return [(i, j, k, c) for k, j, i, c in itertools.product(range(z), range(y), range(x), range(cores))]


@pytest.mark.parametrize(
  ('mesh', 'chips'),
  [
    ([8], (2, 2)),
    ([32], (4, 4)),
    ([8, 4], (4, 4)),
    ([4, 8], (4, 4)),
    ([16, 8], (8, 8)),
    ([2, 4, 4], (4, 4)),
    ([128, 16], (32, 32)),
    ([16, 2], (4, 4)),
    ([8, 16], (8, 8)),
  ],
)
def test_two_cores_a_chip_are_ordered_as_by_mesh_tensorflow(mesh, chips):
  tf.flags.FLAGS.mark_as_parsed()
  x, y = chips
  expected = simd_mesh_impl.auto_logical_to_physical_tpu(mesh, [x, y, 1, 2])
  shape = {f'axis{n}': size for n, size in enumerate(mesh)}
  assert core_order.device_order(shape, places(x, y)) == list(expected)


@pytest.mark.parametrize('grid', [(4, 4, 1, 1), (2, 2, 4, 2), (4, 4, 4, 1), (2, 1, 1, 1), (2, 4, 1, 1), (1, 1, 1, 2)])
def test_one_axis_is_a_path_of_neighbours(grid):
  at = places(*grid)
  order = core_order.device_order({'batch': len(at)}, at)
  assert sorted(order) == list(range(len(at)))
  distances = [np.abs(np.subtract(at[a][:3], at[b][:3])).sum() for a, b in itertools.pairwise(order)]
  assert max(distances, default=0) <= 1


@pytest.mark.parametrize('cores', [1, 2])
def test_an_inner_axis_of_the_size_of_a_row_is_a_row(cores):
  at = places(4, 4, cores=cores)
  order = core_order.device_order({'batch': 4, 'model': 4 * cores}, at)
  for start in range(0, len(at), 4 * cores):
    row = [at[number] for number in order[start : start + 4 * cores]]
    assert len({x for x, *_ in row}) == 1 or len({y for _, y, *_ in row}) == 1


def test_a_grid_that_is_not_whole_keeps_its_order():
  assert core_order.device_order({'batch': 3}, places(2, 2, cores=1)[:3]) == [0, 1, 2]
  assert core_order.device_order({'batch': 12}, places(3, 4, cores=1)) == list(range(12))
