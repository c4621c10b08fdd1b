"""Which tensors of a step are in a core's memory, and from which operation to which.

Operations run in the order of the graph. Element-wise ones are fused into what reads them, and gradients compute the
element-wise results of the forward pass again from what is in memory, as compilers do.
"""

from switch_zoo.planner.lowering import OPTIMIZER
from switch_zoo.planner.slicing import Cuts, Slicing
from switch_zoo.planner.step import Step
from switch_zoo.planner.tensors import BYTES, MAX, NOISE, RESHAPE, STOP, SUM, USE, Axes, Operation, Tensor


class Held:
  """Which tensors are in memory: results of products, sums and exchanges, and noise."""

  def __init__(self, operations: list[Operation], cuts: Cuts, with_operands: bool = False) -> None:
    """
    Args:
      operations: in the order in which they run
      cuts: of their graph
      with_operands: what products read is in memory too, so that no element-wise operation is fused into a product
    """
    self._operations = operations
    self._cuts = cuts
    self._renaming = {o for o in operations if self._passes_on(o)}
    self._written = {o.output for o in operations if _makes(o)}
    if with_operands:
      self._written.update(x for o in operations if o.is_product for x in o.inputs)
    self._behind: dict[Tensor, frozenset[Tensor]] = {}

  def renames(self, operation: Operation) -> bool:
    """Its output is its input, in the same place."""
    return operation in self._renaming

  def is_written(self, x: Tensor) -> bool:
    """x is in memory under its own name."""
    return x in self._written and x.operation not in self._renaming

  def lives(self) -> dict[Tensor, tuple[int, int]]:
    """Tensor in memory -> the operations that write it and read it last."""
    lives: dict[Tensor, tuple[int, int]] = {}
    for number, operation in enumerate(self._operations):
      for x in operation.inputs:
        for root in self._roots(x):
          lives[root] = (lives[root][0], number)
      if operation.kind != USE and self.is_written(operation.output):
        lives[operation.output] = (number, number)
    return lives

  def _roots(self, x: Tensor) -> frozenset[Tensor]:
    """The tensors in memory from which x is computed when it is read; x itself if it is there."""
    if self.is_written(x):
      return frozenset([x])
    if x not in self._behind:
      self._behind[x] = frozenset().union(*(self._roots(y) for y in x.operation.inputs))
    return self._behind[x]

  def _passes_on(self, operation: Operation) -> bool:
    if operation.kind == RESHAPE:
      return not self._cuts.recut(operation.inputs[0].axes, operation.output.axes)
    return operation.kind == STOP


# Axes, dtype, and whether it is a dispatch tensor: tensors that are alike need the same memory under every layout.
Kind = tuple[Axes, str, bool]


class _Moments:
  """When tensors are made and freed before the optimizer, without the weights.

  kinds: of tensors
  changes: at each moment, the kinds of the tensors that are made, and of those that are freed after it
  """

  def __init__(self, step: Step, cuts: Cuts) -> None:
    operations = [o for o in step.graph.operations if o.section != OPTIMIZER]
    weights = {id(tensor) for tensor in step.graph.variables.values()}
    stay = {id(tensor) for tensor in step.gradients.values()}
    numbers: dict[Kind, int] = {}
    births: list[list[int]] = [[] for _ in operations]
    deaths: list[list[int]] = [[] for _ in operations]
    for tensor, (first, last) in Held(operations, cuts).lives().items():
      if id(tensor) not in weights:
        number = numbers.setdefault((tensor.axes, tensor.dtype, _is_dispatch(tensor)), len(numbers))
        births[first].append(number)
        deaths[-1 if id(tensor) in stay else last].append(number)
    self.kinds = list(numbers)
    self.changes = [(born, dead) for born, dead in zip(births, deaths, strict=True) if born or dead]


def fullest(step: Step, slicing: Slicing) -> tuple[int, int]:
  """(bytes, of them in dispatch) when most is alive before the optimizer, without the weights.

  Gradients of weights stay from where they are computed to the end, where they are added to those of the other
  microbatches or go to the optimizer.
  """
  moments = step.once(lambda cuts: _Moments(step, cuts), 'moments', slicing)
  sizes = [slicing.size(axes) * BYTES[dtype] for axes, dtype, _ in moments.kinds]
  in_dispatch = [size if kind[2] else 0 for size, kind in zip(sizes, moments.kinds, strict=True)]
  alive = dispatch = 0
  most = (0, 0)
  for born, dead in moments.changes:
    for kind in born:
      alive += sizes[kind]
      dispatch += in_dispatch[kind]
    if alive >= most[0]:
      most = max(most, (alive, dispatch))
    for kind in dead:
      alive -= sizes[kind]
      dispatch -= in_dispatch[kind]
  return most


def _makes(operation: Operation) -> bool:
  return operation.is_product or operation.kind in (SUM, MAX, RESHAPE, NOISE)


def _is_dispatch(tensor: Tensor) -> bool:
  """It holds slots of experts, or is a mask [group, experts, capacity]."""
  if tensor.operation.section == 'dispatch':
    return True
  return {'expert_unsplit', 'expert_capacity'} <= {name for name, _ in tensor.axes}
