"""A graph under construction: nodes in order, each by a call that returns the names of its results."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from switch_zoo.onnx_export.weight_file import WeightFile

# What onnxruntime adds to ONNX: operators that are one loop where ONNX has several.
MICROSOFT = 'com.microsoft'
OPSETS = (helper.make_opsetid('', 20), helper.make_opsetid(MICROSOFT, 1))
IR_VERSION = 9
FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64
Shape = Sequence[int | str]


class GraphBuilder:
  """Nodes, constants and weights of one graph, or of a branch of one.

  weights: the file that holds what is large
  """

  def __init__(self, weights: WeightFile, prefix: str = '') -> None:
    """
    Args:
      weights: the file of the weights
      prefix: of all names; those in a branch must differ from those around it
    """
    self.weights, self._prefix, self._count = weights, prefix, 0
    self._nodes, self._initializers = list[onnx.NodeProto](), dict[str, TensorProto]()
    self._constants = dict[tuple[str, tuple[int, ...], bytes], str]()

  def name(self, hint: str) -> str:
    """A new name."""
    self._count += 1
    return f'{self._prefix}{hint}_{self._count}'

  def call(self, op: str, *inputs: str, **attributes: Any) -> str:
    """A node of ONNX with one result."""
    return self.calls(op, 1, *inputs, **attributes)[0]

  def fused(self, op: str, *inputs: str, **attributes: Any) -> str:
    """A node of onnxruntime with one result."""
    return self.calls(op, 1, *inputs, domain=MICROSOFT, **attributes)[0]

  def calls(self, op: str, count: int, *inputs: str, **attributes: Any) -> list[str]:
    """A node with `count` results."""
    outputs = [self.name(op) for _ in range(count)]
    self._nodes.append(helper.make_node(op, inputs, outputs, **attributes))
    return outputs

  def node(self, op: str, inputs: Sequence[str], outputs: Sequence[str], **attributes: Any) -> None:
    """A node whose results have given names; '' for one that is not used."""
    self._nodes.append(helper.make_node(op, inputs, outputs, **attributes))

  def constant(self, value: Any, dtype: type = np.int64) -> str:
    """A small constant, in the graph itself."""
    array = np.asarray(value, dtype)
    key = (array.dtype.str, array.shape, array.tobytes())
    if key not in self._constants:
      self._constants[key] = self.name('constant')
      self._initializers[self._constants[key]] = numpy_helper.from_array(array, self._constants[key])
    return self._constants[key]

  def weight(self, name: str, value: np.ndarray | None = None) -> str:
    """A tensor of the file of weights, written now unless it was before.

    Args:
      name: of the tensor
      value: what it holds; None: it was written before
    """
    tensor = self.weights.place(name)
    if tensor is None:
      assert value is not None, name
      tensor = self.weights.add(name, value)
    self._initializers[name] = tensor
    return name

  def graph(
    self, name: str, inputs: Sequence[onnx.ValueInfoProto] = (), outputs: Sequence[onnx.ValueInfoProto] = ()
  ) -> onnx.GraphProto:
    """What was built."""
    return helper.make_graph(self._nodes, name, inputs, outputs, list(self._initializers.values()))


def tensor(name: str, dtype: int, shape: Shape) -> onnx.ValueInfoProto:
  """An input or output; a text in the shape is a size that varies."""
  return helper.make_tensor_value_info(name, dtype, list(shape))


def model(graph: onnx.GraphProto) -> onnx.ModelProto:
  """A graph as a model."""
  return helper.make_model(graph, opset_imports=OPSETS, ir_version=IR_VERSION, producer_name='switch_zoo')
