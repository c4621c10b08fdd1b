"""Lowers a training step with Mesh-TensorFlow's TPU implementation, in a graph and on TPUs that are not there."""

import collections
import functools
import math
from typing import NamedTuple

import gin
import mesh_tensorflow as mtf
import numpy as np
import tensorflow.compat.v1 as tf
from mesh_tensorflow import simd_mesh_impl
from mesh_tensorflow.transformer import utils
from tensorflow.compat.v1.estimator import ModeKeys
from tensorflow.python.tpu import device_assignment, topology, tpu

from switch_zoo import garbage
from switch_zoo.mesh import graph as mesh_graph
from switch_zoo.spec.layouts import Layout

CORES_OF_A_HOST = 8


class Lowered(NamedTuple):
  """The program of one core.

  operations: type -> how many
  parameters: weights a core holds
  counters: mesh_tensorflow.Lowering's, over all cores
  sent: type of collective -> bytes of its operands, on one core
  repeated: as sent, of one turn of the loop over microbatches; `sent` is without these
  """

  operations: collections.Counter
  parameters: int
  counters: collections.Counter
  sent: collections.Counter
  repeated: collections.Counter


def slice_of(cores: int) -> topology.Topology:
  """A made-up slice: two cores a chip, chips on a grid as square as it goes, four chips a host."""
  chips = cores // 2
  columns = 2 ** (int(math.log2(chips)) // 2)
  places = [[chip % columns, chip // columns, 0, core] for chip in range(chips) for core in range(2)]
  coordinates = np.array(places, np.int32).reshape([-1, min(CORES_OF_A_HOST, cores), 4])
  return topology.Topology(mesh_shape=[columns, chips // columns, 1, 2], device_coordinates=coordinates)


def lower(model, layout: Layout, batch: mesh_graph.Batch, learning_rate=1e-3, microbatches=1) -> Lowered:
  """Builds and lowers a training step inside `tpu.replicate`; what a TPU's compiler would be given.

  Args:
    model: of `mesh_graph.build_model` under the same layout
    layout: its slices are the cores
    batch: of all cores
    learning_rate: None leaves the optimizer out
    microbatches: of the batch; more than one is a loop, as Mesh-TensorFlow trains
  """
  cores = layout.num_slices
  assignment = device_assignment.device_assignment(slice_of(cores), [1, 1, 1, 1], num_replicas=cores)
  mesh_shape, rules = (convert(text) for convert, text in zip(
      (mtf.convert_to_shape, mtf.convert_to_layout_rules), layout.text(), strict=True))  # fmt: skip
  held = []
  counters = collections.Counter()

  def program():
    values = {name: tf.ones([batch.size, length], tf.int32) for name, length in batch.lengths.items()}
    build = functools.partial(_in_microbatches, microbatches) if microbatches > 1 else mesh_graph.build_training
    training = build(model, batch, values, layout.outer_batch_size, learning_rate)
    mesh_impl = simd_mesh_impl.SimdMeshImpl(mesh_shape, rules, None, assignment)
    lowering = mtf.Lowering(training.graph, {training.mesh: mesh_impl})
    updates = [lowering.lowered_operation(operation) for operation in training.updates]
    held.extend(math.prod(mesh_impl.slice_shape(v.shape)) for v in training.graph.trainable_variables)
    loss = lowering.export_to_tf_tensor(training.loss)
    for key, value in lowering.counters:
      counters[key] += value
    with tf.control_dependencies(updates):
      return tf.identity(loss)

  with tf.Graph().as_default() as graph:
    tf.train.get_or_create_global_step()
    with garbage.without_collections():
      tpu.replicate(program, [[]] * cores, device_assignment=assignment)
    operations = graph.get_operations()
    loops = [o.get_attr('body').name for o in operations if o.type in ('While', 'StatelessWhile')]
    in_loop = [o for name in loops for o in graph._get_function(name).graph.get_operations()]
    types = collections.Counter(o.type for o in operations)
    return Lowered(types, sum(held), counters, _sent(operations), _sent(in_loop))


def _in_microbatches(microbatches, model, batch, values, outer_batch_size, learning_rate) -> mesh_graph.TrainingGraph:
  """mesh_graph.build_training with the loop of mesh_tensorflow.transformer.utils.tpu_estimator_model_fn."""
  graph = mtf.Graph()
  mesh = mtf.Mesh(graph, 'mesh')
  sizes = {name: [outer_batch_size, batch.size // outer_batch_size, length] for name, length in batch.lengths.items()}
  shape = lambda name: mtf.Shape([mtf.Dimension(*d) for d in zip(('outer_batch', 'batch', 'length'), sizes[name])])  # noqa: B905
  features = {
    name: mtf.import_fully_replicated(mesh, tf.reshape(values[name], sizes[name]), shape(name), name=name)
    for name in batch.lengths
  }

  def loss_of(part):
    _, loss = model.call_simple(
      inputs=part['inputs'], targets=part['targets'], compute_loss=True, mode=ModeKeys.TRAIN,
      variable_dtype=utils.get_variable_dtype(), num_microbatches=microbatches,
    )  # fmt: skip
    return {'loss': loss}

  batch_dim = features['inputs'].shape.get_dim_by_name('batch')
  gradients, outputs = mtf.serialize_training_step(features, loss_of, batch_dim, microbatches)
  optimizer = gin.query_parameter('utils.run.optimizer').scoped_configurable_fn(learning_rate=learning_rate)
  updates = optimizer.apply_grads(gradients, graph.trainable_variables)
  return mesh_graph.TrainingGraph(graph, mesh, features, outputs['loss'], gradients, updates)


def _sent(operations) -> collections.Counter:
  sent = collections.Counter()
  for operation in operations:
    if operation.type in ('CrossReplicaSum', 'AllToAll'):
      operand = operation.inputs[0]
      sent[operation.type] += operand.dtype.size * operand.shape.num_elements()
  return sent
