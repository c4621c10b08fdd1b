"""Runs one layer in a Mesh-TensorFlow graph on any number of CPU slices, and returns NumPy arrays."""

import dataclasses
import random
from typing import Any, NamedTuple

import mesh_tensorflow as mtf
import numpy as np
import tensorflow.compat.v1 as tf
from mesh_tensorflow import placement_mesh_impl
from mesh_tensorflow.transformer import transformer

from switch_zoo.mesh import observe
from switch_zoo.mesh.routing import record
from switch_zoo.mesh.routing.router_base import Router

TRAIN, EVAL = tf.estimator.ModeKeys.TRAIN, tf.estimator.ModeKeys.EVAL


@dataclasses.dataclass
class Model:
  """The part of a Unitransformer that layers read."""

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
  """A mesh as text: shape 'all:8', layout 'batch:all;experts:all'."""

  shape: str = ''
  layout: str = ''

  def implementation(self) -> Any:
    """The MeshImpl of Mesh-TensorFlow, all slices on the CPU."""
    shape = mtf.convert_to_shape(self.shape)
    return placement_mesh_impl.PlacementMeshImpl(shape, mtf.convert_to_layout_rules(self.layout), [''] * shape.size)


class Case(NamedTuple):
  """What a layer is run on. x: [batch, length, M], or with outer_batch first; real: the same without M."""

  x: np.ndarray
  real: np.ndarray | None = None
  mode: str = TRAIN
  weights: dict[str, np.ndarray] | None = None
  mesh: Mesh = Mesh()
  dtype: tf.DType = tf.float32
  seed: int = 0
  num_microbatches: int | None = 1
  autoregressive: bool = False


def run(
  layer: Any, case: Case, scope: str | None = None, save: str | None = None, restore: str | None = None
) -> Result:
  """Builds, differentiates, lowers and runs `layer` in a graph of its own; save, restore: paths of checkpoints."""
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
    return _fetch(graph, mesh, case, y, loss, dict(zip([*_names(graph), 'x'], gradients, strict=True)), save, restore)


def variable_shapes(layer: Any, case: Case, scope: str | None = None) -> dict[str, tuple[int, ...]]:
  """Names, relative to the layer's scope, and shapes of its variables; nothing is run."""
  with tf.Graph().as_default():
    graph = mtf.Graph()
    x, context = _inputs(mtf.Mesh(graph, 'mesh'), case)
    with tf.variable_scope('encoder/layer'), tf.variable_scope(scope or layer.scope_name):
      layer.call(context, x)
    return dict(zip(_names(graph), (tuple(v.shape.to_integer_list) for v in graph.trainable_variables), strict=True))


def random_weights(layer: Any, case: Case, seed: int = 1, scale: float = 0.3) -> dict[str, np.ndarray]:
  """Normal weights for every variable of the layer."""
  generator = np.random.default_rng(seed)
  return {
    name: (scale * generator.standard_normal(shape)).astype('float32')
    for name, shape in variable_shapes(layer, case).items()
  }


def session() -> tf.Session:
  """A session for small graphs: optimizing one takes longer than running it."""
  config = tf.ConfigProto(intra_op_parallelism_threads=1, inter_op_parallelism_threads=1)
  config.graph_options.rewrite_options.disable_meta_optimizer = True
  return tf.Session(config=config)


def _names(graph: mtf.Graph) -> list[str]:
  return [v.name.split('/', 3)[-1] for v in graph.trainable_variables]


def _output_weight(shape: list[int]) -> np.ndarray:
  return np.cos(np.arange(np.prod(shape), dtype=np.float64)).reshape(shape).astype('float32')


def _inputs(mesh: mtf.Mesh, case: Case) -> tuple[mtf.Tensor, transformer.Context]:
  names = ['outer_batch', 'batch', 'length', 'd_model'][-case.x.ndim :]
  if case.mode == 'incremental':
    names = ['batch', 'd_model']  # one token of each sequence
  shape = mtf.Shape([mtf.Dimension(n, s) for n, s in zip(names, case.x.shape, strict=True)])
  x = mtf.import_tf_tensor(mesh, tf.constant(case.x, case.dtype), shape)
  sequence_id = None
  if case.real is not None:
    sequence_id = mtf.import_tf_tensor(mesh, tf.constant(case.real, tf.int32), shape[:-1])
  model = Model(shape.dims[-1], case.mesh.layout, case.mesh.shape, autoregressive=case.autoregressive)
  context = transformer.Context(
    model,
    mesh,
    shape.dims[:-2] or shape.dims[:1],
    shape.dims[-2],
    mtf.VariableDType(tf.float32, tf.float32, case.dtype),
    mode=case.mode,
    losses=[],
    sequence_id=sequence_id,
    num_microbatches=case.num_microbatches,  # pyright: ignore[reportArgumentType] - layers accept None too
    position=mtf.range(mesh, shape.dims[-2], tf.int32),
    position_is_default=True,
  )
  return x, context


def _fetch(
  graph: mtf.Graph,
  mesh: mtf.Mesh,
  case: Case,
  y: mtf.Tensor,
  loss: mtf.Tensor,
  gradients: dict[str, mtf.Tensor],
  save: str | None,
  restore: str | None,
) -> Result:
  names = {v.name: v for v in graph.trainable_variables}
  lowering = mtf.Lowering(graph, {mesh: case.mesh.implementation()}, autostack=False)
  fetches = {
    'output': tf.cast(lowering.export_to_tf_tensor(y), tf.float32),
    'loss': lowering.export_to_tf_tensor(loss),
    'gradients': {n: tf.cast(lowering.export_to_tf_tensor(g), tf.float32) for n, g in gradients.items()},
    'exported': observe.exported(),
  }
  with session() as running:
    running.run(tf.global_variables_initializer())
    for full_name, variable in names.items():
      value = (case.weights or {}).get(full_name.split('/', 3)[-1])
      if value is not None:
        variable.get_master().load(value, running)
    masters = [v.get_master() for v in graph.trainable_variables]
    if restore:
      tf.train.Saver(masters).restore(running, restore)
    if save:
      tf.train.Saver(masters).save(running, save)
    running.run(lowering.copy_masters_to_slices())
    return Result(**running.run(fetches))


class Routed(NamedTuple):
  """A routing record as arrays: masks [G, S, E, C], losses and metrics by name."""

  dispatch: np.ndarray
  combine: np.ndarray
  losses: dict[str, float]
  metrics: dict[str, np.ndarray]


def route(
  router: Router,
  x: np.ndarray,
  kernels: dict[str, np.ndarray],
  capacity: int,
  real: Any = None,
  train: bool = True,
  seed: int = 0,
) -> Routed:
  """Runs a router alone. x: [G, S, M]; kernels: name -> [M, E]; real: [G, S]."""
  real = np.ones(x.shape[:2]) if real is None else np.asarray(real, np.float64)
  num_experts = next(iter(kernels.values())).shape[-1]
  with tf.Graph().as_default():
    random.seed(seed)
    tf.set_random_seed(seed)
    graph = mtf.Graph()
    mesh = mtf.Mesh(graph, 'mesh')
    dims = [
      mtf.Dimension(n, s) for n, s in zip(['outer_batch', 'batch', 'group', 'd_model'], (1, *x.shape), strict=True)
    ]

    def imported(value: np.ndarray, shape: list[mtf.Dimension]) -> mtf.Tensor:
      return mtf.import_tf_tensor(mesh, tf.constant(value.reshape([d.size for d in shape]), tf.float32), shape)

    tokens = record.Tokens(imported(x, dims), imported(real, dims[:-1]), imported(real / max(real.sum(), 1), dims[:-1]))
    setting = record.RouterSetting(
      mtf.Dimension('expert_unsplit', num_experts),
      mtf.Dimension('expert_capacity', capacity),
      train,
      tf.float32,
      mtf.VariableDType(),
      mtf.layers.VarianceScalingInitializer(),
    )
    routing = router.route(tokens, setting)
    mask_shape = [*dims[:-1], setting.experts, setting.capacity]
    dispatch, combine = (mtf.transpose(mask, mask_shape) for mask in (routing.dispatch, routing.combine))
    lowering = mtf.Lowering(graph, {mesh: Mesh().implementation()}, autostack=False)
    fetches = Routed(
      dispatch=lowering.export_to_tf_tensor(dispatch)[0],
      combine=lowering.export_to_tf_tensor(combine)[0],
      losses={n: lowering.export_to_tf_tensor(t) for n, t in routing.losses.items()},
      metrics={n: lowering.export_to_tf_tensor(t) for n, t in routing.metrics.items()},
    )
    with session() as running:
      running.run(tf.global_variables_initializer())
      for variable in graph.trainable_variables:
        variable.get_master().load(kernels[variable.name.split('/')[0]], running)
      running.run(lowering.copy_masters_to_slices())
      return running.run(fetches)
