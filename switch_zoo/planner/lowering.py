"""What one core computes and sends when a graph is lowered under a layout.

Counts as mesh_tensorflow.Lowering does with SimdMeshImpl, its implementation for TPUs: which slices each core holds,
which reshapes become all-to-alls and all-gathers, which sums all-reduces, and that all-reduces of tensors that are
added up are delayed until after the addition. Tests compare every figure with that lowering.
"""

import dataclasses
from collections.abc import Iterable
from typing import Any, NamedTuple

from switch_zoo.planner.slicing import Cuts, Slicing, reshapes_of
from switch_zoo.planner.step import Step
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


class _Exchange(NamedTuple):
  """A collective of all layouts that cut alike, without sizes.

  axes: of the mesh
  entries: the axes of the tensor whose slice is sent
  divided, multiplied: axes of the mesh by whose sizes the entries of the slice change before the exchange, and by it
  gathered: each core's slice is sent once for every core, see `_Lowering._reduce`
  """

  kind: str
  axes: tuple[str, ...]
  entries: Axes
  dtype: str
  section: str
  backward: bool
  gradient: bool = False
  divided: tuple[str, ...] = ()
  multiplied: tuple[str, ...] = ()
  gathered: bool = False

  def sized(self, slicing: Slicing) -> Collective:
    """With the sizes of a layout."""
    elements = slicing.size(self.entries) // slicing.group(self.divided) * slicing.group(self.multiplied)
    group = slicing.group(self.axes)
    if self.kind == ALL_TO_ALL:
      sent = BFLOAT16 if self.dtype == FLOAT32 else self.dtype
    else:
      sent = _sent_in_a_sum(self.dtype, group)
    size = elements * (group if self.gathered else 1) * BYTES[sent]
    return Collective(self.kind, self.axes, elements, size, self.section, self.backward, self.gradient)


class _Einsum(NamedTuple):
  """`Products` of all layouts that cut alike, without sizes; union: the axes of all operands."""

  union: Axes
  contracted: bool
  dtype: str
  section: str
  backward: bool

  def sized(self, slicing: Slicing) -> Products:
    """With the sizes of a layout."""
    return Products(slicing.size(self.union), self.contracted, self.dtype, self.section, self.backward)


class _Sum:
  """A sum over cores that has not been carried out: mesh_tensorflow.LazyAllreduceSum."""

  __slots__ = ('axes', 'done', 'entries', 'operation')

  def __init__(self, axes: tuple[str, ...], entries: Axes, operation: Operation) -> None:
    self.axes = axes
    self.entries = entries
    self.operation = operation
    self.done = False


def lower(graph: Graph, layout: Layout, gradients: Iterable[Tensor] = ()) -> Lowered:
  """Counts a graph under a layout.

  Args:
    graph: of `step.build`
    layout: it fits the graph: `layouts.check`
    gradients: tensors whose sums over cores wait until all microbatches are added
  """
  slicing = Slicing(layout)
  return _sized(_Lowering(graph, slicing.cuts(reshapes_of(graph)), gradients), slicing)


def lower_step(step: Step, slicing: Slicing) -> Lowered:
  """Counts a step under a layout. Operations are followed once for all layouts that cut the graph alike."""
  lowering = step.once(lambda cuts: _Lowering(step.graph, cuts, step.gradients.values()), 'lowering', slicing)
  return _sized(lowering, slicing)


def _sized(lowering: '_Lowering', slicing: Slicing) -> Lowered:
  products = {one: one.sized(slicing) for one in set(lowering.products)}
  collectives = {one: one.sized(slicing) for one in set(lowering.collectives)}
  return Lowered(
    tuple(products[one] for one in lowering.products), tuple(collectives[one] for one in lowering.collectives)
  )


class _Lowering:
  """What a graph's operations compute and send, in their order."""

  def __init__(self, graph: Graph, cuts: Cuts, gradients: Iterable[Tensor]) -> None:
    self._cuts = cuts
    self._gradients = {id(tensor) for tensor in gradients}
    self._sums: dict[int, _Sum] = {}
    self.products: list[_Einsum] = []
    self.collectives: list[_Exchange] = []
    for operation in graph.operations:
      self._lower(operation)

  def _lower(self, operation: Operation) -> None:
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
        o, is_gradient = waiting.operation, id(tensor) in self._gradients
        self.collectives.append(
          _Exchange(ALL_REDUCE, waiting.axes, waiting.entries, tensor.dtype, o.section, o.backward, is_gradient)
        )

  def _wait(self, tensor: Tensor, axes: tuple[str, ...], entries: Axes, operation: Operation) -> None:
    self._sums[id(tensor)] = _Sum(axes, entries, operation)

  def _einsum(self, operation: Operation) -> None:
    self._carry_out(operation.inputs)
    # The order is that of the released function: it decides which sums can be delayed together.
    union: Axes = tuple(sorted({axis for x in operation.inputs for axis in x.axes}))
    output = operation.output
    kept = tuple(axis for axis in output.axes if axis in union)
    whole = next((axes for axes in (*(x.axes for x in operation.inputs), kept) if len(axes) == len(union)), union)
    summed = self._cuts.axes(tuple(axis for axis in whole if axis not in kept))
    if summed:
      self._wait(output, summed, kept, operation)
      if kept != output.axes:
        self._carry_out([output])
    dtype = operation.inputs[0].dtype
    self.products.append(_Einsum(union, operation.is_product, dtype, operation.section, operation.backward))

  def _reduce(self, operation: Operation) -> None:
    x, y = operation.inputs[0], operation.output
    summed = self._cuts.axes(tuple(axis for axis in x.axes if axis not in y.axes))
    if not summed:
      return
    if operation.kind == SUM:
      self._wait(y, summed, y.axes, operation)
      return
    # A maximum is taken from a gathered copy of each core's, which SimdMeshImpl makes with a sum.
    for axis in summed:
      self._exchange(ALL_REDUCE, (axis,), y, operation, gathered=True)

  def _exchange(self, kind: str, axes: tuple[str, ...], x: Tensor, o: Operation, **sizes: Any) -> None:
    """Slices of x are sent; `sizes` are the last fields of `_Exchange`."""
    self.collectives.append(_Exchange(kind, axes, x.axes, x.dtype, o.section, o.backward, **sizes))

  def _add(self, operation: Operation) -> None:
    output = operation.output
    self._carry_out([x for x in operation.inputs if x.axes != output.axes])
    waiting = [self._sums.get(id(x)) if x.axes == output.axes else None for x in operation.inputs]
    first = waiting[0]
    if first is not None and all(w is not None and w.axes == first.axes for w in waiting):
      self._wait(output, first.axes, first.entries, first.operation)
    else:
      self._carry_out(operation.inputs)

  def _draw(self, noise: Tensor) -> None:
    cut = self._cuts.axes(noise.axes)
    alike = tuple(axis for axis in self._cuts.mesh if axis not in cut)
    if alike:
      self._exchange(NOISE_REDUCE, alike, noise, noise.operation)

  def _pass_on(self, operation: Operation) -> None:
    waiting = self._sums.get(id(operation.inputs[0]))
    if waiting is not None:
      self._sums[id(operation.output)] = waiting

  def _reshape(self, operation: Operation) -> None:
    x, y = operation.inputs[0], operation.output
    changes = self._cuts.recut(x.axes, y.axes)
    if not changes:
      waiting = self._sums.get(id(x))
      if waiting is not None:
        self._wait(y, waiting.axes, waiting.entries, waiting.operation)
      return
    self._carry_out([x])
    # Cut again: each core keeps its part, before the exchange where the old axes allow it.
    kept = tuple(change.axis for change in changes if not change.before and change.early)
    for change in changes:
      if change.before and change.after:
        self._exchange(ALL_TO_ALL, (change.axis,), x, operation, divided=kept)
    gathered: tuple[str, ...] = ()
    for change in changes:
      if change.before and not change.after:
        gathered = (*gathered, change.axis)
        self._exchange(ALL_GATHER, (change.axis,), x, operation, divided=kept, multiplied=gathered)


def _sent_in_a_sum(dtype: str, group: int) -> str:
  """The dtype in which SimdMeshImpl sums over a group of cores."""
  return BFLOAT16 if dtype == BFLOAT16 and group <= BFLOAT16_GROUP else FLOAT32
