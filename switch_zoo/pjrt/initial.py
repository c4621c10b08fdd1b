"""The first values of a model's variables, as its layers and its optimizer initialize them."""

from collections.abc import Iterator

import mesh_tensorflow as mtf
import tensorflow.compat.v1 as tf

from switch_zoo import garbage
from switch_zoo.mesh.one_core import steps
from switch_zoo.pjrt import initial_blocks, variables


def values(
  settings: steps.StepSettings, optimization: steps.Optimization, seed: int
) -> Iterator[tuple[str, variables.Read]]:
  """(name, reader of its parts) of every variable of a training step; the same in every process with the same seed.

  Large variables are made in blocks, of which a reader makes those that it is asked for (`initial_blocks`).

  Args:
    settings, optimization: of the step
    seed: of the weights
  """
  with tf.Graph().as_default():
    tf.set_random_seed(seed)
    graph = mtf.Graph()
    mesh = mtf.Mesh(graph, 'mesh')
    shapes = settings.feature_shapes(replicas=True)
    features = {name: mtf.zeros(mesh, shape, tf.int32) for name, shape in shapes.items()}
    with garbage.without_collections():
      steps.training(settings, features, tf.constant(0), optimization)
    with tf.Session(config=tf.ConfigProto(device_count={'GPU': 0})) as session:
      for variable in graph.all_variables:
        value = variable.get_master().initial_value
        blocks = initial_blocks.of(value)
        yield variable.name, session.run(value).__getitem__ if blocks is None else blocks.read
