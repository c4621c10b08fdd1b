"""A lowering that names the operation, and with it the layer, of what cannot be lowered."""

from typing import Any

import mesh_tensorflow as mtf

from switch_zoo.errors import UserError


class Lowering(mtf.Lowering):
  """A lowering whose errors name the operation: 'encoder/block_000/layer_001/MoE1D/einsum'.

  Raises:
    UserError: an operation that cannot be lowered
  """

  def __init__(self, graph: mtf.Graph, mesh: mtf.Mesh, mesh_impl: Any) -> None:
    mesh_impl.lowering = self
    self._latest: mtf.Operation | None = None
    try:
      super().__init__(graph, {mesh: mesh_impl}, autostack=False)
    except (NotImplementedError, TypeError, ValueError) as error:
      operation = self._latest
      if operation is None:
        raise
      raise UserError(
        f'{operation.name} ({type(operation).__name__}) cannot be lowered to a program of one core: {error}'
      ) from error

  def mesh_impl(self, m: Any) -> Any:
    """The implementation of a mesh; every operation asks for it before it is lowered."""
    if isinstance(m, mtf.Operation):
      self._latest = m
    return super().mesh_impl(m)
