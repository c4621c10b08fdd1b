"""Which layer an operation of a graph belongs to, for messages: operations themselves are named einsum_12."""

import re
from typing import Any

import mesh_tensorflow as mtf
import tensorflow.compat.v1 as tf

from switch_zoo.errors import UserError


class _Operations(list):
  """A graph's list of operations that notes the variable scope in which each is made."""

  def __init__(self, scopes: dict[str, str]) -> None:
    super().__init__()
    self._scopes = scopes

  def append(self, operation: mtf.Operation) -> None:
    """Adds an operation."""
    self._scopes[operation.name] = tf.get_variable_scope().name
    super().append(operation)


class LayeredGraph(mtf.Graph):
  """A graph that knows the layers of its operations.

  scopes: operation -> 'encoder/block_000/layer_001/MoE1D', '' outside of layers
  """

  def __init__(self) -> None:
    super().__init__()
    self.scopes: dict[str, str] = {}
    self._operations: Any = _Operations(self.scopes)

  def layer_of(self, node: str) -> str:
    """The layer of a TensorFlow operation whose name is, or contains, that of an operation of this graph; '' if none.

    Args:
      node: such as 'while/einsum_12/einsum/Einsum'
    """
    return next((scope for part in re.split('[/ ]', node) if (scope := self.scopes.get(part))), '')


class Lowering(mtf.Lowering):
  """A lowering whose errors name the layer.

  Raises:
    UserError: an operation that cannot be lowered
  """

  def __init__(self, graph: LayeredGraph, mesh: mtf.Mesh, mesh_impl: Any) -> None:
    mesh_impl.lowering = self
    self._latest: mtf.Operation | None = None
    try:
      super().__init__(graph, {mesh: mesh_impl}, autostack=False)
    except (NotImplementedError, TypeError, ValueError) as error:
      operation = self._latest
      if operation is None:
        raise
      place = graph.layer_of(operation.name) or 'outside of layers'
      raise UserError(
        f'{place}: operation {operation.name} ({type(operation).__name__}) cannot be lowered to a program of one core: '
        f'{error}'
      ) from error

  def mesh_impl(self, m: Any) -> Any:
    """The implementation of a mesh; every operation asks for it before it is lowered."""
    if isinstance(m, mtf.Operation):
      self._latest = m
    return super().mesh_impl(m)
