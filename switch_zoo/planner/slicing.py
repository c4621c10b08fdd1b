"""How a layout cuts tensors: the slice that a core holds, and what reshapes change about it.

Layouts that cut the same dimensions by the same axes, and whose reshapes change the same cuts, differ in sizes only:
the same operations exchange, and the same tensors live at the same time. `Cuts` is what they share.
"""

import math
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from switch_zoo.planner.tensors import RESHAPE, Axes, Graph
from switch_zoo.spec.layouts import Layout


class Recut(NamedTuple):
  """What a reshape changes for one axis of the mesh.

  axis: of the mesh
  before, after: whether it cuts the tensor before, and after
  early: it cuts where the old axes have a border too, so that each core can keep its part before the others exchange
  """

  axis: str
  before: bool
  after: bool
  early: bool


class Cuts:
  """Which axes of a mesh cut which dimensions, and how the reshapes of a graph change that. No sizes.

  mesh: the names of its axes
  key: equal for layouts that cut the graph alike
  """

  def __init__(
    self, mesh: tuple[str, ...], axis_of: Mapping[str, str], recuts: Mapping[tuple[Axes, Axes], tuple[Recut, ...]]
  ) -> None:
    self.mesh = mesh
    self.key = mesh, tuple(axis_of.items()), tuple(recuts.values())
    self._axis_of = axis_of
    self._recuts = recuts

  def axis(self, name: str) -> str | None:
    """The mesh axis that cuts a dimension, if one does."""
    return self._axis_of.get(name)

  def axes(self, axes: Axes) -> tuple[str, ...]:
    """The mesh axes that cut a tensor, in the order of its dimensions."""
    return tuple(self._axis_of[name] for name, _ in axes if name in self._axis_of)

  def recut(self, before: Axes, after: Axes) -> tuple[Recut, ...]:
    """What a reshape changes; () if each core keeps what it has."""
    return self._recuts[before, after]


class Slicing:
  """The slices of a layout, and their sizes."""

  def __init__(self, layout: Layout, sizes: Mapping[int, int] | None = None) -> None:
    """
    Args:
      layout: of the tensors
      sizes: placeholder -> the size of an axis that has it, see `sizes.placed`
    """
    self.mesh = layout.mesh
    self._axis_of = {name: axis for name, axis in layout.rules.items() if axis in layout.mesh}
    self._parts = {name: layout.mesh[axis] for name, axis in self._axis_of.items()}
    self._placed = sizes or {}
    self._sizes: dict[Axes, int] = {}

  def actual(self, size: int) -> int:
    """The size of an axis: itself, if it is not a placeholder."""
    return self._placed.get(size, size)

  def size(self, axes: Axes) -> int:
    """Entries of a core's slice."""
    size = self._sizes.get(axes)
    if size is None:
      size = math.prod(self.actual(size) // self._parts.get(name, 1) for name, size in axes)
      self._sizes[axes] = size
    return size

  def group(self, axes: Iterable[str]) -> int:
    """Slices along these axes of the mesh together."""
    return math.prod(self.mesh[axis] for axis in axes)

  def cuts(self, reshapes: Iterable[tuple[Axes, Axes]]) -> Cuts:
    """What this layout has in common with others that cut the same dimensions.

    Args:
      reshapes: `reshapes_of` the graph
    """
    return Cuts(tuple(self.mesh), self._axis_of, {pair: self._recut(*pair) for pair in reshapes})

  def _recut(self, before: Axes, after: Axes) -> tuple[Recut, ...]:
    old, new = self._offsets(before), self._offsets(after)
    changed = [axis for axis in self.mesh if old.get(axis) != new.get(axis)]
    positions = self._positions(before) if changed else ()
    return tuple(Recut(axis, axis in old, axis in new, new.get(axis) in positions) for axis in changed)

  def _offsets(self, axes: Axes) -> dict[str, int]:
    """Mesh axis -> the product of the sizes before the dimension that it cuts."""
    offsets, product = {}, 1
    for name, size in axes:
      axis = self._axis_of.get(name)
      if axis is not None:
        offsets[axis] = product
      product *= self.actual(size)
    return offsets

  def _positions(self, axes: Axes) -> set[int]:
    """The products of the sizes before each axis."""
    positions, product = set(), 1
    for _, size in axes:
      positions.add(product)
      product *= self.actual(size)
    return positions


def reshapes_of(graph: Graph) -> list[tuple[Axes, Axes]]:
  """The axes before and after each reshape of a graph, each pair once."""
  return list(dict.fromkeys((o.inputs[0].axes, o.output.axes) for o in graph.operations if o.kind == RESHAPE))
