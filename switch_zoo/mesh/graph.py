"""A model's Mesh-TensorFlow graph, as training builds it, at any size and without weights in memory.

Nothing is computed and nothing is allocated: a graph of Switch-C fits a laptop. Tests count its variables, the planner
reads its shapes; lowering it is a separate step that only needs a mesh.
"""

import contextlib
import gc
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import gin
import mesh_tensorflow as mtf
import tensorflow.compat.v1 as tf
from mesh_tensorflow.transformer import utils

from switch_zoo.mesh import gin_setup
from switch_zoo.spec import zoo
from switch_zoo.spec.config import ModelConfig

LENGTHS = {'inputs': 512, 'targets': 114}


class TrainingGraph(NamedTuple):
  """A training step: forward, backward, optimizer.

  graph, mesh: of Mesh-TensorFlow
  features: 'inputs' and 'targets', <int32>[outer_batch, batch, length]
  loss: <float32>[]
  gradients: of the loss, in the order of graph.trainable_variables
  updates: the optimizer's operations; [] where none was asked for
  """

  graph: mtf.Graph
  mesh: mtf.Mesh
  features: dict[str, mtf.Tensor]
  loss: mtf.Tensor
  gradients: list[mtf.Tensor]
  updates: list[mtf.Operation]


class Batch(NamedTuple):
  """Sequences of one step, and how many tokens each feature of a sequence has."""

  size: int
  lengths: dict[str, int] = LENGTHS


def configure(files: Iterable[str], parameters: Iterable[str] = ()) -> ModelConfig:
  """Gives gin a model file, others laid over it, and parameters; what it had before is forgotten.

  Returns:
    the ModelConfig of the same files
  Raises:
    UserError: a file that cannot be read, a name that does not exist
  """
  files, parameters = list(files), list(parameters)
  gin_setup.configure(files, parameters)
  return zoo.load_configs(files, parameters)


def run_setting(name: str, default):
  """An argument of `utils.run` as gin has it, or `default`."""
  try:
    return gin.query_parameter(f'utils.run.{name}')
  except ValueError:
    return default


def build_model(config: ModelConfig, mesh_shape: str = '', layout_rules: str = ''):
  """The transformer.Bitransformer that gin, configured by `configure`, describes, with the vocabularies of `config`."""
  return utils.build_model(
    input_vocab_size=config.vocab_size,
    output_vocab_size=config.target_vocab_size,
    mesh_shape=mtf.convert_to_shape(mesh_shape),
    layout_rules=mtf.convert_to_layout_rules(layout_rules),
  )


def build_training(
  model,
  batch: Batch,
  values: dict[str, tf.Tensor] | None = None,
  outer_batch_size: int = 1,
  learning_rate: float | None = 1e-3,
) -> TrainingGraph:
  """The graph of one training step of a model in the default TensorFlow graph, not lowered.

  Args:
    model: of `build_model`
    batch: its size is a multiple of outer_batch_size
    values: <int32>[batch size, length] for 'inputs' and 'targets'; placeholders by default
    outer_batch_size: replicas of the experts, as `utils.run.outer_batch_size`
    learning_rate: of gin's optimizer; None: no optimizer
  """
  graph = mtf.Graph()
  mesh = mtf.Mesh(graph, 'mesh')
  features = {name: _feature(mesh, batch, outer_batch_size, name, values) for name in batch.lengths}
  with without_collector():
    _, loss = model.call_simple(
      inputs=features['inputs'],
      targets=features['targets'],
      compute_loss=True,
      variable_dtype=utils.get_variable_dtype(),
    )
    variables = graph.trainable_variables
    gradients = mtf.gradients([loss], [variable.outputs[0] for variable in variables])
    updates = []
    if learning_rate is not None:
      optimizer = run_setting('optimizer', None).scoped_configurable_fn(learning_rate=learning_rate)
      updates = optimizer.apply_grads(gradients, variables)
  return TrainingGraph(graph, mesh, features, loss, gradients, updates)


def parameter_count(graph: mtf.Graph) -> int:
  """Entries of all trainable variables."""
  return sum(variable.shape.size for variable in graph.trainable_variables)


def shapes(variables: Sequence[mtf.Variable]) -> dict[str, dict[str, int]]:
  """Variables as `ModelConfig.variables` has them: name -> {axis: size}."""
  return {v.name: {dim.name: dim.size for dim in v.shape.dims} for v in variables}


@contextlib.contextmanager
def without_collector():
  """Python's cycle collector would look through a graph of a million objects again and again while it grows."""
  was_enabled = gc.isenabled()
  gc.disable()
  try:
    yield
  finally:
    if was_enabled:
      gc.enable()


def _feature(mesh, batch, outer_batch_size, name, values):
  """<int32>[outer_batch, batch, length] of a feature."""
  sizes = {'outer_batch': outer_batch_size, 'batch': batch.size // outer_batch_size, 'length': batch.lengths[name]}
  shape = mtf.Shape([mtf.Dimension(axis, size) for axis, size in sizes.items()])
  value = values[name] if values else tf.placeholder(tf.int32, [batch.size, batch.lengths[name]], name)
  return mtf.import_fully_replicated(mesh, tf.reshape(value, shape.to_integer_list), shape, name=name)
