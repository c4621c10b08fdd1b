"""What one core computes and sends when a graph is lowered under a layout.

Counts as mesh_tensorflow.Lowering does with SimdMeshImpl, its implementation for TPUs: which slices each core holds,
which reshapes become all-to-alls and all-gathers, which sums all-reduces, and that all-reduces of tensors that are
added up are delayed until after the addition. Tests compare every figure with that lowering.
"""

import dataclasses
import math
from collections.abc import Iterable

from switch_zoo.planner.tensors import (
  ADD,
  BFLOAT16,
  BYTES,
  EINSUM,
  FLOAT32,
  MAX,
  NOISE,
  RESHAPE,
  STOP,
  SUM,
  Axes,
  Graph,
  Operation,
  Tensor,
)
from switch_zoo.spec.layouts import Layout

# The section of the graph that follows after all microbatches.
OPTIMIZER = 'optimizer'
ALL_REDUCE, ALL_TO_ALL, ALL_GATHER = 'all-reduce', 'all-to-all', 'all-gather'
# An all-reduce that Mesh-TensorFlow's counters leave out: see `Graph.noise`.
NOISE_REDUCE = 'all-reduce of noise'
# SimdMeshImpl.allreduce_in_bfloat16_max_group_size: larger groups of cores sum in float32.
BFLOAT16_GROUP = 8


@dataclasses.dataclass(frozen=True)
class Collective:
  """One exchange between cores.

  kind: all-reduce, all-to-all, all-gather or all-reduce of noise
  axes: of the mesh, along which cores exchange
  elements: of one core: what it gives to an all-reduce or all-to-all, what it has after an all-gather
  bytes: of one core, as they travel: what the operation's operand holds
  section: the part of the model
  backward: part of the gradients
  gradient: its result is the gradient of a variable, so it happens once in a step, whatever the microbatches
  """

  kind: str
  axes: tuple[str, ...]
  elements: int
  bytes: int
  section: str
  backward: bool
  gradient: bool = False

  @property
  def once(self) -> bool:
    """It happens once in a step, not in each microbatch."""
    return self.gradient or self.section == OPTIMIZER


@dataclasses.dataclass(frozen=True)
class Products:
  """Multiplications of an einsum on one core.

  multiplications: entries of the union of its axes, on one core
  contracted: something is summed over, so that it is a matrix product; otherwise it is element-wise
  dtype: of the operands
  """

  multiplications: int
  contracted: bool
  dtype: str
  section: str
  backward: bool


@dataclasses.dataclass(frozen=True)
class Lowered:
  """What one core does."""

  products: tuple[Products, ...]
  collectives: tuple[Collective, ...]

  @property
  def multiplications(self) -> int:
    """Of all einsums: the counter `einsum` of mesh_tensorflow.Lowering, divided by the cores."""
    return sum(product.multiplications for product in self.products)

  def elements(self, kind: str, axes: tuple[str, ...]) -> int:
    """Entries that one core exchanges in collectives of a kind along these axes of the mesh."""
    return sum(c.elements for c in self.collectives if (c.kind, c.axes) == (kind, axes))


class _Sum:
  """A sum over cores that has not been carried out: mesh_tensorflow.LazyAllreduceSum."""

  __slots__ = ('axes', 'done', 'elements', 'operation')

  def __init__(self, axes: tuple[str, ...], elements: int, operation: Operation) -> None:
    self.axes = axes
    self.elements = elements
    self.operation = operation
    self.done = False


def lower(graph: Graph, layout: Layout, gradients: Iterable[Tensor] = ()) -> Lowered:
  """Counts a graph under a layout.

  Args:
    graph: of `step.build`
    layout: it fits the graph: `layouts.check`
    gradients: tensors whose sums over cores wait until all microbatches are added
  """
  lowering = _Lowering(layout, {id(tensor) for tensor in gradients})
  for operation in graph.operations:
    lowering.lower(operation)
  return Lowered(tuple(lowering.products), tuple(lowering.collectives))


class Slicing:
  """How a layout cuts tensors."""

  def __init__(self, layout: Layout) -> None:
    self.mesh = layout.mesh
    self._axis_of = {name: axis for name, axis in layout.rules.items() if axis in layout.mesh}
    self._parts = {name: layout.mesh[axis] for name, axis in self._axis_of.items()}
    self._sizes: dict[Axes, int] = {}

  def axis(self, name: str) -> str | None:
    """The mesh axis that cuts a dimension, if one does."""
    return self._axis_of.get(name)

  def size(self, axes: Axes) -> int:
    """Entries of a core's slice."""
    size = self._sizes.get(axes)
    if size is None:
      size = self._sizes[axes] = math.prod(size // self._parts.get(name, 1) for name, size in axes)
    return size

  def offsets(self, axes: Axes) -> dict[str, int]:
    """Mesh axis -> the product of the sizes before the dimension that it cuts."""
    offsets, product = {}, 1
    for name, size in axes:
      axis = self.axis(name)
      if axis is not None:
        offsets[axis] = product
      product *= size
    return offsets


class _Lowering:
  def __init__(self, layout: Layout, gradients: set[int]) -> None:
    self._slicing = Slicing(layout)
    self._gradients = gradients
    self._sums: dict[int, _Sum] = {}
    self.products: list[Products] = []
    self.collectives: list[Collective] = []

  def lower(self, operation: Operation) -> None:
    kind = operation.kind
    if kind == EINSUM:
      self._einsum(operation)
    elif kind == ADD:
      self._add(operation)
    elif kind == RESHAPE:
      self._reshape(operation)
    elif kind == STOP:
      self._pass_on(operation)
    elif kind == NOISE:
      self._draw(operation.output)
    else:
      self._carry_out(operation.inputs)
      if kind in (SUM, MAX):
        self._reduce(operation)

  def _carry_out(self, tensors: Iterable[Tensor]) -> None:
    """The sums over cores of these tensors happen now, unless they have."""
    for tensor in tensors:
      waiting = self._sums.get(id(tensor))
      if waiting is not None and not waiting.done:
        waiting.done = True
        self._all_reduce(waiting.axes, waiting.elements, tensor, waiting.operation)

  def _all_reduce(self, axes: tuple[str, ...], elements: int, tensor: Tensor, operation: Operation) -> None:
    group = math.prod(self._slicing.mesh[axis] for axis in axes)
    sent = _sent_in_a_sum(tensor.dtype, group)
    self._record(ALL_REDUCE, axes, elements, elements * BYTES[sent], operation, id(tensor) in self._gradients)

  def _record(
    self, kind: str, axes: tuple[str, ...], elements: int, size: int, operation: Operation, gradient: bool = False
  ) -> None:
    self.collectives.append(Collective(kind, axes, elements, size, operation.section, operation.backward, gradient))

  def _cut(self, axes: Axes) -> tuple[str, ...]:
    return tuple(axis for name, _ in axes if (axis := self._slicing.axis(name)) is not None)

  def _wait(self, tensor: Tensor, axes: tuple[str, ...], elements: int, operation: Operation) -> None:
    self._sums[id(tensor)] = _Sum(axes, elements, operation)

  def _einsum(self, operation: Operation) -> None:
    self._carry_out(operation.inputs)
    # The order is that of the released function: it decides which sums can be delayed together.
    union: Axes = tuple(sorted({axis for x in operation.inputs for axis in x.axes}))
    output = operation.output
    kept = tuple(axis for axis in output.axes if axis in union)
    whole = next((axes for axes in (*(x.axes for x in operation.inputs), kept) if len(axes) == len(union)), union)
    summed = self._cut(tuple(axis for axis in whole if axis not in kept))
    if summed:
      self._wait(output, summed, self._slicing.size(kept), operation)
      if kept != output.axes:
        self._carry_out([output])
    self.products.append(
      Products(
        self._slicing.size(union),
        operation.is_product,
        operation.inputs[0].dtype,
        operation.section,
        operation.backward,
      )
    )

  def _reduce(self, operation: Operation) -> None:
    x, y = operation.inputs[0], operation.output
    summed = self._cut(tuple(axis for axis in x.axes if axis not in y.axes))
    if not summed:
      return
    elements = self._slicing.size(y.axes)
    if operation.kind == SUM:
      self._wait(y, summed, elements, operation)
      return
    # A maximum is taken from a gathered copy of each core's, which SimdMeshImpl makes with a sum.
    for axis in summed:
      number = self._slicing.mesh[axis]
      size = elements * number * BYTES[_sent_in_a_sum(x.dtype, number)]
      self._record(ALL_REDUCE, (axis,), elements, size, operation)

  def _add(self, operation: Operation) -> None:
    output = operation.output
    self._carry_out([x for x in operation.inputs if x.axes != output.axes])
    waiting = [self._sums.get(id(x)) if x.axes == output.axes else None for x in operation.inputs]
    first = waiting[0]
    if first is not None and all(w is not None and w.axes == first.axes for w in waiting):
      self._wait(output, first.axes, first.elements, first.operation)
    else:
      self._carry_out(operation.inputs)

  def _draw(self, noise: Tensor) -> None:
    cut = self._cut(noise.axes)
    alike = tuple(axis for axis in self._slicing.mesh if axis not in cut)
    if alike:
      size = self._slicing.size(noise.axes)
      group = math.prod(self._slicing.mesh[axis] for axis in alike)
      sent = size * BYTES[_sent_in_a_sum(noise.dtype, group)]
      self._record(NOISE_REDUCE, alike, size, sent, noise.operation)

  def _pass_on(self, operation: Operation) -> None:
    waiting = self._sums.get(id(operation.inputs[0]))
    if waiting is not None:
      self._sums[id(operation.output)] = waiting

  def _reshape(self, operation: Operation) -> None:
    x, y = operation.inputs[0], operation.output
    before, after = self._slicing.offsets(x.axes), self._slicing.offsets(y.axes)
    changed = [axis for axis in self._slicing.mesh if before.get(axis) != after.get(axis)]
    if not changed:
      waiting = self._sums.get(id(x))
      if waiting is not None:
        self._wait(y, waiting.axes, waiting.elements, waiting.operation)
      return
    self._carry_out([x])
    size = self._slicing.size(x.axes)
    positions = _positions(x.axes)
    for axis in changed:
      # Cut anew: each core keeps its part, before the exchange where the old axes allow it.
      if axis not in before and after[axis] in positions:
        size //= self._slicing.mesh[axis]
    for axis in changed:
      if axis in before and axis in after:
        sent = BFLOAT16 if x.dtype == FLOAT32 else x.dtype
        self._record(ALL_TO_ALL, (axis,), size, size * BYTES[sent], operation)
    for axis in changed:
      if axis in before and axis not in after:
        size *= self._slicing.mesh[axis]
        sent = _sent_in_a_sum(x.dtype, self._slicing.mesh[axis])
        self._record(ALL_GATHER, (axis,), size, size * BYTES[sent], operation)


def _sent_in_a_sum(dtype: str, group: int) -> str:
  """The dtype in which SimdMeshImpl sums over a group of cores."""
  return BFLOAT16 if dtype == BFLOAT16 and group <= BFLOAT16_GROUP else FLOAT32


def _positions(axes: Axes) -> set[int]:
  """The products of the sizes before each axis."""
  products, product = set(), 1
  for _, size in axes:
    products.add(product)
    product *= size
  return products
