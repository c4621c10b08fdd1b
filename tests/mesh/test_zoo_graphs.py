"""Every model file builds the real training graph at full size, with exactly the variables that ModelConfig tells."""

import json
import subprocess
import sys

import pytest
import tensorflow.compat.v1 as tf

from switch_zoo import list_models
from switch_zoo.mesh import graph as mesh_graph
from switch_zoo.spec.zoo import model_file

# Most operations, and most parameters.
LARGEST = ('switch_xxl_128', 'switch_c_2048')
MEASURE = """
import json, re, sys
from switch_zoo import mesh_graph
from switch_zoo.spec.config import model_file
import tensorflow.compat.v1 as tf
tf.disable_v2_behavior()
config = mesh_graph.configure([model_file(sys.argv[1])])
training = mesh_graph.build_training(mesh_graph.build_model(config), mesh_graph.Batch(2048))
print(json.dumps({
    # Not getrusage: its peak is that of the process this one was forked from, where that is higher.
    'megabytes': int(re.search(r'VmHWM:\\s+(\\d+) kB', open('/proc/self/status').read())[1]) // 1024,
    'parameters': mesh_graph.parameter_count(training.graph),
    'expected': config.num_parameters,
}))
"""


@pytest.fixture(autouse=True)
def variables_of_version_1():
  """Variables as the launcher's runs have them; resource variables take twice as long to make."""
  before = tf.resource_variables_enabled()
  tf.disable_resource_variables()
  yield
  if before:
    tf.enable_resource_variables()


def differences(built, told):
  """The first few variables that only one side has, or that differ; pytest would print hundreds."""
  names = [name for name in {**built, **told} if built.get(name) != told.get(name)]
  return [(name, built.get(name), told.get(name)) for name in names[:3]]


@pytest.mark.slow
@pytest.mark.parametrize('model', [name for name in list_models() if name not in LARGEST])
def test_training_graph_at_full_size(model):
  config = mesh_graph.configure([model_file(model)])
  training = mesh_graph.build_training(mesh_graph.build_model(config), mesh_graph.Batch(2048))
  built = mesh_graph.shapes(training.graph.trainable_variables)
  assert not differences(built, config.variables)
  assert mesh_graph.parameter_count(training.graph) == config.num_parameters
  assert len(training.gradients) == len(config.variables)
  assert training.updates


@pytest.mark.slow
@pytest.mark.parametrize('model', LARGEST)
def test_largest_graphs_are_built_in_two_gigabytes(model):
  done = subprocess.run([sys.executable, '-c', MEASURE, model], capture_output=True, text=True, check=False)
  assert done.returncode == 0, done.stderr
  measured = json.loads(done.stdout.splitlines()[-1])
  assert measured['parameters'] == measured['expected']
  assert measured['megabytes'] < 2048
