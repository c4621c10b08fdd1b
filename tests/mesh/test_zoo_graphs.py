"""Every model file builds the real training graph at full size, with the variables that its ModelConfig lists."""

import json
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import pytest
import tensorflow.compat.v1 as tf

from switch_zoo import list_models
from switch_zoo.mesh import graph as mesh_graph
from switch_zoo.spec.zoo import model_file

# Most operations, and most parameters.
LARGEST = ('switch_xxl_128', 'switch_c_2048')
MEASURE = """
import json, re, sys
from switch_zoo.mesh import graph as mesh_graph
from switch_zoo.spec.zoo import model_file
import tensorflow.compat.v1 as tf
tf.disable_v2_behavior()
config = mesh_graph.configure([model_file(sys.argv[1])])
training = mesh_graph.build_training(mesh_graph.build_model(config), mesh_graph.Batch(2048))
print(json.dumps({
    # Not getrusage, whose peak includes that of the process this one was forked from.
    'megabytes': int(re.search(r'VmHWM:\\s+(\\d+) kB', open('/proc/self/status').read())[1]) // 1024,
    'parameters': mesh_graph.parameter_count(training.graph),
    'expected': config.num_parameters,
}))
"""


@pytest.fixture(autouse=True)
def variables_of_version_1():
  """Variables as in the launcher's runs; resource variables take twice as long to make."""
  were_enabled = tf.resource_variables_enabled()
  tf.disable_resource_variables()
  yield
  if were_enabled:
    tf.enable_resource_variables()


def differences(built: dict[str, Any], listed: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
  """The first few variables that only one side has, or that differ; pytest would print hundreds."""
  names = [name for name in {**built, **listed} if built.get(name) != listed.get(name)]
  return [(name, built.get(name), listed.get(name)) for name in names[:3]]


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
  process = subprocess.run([sys.executable, '-c', MEASURE, model], capture_output=True, text=True, check=False)
  assert process.returncode == 0, process.stderr
  measured = json.loads(process.stdout.splitlines()[-1])
  assert measured['parameters'] == measured['expected']
  assert measured['megabytes'] < 2048
