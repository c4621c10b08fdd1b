"""Runs one layer in a Mesh-TensorFlow graph on any number of CPU slices, and gives back NumPy arrays."""
import dataclasses
import random
from typing import Any, NamedTuple

import mesh_tensorflow as mtf
import numpy as np
import tensorflow.compat.v1 as tf
from mesh_tensorflow import placement_mesh_impl
from mesh_tensorflow.transformer import transformer

from switch_zoo import observe

TRAIN, EVAL = tf.estimator.ModeKeys.TRAIN, tf.estimator.ModeKeys.EVAL


@dataclasses.dataclass
class Model:
  """The part of a Unitransformer that layers look at."""
  model_dim: mtf.Dimension
  layout: str = ''
  mesh_shape: str = ''
  ensemble_dim: Any = None
  autoregressive: bool = False
  fully_autoregressive: bool = False
  name: str = 'encoder'
  _loss_fn: Any = None
  ensemble_dims: tuple = ()


class Result(NamedTuple):
  """output and losses of a layer; gradients of weight * output + losses, by variable name and of 'x'; its exports."""
  output: np.ndarray
  loss: float
  gradients: dict[str, np.ndarray]
  exported: dict[str, np.ndarray]


class Mesh(NamedTuple):
  """A mesh in words: shape 'all:8', layout 'batch:all;experts:all'."""
  shape: str = ''
  layout: str = ''

  def implementation(self):
    shape = mtf.convert_to_shape(self.shape)
    return placement_mesh_impl.PlacementMeshImpl(
        shape, mtf.convert_to_layout_rules(self.layout), [''] * shape.size)


class Case(NamedTuple):
  """What a layer is run on. x: [batch, length, M] or with outer_batch first; real: the same without M."""
  x: np.ndarray
  real: np.ndarray | None = None
  mode: str = TRAIN
  weights: dict[str, np.ndarray] | None = None
  mesh: Mesh = Mesh()
  dtype: tf.DType = tf.float32
  seed: int = 0
  num_microbatches: int | None = 1
  autoregressive: bool = False


def run(layer, case: Case, scope=None) -> Result:
  """Builds, differentiates, lowers and runs `layer` (or the first of its outputs), in a graph of its own."""
  with tf.Graph().as_default():
    tf.set_random_seed(case.seed)
    random.seed(case.seed)  # Mesh-TensorFlow draws the seeds of its own random operations there
    graph = mtf.Graph()
    mesh = mtf.Mesh(graph, 'mesh')
    x, context = _inputs(mesh, case)
    with tf.variable_scope('encoder/layer'), tf.variable_scope(scope or layer.scope_name):
      y = layer.call(context, x)
    weight = mtf.import_tf_tensor(mesh, tf.constant(_output_weight(y.shape.to_integer_list), case.dtype), y.shape)
    loss = mtf.add_n(context.losses) if context.losses else mtf.zeros(mesh, [])
    objective = mtf.reduce_sum(mtf.to_float(y * weight)) + mtf.to_float(loss)
    variables = [v.outputs[0] for v in graph.trainable_variables]
    gradients = mtf.gradients([objective], [*variables, x])
    gradients = [mtf.zeros_like(t) if g is None else g for t, g in zip([*variables, x], gradients, strict=True)]
    return _fetch(graph, mesh, case, y, loss, dict(zip([*_names(graph), 'x'], gradients, strict=True)))


def variable_shapes(layer, case: Case) -> dict[str, tuple]:
  """Names, after the layer's own scope, and shapes of its variables."""
  return {name: gradient.shape for name, gradient in run(layer, case).gradients.items() if name != 'x'}


def random_weights(layer, case: Case, seed=1, scale=0.3) -> dict[str, np.ndarray]:
  """Normal weights for every variable of the layer."""
  generator = np.random.default_rng(seed)
  shapes = run(layer, case).gradients
  return {n: (scale * generator.standard_normal(g.shape)).astype('float32') for n, g in shapes.items() if n != 'x'}


def _names(graph):
  return [v.name.split('/', 3)[-1] for v in graph.trainable_variables]


def _output_weight(shape):
  return np.cos(np.arange(np.prod(shape), dtype=np.float64)).reshape(shape).astype('float32')


def _inputs(mesh, case):
  names = ['outer_batch', 'batch', 'length', 'd_model'][-case.x.ndim:]
  shape = mtf.Shape([mtf.Dimension(n, s) for n, s in zip(names, case.x.shape, strict=True)])
  x = mtf.import_tf_tensor(mesh, tf.constant(case.x, case.dtype), shape)
  sequence_id = None
  if case.real is not None:
    sequence_id = mtf.import_tf_tensor(mesh, tf.constant(case.real, tf.int32), shape[:-1])
  model = Model(shape.dims[-1], case.mesh.layout, case.mesh.shape, autoregressive=case.autoregressive)
  context = transformer.Context(
      model, mesh, shape.dims[:-2], shape.dims[-2], mtf.VariableDType(tf.float32, tf.float32, case.dtype),
      mode=case.mode, losses=[], sequence_id=sequence_id, num_microbatches=case.num_microbatches,
      position=mtf.range(mesh, shape.dims[-2], tf.int32), position_is_default=True)
  return x, context


def _fetch(graph, mesh, case, y, loss, gradients):
  names = {v.name: v for v in graph.trainable_variables}
  lowering = mtf.Lowering(graph, {mesh: case.mesh.implementation()}, autostack=False)
  fetches = {
      'output': tf.cast(lowering.export_to_tf_tensor(y), tf.float32),
      'loss': lowering.export_to_tf_tensor(loss),
      'gradients': {n: tf.cast(lowering.export_to_tf_tensor(g), tf.float32) for n, g in gradients.items()},
      'exported': observe.exported(),
  }
  with tf.Session() as session:
    session.run(tf.global_variables_initializer())
    for full_name, variable in names.items():
      value = (case.weights or {}).get(full_name.split('/', 3)[-1])
      if value is not None:
        variable.get_master().load(value, session)
    session.run(lowering.copy_masters_to_slices())
    return Result(**session.run(fetches))
