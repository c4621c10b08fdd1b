"""Writes tests/golden/MODEL.json for the models named: the variables of the real graph under the tiny overlay.

python tests/write_golden.py t5_small
"""

import json
import pathlib
import sys

from switch_zoo import tf_compat

tf_compat.repair()

import tensorflow.compat.v1 as tf  # noqa: E402
import zoo_harness  # noqa: E402

from switch_zoo.mesh import graph as mesh_graph  # noqa: E402


def golden(model: str) -> str:
  """The file's text: a line for each variable, name and shape."""
  with tf.Graph().as_default():
    config = zoo_harness.configure(model)
    training = mesh_graph.build_training(mesh_graph.build_model(config), zoo_harness.BATCH, learning_rate=None)
    shapes = mesh_graph.shapes(training.graph.trainable_variables)
  lines = ',\n'.join(f'  {json.dumps(name)}: {json.dumps(shape)}' for name, shape in shapes.items())
  return f'{{\n{lines}\n}}\n'


if __name__ == '__main__':
  for name in sys.argv[1:]:
    (pathlib.Path(__file__).parent / 'golden' / f'{name}.json').write_text(golden(name))
