"""Lowers a training step with Mesh-TensorFlow's TPU implementation, in a graph and on TPUs that are not there."""

import collections
import math
from typing import NamedTuple

import mesh_tensorflow as mtf
import numpy as np
import tensorflow.compat.v1 as tf
from mesh_tensorflow import simd_mesh_impl
from tensorflow.python.tpu import device_assignment, topology, tpu

from switch_zoo.mesh import graph as mesh_graph
from switch_zoo.spec.layouts import Layout

CORES_OF_A_HOST = 8


class Lowered(NamedTuple):
  """The program of one core.

  operations: type -> how many
  parameters: weights a core holds
  counters: mesh_tensorflow.Lowering's, over all cores
  sent: type of collective -> bytes of its operands, on one core
  """

  operations: collections.Counter
  parameters: int
  counters: collections.Counter
  sent: collections.Counter


def slice_of(cores: int) -> topology.Topology:
  """A made-up slice: two cores a chip, chips on a grid as square as it goes, four chips a host."""
  chips = cores // 2
  columns = 2 ** (int(math.log2(chips)) // 2)
  places = [[chip % columns, chip // columns, 0, core] for chip in range(chips) for core in range(2)]
  coordinates = np.array(places, np.int32).reshape([-1, min(CORES_OF_A_HOST, cores), 4])
  return topology.Topology(mesh_shape=[columns, chips // columns, 1, 2], device_coordinates=coordinates)


def lower(model, layout: Layout, batch: mesh_graph.Batch, learning_rate=1e-3) -> Lowered:
  """Builds and lowers a training step inside `tpu.replicate`; what a TPU's compiler would be given.

  Args:
    model: of `mesh_graph.build_model` under the same layout
    layout: its slices are the cores
    batch: of all cores
    learning_rate: None leaves the optimizer out
  """
  cores = layout.num_slices
  assignment = device_assignment.device_assignment(slice_of(cores), [1, 1, 1, 1], num_replicas=cores)
  mesh_shape, rules = (convert(text) for convert, text in zip(
      (mtf.convert_to_shape, mtf.convert_to_layout_rules), layout.text(), strict=True))  # fmt: skip
  held = []
  counters = collections.Counter()

  def program():
    values = {name: tf.ones([batch.size, length], tf.int32) for name, length in batch.lengths.items()}
    training = mesh_graph.build_training(model, batch, values, layout.outer_batch_size, learning_rate)
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
    with mesh_graph.without_collector():
      tpu.replicate(program, [[]] * cores, device_assignment=assignment)
    operations = graph.get_operations()
    return Lowered(collections.Counter(o.type for o in operations), sum(held), counters, _sent(operations))


def _sent(operations) -> collections.Counter:
  sent = collections.Counter()
  for operation in operations:
    if operation.type in ('CrossReplicaSum', 'AllToAll'):
      operand = operation.inputs[0]
      sent[operation.type] += operand.dtype.size * operand.shape.num_elements()
  return sent
