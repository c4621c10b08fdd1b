"""Large initial values in blocks of rows, so that no process makes what only the devices of others need.

The experts of one layer of Switch-C are 104 GB. Each block is drawn with a seed of its own from the operations of the
whole value, with fewer rows. So a value depends neither on the number of processes nor on the layout.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow.compat.v1 as tf

# Elements of a block: 64 MiB of float32, much more work than starting a session for it.
ELEMENTS = 1 << 24
# Operations whose first input is the shape, and those that treat all elements alike.
_SHAPED = {'RandomStandardNormal', 'TruncatedNormal', 'RandomUniform', 'Fill'}
_ELEMENTWISE = {'Const', 'Add', 'AddV2', 'Sub', 'Mul', 'Cast'}
# Seeds of operations count the operations of a graph, which are fewer.
_BLOCK_SEED = 1 << 32


def of(value: tf.Tensor) -> 'Blocks | None':
  """The blocks of an initial value; None if it is small, or its elements cannot be made apart."""
  shape = value.shape.as_list()
  rows = _rows(shape)
  operations = list(_operations(value.op)) if shape and rows < shape[0] else []
  kinds = {operation.type for operation in operations}
  if not kinds & _SHAPED or kinds - _SHAPED - _ELEMENTWISE:
    return None
  return Blocks(value, operations, rows)


class Blocks:
  """An initial value of which each block of rows is made when it is first needed.

  Args:
    value: <dtype>[rows, ...] in its graph
    operations: all that it is made by
    rows: of a block
  """

  def __init__(self, value: tf.Tensor, operations: list[tf.Operation], rows: int) -> None:
    self._name, self._shape, self._rows = value.name, value.shape.as_list(), rows
    self._nodes = [operation.node_def for operation in operations]
    self._shapes = {operation.inputs[0].op.name for operation in operations if operation.type in _SHAPED}
    self._made: dict[int, np.ndarray] = {}

  def read(self, index: tuple[slice, ...]) -> np.ndarray:
    """A part of the value. index: a slice for each axis"""
    start, stop, _ = index[0].indices(self._shape[0])
    parts = []
    for number in range(start // self._rows, -(-stop // self._rows)):
      first = number * self._rows
      parts.append(self._block(number)[max(start - first, 0) : stop - first][(slice(None), *index[1:])])
    return np.concatenate(parts)

  def _block(self, number: int) -> np.ndarray:
    """A block. The parts of several devices may be in it: it is kept as long as the reader."""
    if number not in self._made:
      with tf.Graph().as_default(), tf.Session(config=tf.ConfigProto(device_count={'GPU': 0})) as session:
        (block,) = tf.import_graph_def(self._graph_def(number), return_elements=[self._name])
        self._made[number] = session.run(block)
    return self._made[number]

  def _graph_def(self, number: int) -> tf.GraphDef:
    """The operations of the value, with the rows and the seed of a block."""
    rows = min(self._rows, self._shape[0] - number * self._rows)
    graph = tf.GraphDef(node=self._nodes)
    for node in graph.node:
      # Where the variable is, it wants its initial value to be; here is no variable.
      node.attr.pop('_class', None)
      if node.name in self._shapes:
        shape = np.array([rows, *self._shape[1:]], tf.as_dtype(node.attr['dtype'].type).as_numpy_dtype)
        node.attr['value'].tensor.CopyFrom(tf.make_tensor_proto(shape))
      if 'seed2' in node.attr:
        node.attr['seed2'].i += number * _BLOCK_SEED
    return graph


def _rows(shape: list[int]) -> int:
  """How many rows a block of a value has."""
  return max(1, ELEMENTS // max(1, int(np.prod(shape[1:], dtype=np.int64))))


def _operations(operation: Any) -> Iterator[Any]:
  """An operation and all that it is computed from, each once."""
  waiting, seen = [operation], {operation.name}
  while waiting:
    operation = waiting.pop()
    yield operation
    for tensor in operation.inputs:
      if tensor.op.name not in seen:
        seen.add(tensor.op.name)
        waiting.append(tensor.op)
