"""A model's Mesh-TensorFlow graph, as training builds it, at any size and without weights in memory.

Nothing is computed and nothing is allocated: a graph of Switch-C fits a laptop. Tests count its variables, the planner
reads its shapes, the launcher checks a run's layout and checkpoint with it. Lowering it is a separate step that only
needs a mesh.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import gin
import mesh_tensorflow as mtf
import tensorflow.compat.v1 as tf
from mesh_tensorflow.transformer import utils
from tensorflow.compat.v1.estimator import ModeKeys

from switch_zoo import garbage
from switch_zoo.mesh import gin_setup
from switch_zoo.spec import gin_files, zoo
from switch_zoo.spec.config import ModelConfig

LENGTHS = {'inputs': 512, 'targets': 114}


class ForwardGraph(NamedTuple):
  """A forward pass.

  graph, mesh: of Mesh-TensorFlow
  features: 'inputs' and 'targets', <int32>[outer_batch, batch, length]
  loss: <float32>[]
  """

  graph: mtf.Graph
  mesh: mtf.Mesh
  features: dict[str, mtf.Tensor]
  loss: mtf.Tensor


class TrainingGraph(NamedTuple):
  """A training step: forward, backward, optimizer.

  graph, mesh, features, loss: of the ForwardGraph
  gradients: of the loss, in the order of graph.trainable_variables
  updates: the optimizer's operations; [] without an optimizer
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
  lengths: Mapping[str, int] = LENGTHS


def configure(files: Iterable[str], parameters: Iterable[str] = ()) -> ModelConfig:
  """Configures gin with a model file, others on top of it, and parameters; earlier bindings are cleared.

  Activations are bfloat16, as on a TPU, unless the files or parameters set their dtype.

  Returns:
    the ModelConfig of the same files
  Raises:
    UserError: a file that cannot be read, a name that does not exist
  """
  bound = gin_files.read(files, parameters)
  gin_setup.configure(bound)
  bound.check()
  return zoo.config_of_bound(bound)


def build_model(config: ModelConfig, mesh_shape: str = '', layout_rules: str = '') -> Any:
  """The transformer.Bitransformer that gin, configured by `configure`, describes, with the vocabularies of `config`."""
  return make_transformer((config.vocab_size, config.target_vocab_size), mesh_shape, layout_rules)


def make_transformer(
  vocab_sizes: tuple[int, int], mesh_shape: Any, layout_rules: Any, model_type: str = 'bitransformer'
) -> Any:
  """The model that gin describes, for any number of slices.

  Args:
    vocab_sizes: entries of the vocabularies of inputs and targets
    mesh_shape, layout_rules: of the layout, in any form that Mesh-TensorFlow converts
    model_type: as `utils.run.model_type`
  Returns:
    transformer.Bitransformer, or what belongs to another model_type
  """
  inputs, targets = vocab_sizes
  return utils.build_model(
    model_type=model_type,
    input_vocab_size=inputs,
    output_vocab_size=targets,
    mesh_shape=mtf.convert_to_shape(mesh_shape),
    layout_rules=mtf.convert_to_layout_rules(layout_rules),
  )


def build_forward(
  model: Any,
  batch: Batch,
  values: Mapping[str, tf.Tensor] | None = None,
  outer_batch_size: int | None = 1,
  mode: str = ModeKeys.TRAIN,
) -> ForwardGraph:
  """The graph of a model's loss in the default TensorFlow graph, not lowered.

  Args:
    model: of `build_model` or `make_transformer`
    batch: its size is a multiple of outer_batch_size
    values: <int32>[batch size, length] for 'inputs' and 'targets'; placeholders by default
    outer_batch_size: replicas of the experts, as `utils.run.outer_batch_size`; None: features have no outer_batch, as
      when answers are made
    mode: training or evaluation
  """
  graph = mtf.Graph()
  mesh = mtf.Mesh(graph, 'mesh')
  features = {name: _feature(mesh, batch, outer_batch_size, name, values) for name in batch.lengths}
  with garbage.without_collections():
    _, loss = model.call_simple(
      inputs=features['inputs'],
      targets=features['targets'],
      compute_loss=True,
      mode=mode,
      variable_dtype=utils.get_variable_dtype(),
    )
  return ForwardGraph(graph, mesh, features, loss)


def build_training(
  model: Any,
  batch: Batch,
  values: Mapping[str, tf.Tensor] | None = None,
  outer_batch_size: int = 1,
  learning_rate: float | None = 1e-3,
) -> TrainingGraph:
  """The graph of one training step of a model in the default TensorFlow graph, not lowered.

  Args:
    model, batch, values, outer_batch_size: as in `build_forward`
    learning_rate: of gin's optimizer; None: no optimizer
  """
  forward = build_forward(model, batch, values, outer_batch_size)
  variables = forward.graph.trainable_variables
  with garbage.without_collections():
    gradients: list[Any] = mtf.gradients([forward.loss], [variable.outputs[0] for variable in variables])
    updates = []
    if learning_rate is not None:
      optimizer = gin.query_parameter('utils.run.optimizer').scoped_configurable_fn(learning_rate=learning_rate)
      updates = optimizer.apply_grads(gradients, variables)
  return TrainingGraph(*forward, gradients, updates)


def parameter_count(graph: mtf.Graph) -> int:
  """Entries of all trainable variables."""
  return sum(variable.shape.size for variable in graph.trainable_variables)


def shapes(variables: Sequence[mtf.Variable]) -> dict[str, dict[str, int]]:
  """Variables as `ModelConfig.variables` has them: name -> {axis: size}."""
  return {v.name: axes(v) for v in variables}


def axes(tensor: Any) -> dict[str, int]:
  """The shape of a mtf.Tensor or mtf.Variable: {axis: size}, in order."""
  return {dim.name: dim.size for dim in tensor.shape.dims}


def _feature(
  mesh: mtf.Mesh, batch: Batch, outer_batch_size: int | None, name: str, values: Mapping[str, tf.Tensor] | None
) -> mtf.Tensor:
  """A feature: <int32>[outer_batch, batch, length], or <int32>[batch, length] without outer_batch."""
  sizes = {'batch': batch.size // (outer_batch_size or 1), 'length': batch.lengths[name]}
  if outer_batch_size is not None:
    sizes = {'outer_batch': outer_batch_size} | sizes
  shape = mtf.Shape([mtf.Dimension(axis, size) for axis, size in sizes.items()])
  value = values[name] if values else tf.placeholder(tf.int32, [batch.size, batch.lengths[name]], name)
  return mtf.import_fully_replicated(mesh, tf.reshape(value, shape.to_integer_list), shape, name=name)
