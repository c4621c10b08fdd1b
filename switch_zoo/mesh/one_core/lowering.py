"""The steps of a run as programs of one core.

gin is configured first, as for a run or with `mesh.graph.configure`. Nothing is allocated but the program: a step of a
model of any size can be lowered on any machine.
"""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import mesh_tensorflow as mtf
import tensorflow.compat.v1 as tf
from tensorflow.python.ops import control_flow_ops

from switch_zoo import garbage
from switch_zoo.mesh import observe
from switch_zoo.mesh.one_core import hlo, noise, steps
from switch_zoo.mesh.one_core.mesh_impl import OneCoreMeshImpl
from switch_zoo.mesh.one_core.named_errors import Lowering
from switch_zoo.mesh.one_core.program import OneCoreProgram, Slot
from switch_zoo.mesh.one_core.steps import Optimization, StepSettings

Results = Mapping[str, Any]


def lower_training_step(
  settings: StepSettings, optimization: Optimization | None = None, report: Callable[[str], None] = lambda _: None
) -> OneCoreProgram:
  """One training step: forward, backward, optimizer. Its outputs are 'loss', 'learning_rate', and what layers export.

  Args:
    settings: of the step; in microbatches if gin has `utils.serialize_num_microbatches`
    optimization: by default gin's optimizer with the learning rate 1e-3
    report: is given a few words on what is being done
  Raises:
    UserError: a layer that cannot be lowered
  """

  def build(features: steps.Features, step: tf.Tensor) -> tuple[Results, list[mtf.Operation]]:
    training = steps.training(settings, features, step, optimization or Optimization())
    # The sum of a constant alone would not be a result of the program.
    rate = training.learning_rate + 0 * tf.cast(step, tf.float32)
    return {'loss': mtf.cast(training.loss, tf.float32), 'learning_rate': rate}, training.updates

  return lower(settings, build, replicas=True, report=report)


def lower_evaluation(settings: StepSettings, report: Callable[[str], None] = lambda _: None) -> OneCoreProgram:
  """An evaluation of perplexity. Its outputs are those of `steps.evaluation`, for the whole batch, on every core."""
  return lower(settings, lambda features, _: (steps.evaluation(settings, features), []), replicas=True, report=report)


def lower_decoding(settings: StepSettings, report: Callable[[str], None] = lambda _: None) -> OneCoreProgram:
  """Answers to 'inputs', the only input. Its output is 'outputs' <int32>[batch, length]."""
  build = lambda features, _: (steps.decoding(settings, features), [])
  return lower(settings, build, replicas=False, report=report, only=('inputs',))


def lower_scoring(settings: StepSettings, report: Callable[[str], None] = lambda _: None) -> OneCoreProgram:
  """The log-likelihood of 'targets'. Its output is 'scores' <float32>[batch]."""
  return lower(settings, lambda features, _: (steps.scoring(settings, features), []), replicas=False, report=report)


def lower(
  settings: StepSettings,
  build: Callable[[steps.Features, tf.Tensor], tuple[Results, list[mtf.Operation]]],
  replicas: bool,
  report: Callable[[str], None] = lambda _: None,
  only: Sequence[str] = (),
) -> OneCoreProgram:
  """Any graph as a program: what the other functions call.

  Args:
    settings: of the step
    build: from features and the step <int32>[] to results by name (mtf.Tensor or tf.Tensor), and operations that
      change variables
    replicas: whether the batch has the dimension outer_batch
    report: is given a few words on what is being done
    only: features that are fed; all by default
  Raises:
    UserError: an operation that cannot be lowered, with its layer
  """
  with tf.Graph().as_default() as tf_graph, _compiled_by_xla(), garbage.without_collections():
    report('building the graph')
    step, seed = (tf.placeholder(tf.int32, [], name) for name in ('step', 'seed'))
    tf.add_to_collection(tf.GraphKeys.GLOBAL_STEP, tf.cast(step, tf.int64))
    mesh_impl = OneCoreMeshImpl(*_mesh(settings), noise.Source(seed, step))
    graph = mtf.Graph()
    shapes = settings.feature_shapes(replicas)
    shapes = {name: shape for name, shape in shapes.items() if not only or name in only}
    fed = {name: tf.placeholder(tf.int32, mesh_impl.slice_shape(shape), name) for name, shape in shapes.items()}
    mesh = mtf.Mesh(graph, 'mesh')
    laid_out = {name: mesh_impl.LaidOutTensor([part]) for name, part in fed.items()}
    features = {name: mtf.import_laid_out_tensor(mesh, laid_out[name], shapes[name], name) for name in shapes}
    results, updates = build(features, step)
    # Results that the mesh cuts are joined: every core has the whole.
    results = {name: mtf.anonymize(x) if isinstance(x, mtf.Tensor) else x for name, x in results.items()}
    noise.number_operations(graph)
    report('lowering it to one core')
    lowering = Lowering(graph, mesh, mesh_impl)
    exported = {name: lowering.export_to_tf_tensor(x) for name, x in results.items() if isinstance(x, mtf.Tensor)}
    results = {**results, **exported, **dict(sorted(observe.exported().items()))}
    report('writing it as HLO')
    arguments = [*(variable.value for variable in mesh_impl.variables), *fed.values(), step, seed]
    new_values = [tf.identity(variable.new_value) for variable in mesh_impl.variables] if updates else []
    module = hlo.to_module(tf_graph, arguments, [*map(tf.identity, results.values()), *new_values])
    program = OneCoreProgram(
      module=b'',
      variables=tuple(_variable(mesh_impl, variable.variable) for variable in mesh_impl.variables),
      inputs=tuple(_slot(mesh_impl, name, shape, tf.int32) for name, shape in shapes.items()),
      scalars=tuple(Slot(name, 'int32', (), (), ()) for name in ('step', 'seed')),
      outputs=tuple(_whole(name, value) for name, value in results.items()),
      mesh_shape=dict(settings.layout.mesh),
      updates=bool(updates),
      collectives=mesh_impl.collectives.counts(),
    )
  mesh_impl.collectives.into_hlo(module)
  hlo.share_memory(module, program.donated)
  return dataclasses.replace(program, module=module.SerializeToString())


class _XlaContext(control_flow_ops.XLAControlFlowContext):
  """Says that a graph is compiled by XLA, on which layers decide; it changes no operation."""


@contextlib.contextmanager
def _compiled_by_xla() -> Iterator[None]:
  """Within, the default graph is one for XLA, and its loops are functions, as XLA's are."""
  functions = tf.control_flow_v2_enabled()
  tf.enable_control_flow_v2()
  inside = _XlaContext()
  inside.Enter()
  try:
    yield
  finally:
    inside.Exit()
    if not functions:
      tf.disable_control_flow_v2()


def _mesh(settings: StepSettings) -> tuple[mtf.Shape, Any]:
  shape, rules = settings.layout.text()
  return mtf.convert_to_shape(shape), mtf.convert_to_layout_rules(rules)


def _slot(mesh_impl: OneCoreMeshImpl, name: str, shape: mtf.Shape, dtype: tf.DType) -> Slot:
  whole, part = tuple(shape.to_integer_list), tuple(mesh_impl.slice_shape(shape))
  return Slot(name, dtype.name, whole, part, mesh_impl.axes(shape))


def _variable(mesh_impl: OneCoreMeshImpl, variable: mtf.Variable) -> Slot:
  return _slot(mesh_impl, variable.name, variable.outputs[0].shape, variable.slice_dtype)


def _whole(name: str, value: tf.Tensor) -> Slot:
  shape = tuple(value.shape.as_list())
  return Slot(name, value.dtype.name, shape, shape, (None,) * len(shape))
