"""Which tensors of a step are in a core's memory, and from which operation to which.

Operations run in the order of the graph. Element-wise ones are fused into what reads them, and gradients compute the
element-wise results of the forward pass again from what is in memory, as compilers do.
"""

from switch_zoo.planner.lowering import OPTIMIZER, Slicing
from switch_zoo.planner.step import Step
from switch_zoo.planner.tensors import BYTES, MAX, NOISE, RESHAPE, STOP, SUM, USE, Operation, Tensor


class Held:
  """Which tensors are in memory: results of products, sums and exchanges, and noise."""

  def __init__(self, operations: list[Operation], slicing: Slicing, with_operands: bool = False) -> None:
    """
    Args:
      operations: in the order in which they run
      slicing: of their tensors
      with_operands: what products read is in memory too, so that no element-wise operation is fused into a product
    """
    self._operations = operations
    self._slicing = slicing
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
      return self._slicing.offsets(operation.inputs[0].axes) == self._slicing.offsets(operation.output.axes)
    return operation.kind == STOP


def fullest(step: Step, slicing: Slicing) -> tuple[int, int]:
  """(bytes, of them in dispatch) when most is alive before the optimizer, without the weights.

  Gradients of weights stay from where they are computed to the end, where they are added to those of the other
  microbatches or go to the optimizer.
  """
  operations = [o for o in step.graph.operations if o.section != OPTIMIZER]
  weights = {id(tensor) for tensor in step.graph.variables.values()}
  stay = {id(tensor) for tensor in step.gradients.values()}
  births: list[list[Tensor]] = [[] for _ in operations]
  deaths: list[list[Tensor]] = [[] for _ in operations]
  for tensor, (first, last) in Held(operations, slicing).lives().items():
    if id(tensor) not in weights:
      births[first].append(tensor)
      deaths[-1 if id(tensor) in stay else last].append(tensor)
  alive = dispatch = 0
  most = (0, 0)
  size = lambda tensor: slicing.size(tensor.axes) * BYTES[tensor.dtype]
  for born, dead in zip(births, deaths, strict=True):
    alive += sum(map(size, born))
    dispatch += sum(size(t) for t in born if _is_dispatch(t))
    most = max(most, (alive, dispatch))
    alive -= sum(map(size, dead))
    dispatch -= sum(size(t) for t in dead if _is_dispatch(t))
  return most


def _makes(operation: Operation) -> bool:
  return operation.is_product or operation.kind in (SUM, MAX, RESHAPE, NOISE)


def _is_dispatch(tensor: Tensor) -> bool:
  """It holds slots of experts, or is a mask [group, experts, capacity]."""
  if tensor.operation.section == 'dispatch':
    return True
  return {'expert_unsplit', 'expert_capacity'} <= {name for name, _ in tensor.axes}
