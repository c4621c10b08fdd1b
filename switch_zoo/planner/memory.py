"""The memory of one core: exact for what a step keeps, an estimate for what it makes on the way.

Weights and what Adafactor keeps are the program's arguments, and follow from the layout to the byte. Activations are
those tensors of a microbatch that live at the same time, if operations run in the order of the graph and the compiler
fuses element-wise operations into what reads them. The compiler may find a better order or need copies:
`Memory.activations` is an estimate.
"""

import dataclasses
import math

from switch_zoo.planner import optimizer
from switch_zoo.planner.lowering import Slicing
from switch_zoo.planner.step import Step
from switch_zoo.planner.tensors import (
  BYTES,
  MAX,
  NOISE,
  RESHAPE,
  STOP,
  SUM,
  USE,
  Operation,
  Tensor,
)
from switch_zoo.spec.config import ModelConfig
from switch_zoo.spec.layouts import Layout

FLOAT32_BYTES = 4


@dataclasses.dataclass(frozen=True)
class Memory:
  """Bytes of one core.

  weights, optimizer: float32, exact
  gradients: the sums over microbatches, in the dtype of the activations; 0 for one microbatch, which keeps none
  activations: what lives at the fullest moment of a microbatch
  dispatch: the part of activations in dispatch tensors [group, experts, capacity] and the slots of experts
  """

  weights: int
  optimizer: int
  gradients: int
  activations: int
  dispatch: int

  @property
  def total(self) -> int:
    """What a program needs: the dispatch tensors are among the activations."""
    return self.weights + self.optimizer + self.gradients + self.activations


def weights(config: ModelConfig, layout: Layout) -> int:
  """Bytes of a core's weights, float32."""
  return FLOAT32_BYTES * sum(_share(tuple(axes.items()), layout) for axes in config.variables.values())


def optimizer_state(config: ModelConfig, layout: Layout) -> int:
  """Bytes of what Adafactor keeps on a core, float32."""
  return FLOAT32_BYTES * sum(
    _share(slot, layout) for axes in config.variables.values() for slot in optimizer.slots(tuple(axes.items()))
  )


def of_step(config: ModelConfig, layout: Layout, step: Step, microbatches: int = 1) -> Memory:
  """The memory of a core.

  Args:
    config: the model
    layout: it fits the model
    step: of one microbatch
    microbatches: of a step
  """
  slicing = Slicing(layout)
  gradients = sum(slicing.size(g.axes) * BYTES[g.dtype] for g in step.gradients.values()) if microbatches > 1 else 0
  activations, dispatch = _fullest(step, slicing)
  return Memory(weights(config, layout), optimizer_state(config, layout), gradients, activations, dispatch)


def _share(axes: tuple[tuple[str, int], ...], layout: Layout) -> int:
  return math.prod(size // layout.parts(name) for name, size in axes)


def traffic(step: Step, layout: Layout) -> dict[str, int]:
  """Section -> bytes that a core reads from and writes to its memory, if element-wise operations are fused.

  Each tensor in memory is written once, and read once by each operation that takes it, matrix products excepted: those
  read while they compute.
  """
  slicing = Slicing(layout)
  held = _Held(step.graph.operations, slicing)
  moved: dict[str, int] = {}
  for operation in step.graph.operations:
    if operation.is_product or held.renames(operation):
      continue
    tensors = {x for x in operation.inputs if held.is_written(x)}
    if operation.kind != USE and held.is_written(operation.output):
      tensors.add(operation.output)
    size = sum(slicing.size(t.axes) * BYTES[t.dtype] for t in tensors)
    moved[operation.section] = moved.get(operation.section, 0) + size
  return moved


def _fullest(step: Step, slicing: Slicing) -> tuple[int, int]:
  """(bytes, of them in dispatch) when most is alive, without weights and gradients, before the optimizer."""
  operations = [o for o in step.graph.operations if o.section != 'optimizer']
  held = _Held(operations, slicing)
  kept = {id(t) for t in (*step.graph.variables.values(), *step.gradients.values())}
  births: list[list[Tensor]] = [[] for _ in operations]
  deaths: list[list[Tensor]] = [[] for _ in operations]
  for tensor, (first, last) in held.lives().items():
    if id(tensor) not in kept:
      births[first].append(tensor)
      deaths[last].append(tensor)
  alive = dispatch = 0
  fullest = (0, 0)
  size = lambda tensor: slicing.size(tensor.axes) * BYTES[tensor.dtype]
  for born, dead in zip(births, deaths, strict=True):
    alive += sum(map(size, born))
    dispatch += sum(size(t) for t in born if t.operation.section == 'dispatch' or _is_mask(t))
    fullest = max(fullest, (alive, dispatch))
    alive -= sum(map(size, dead))
    dispatch -= sum(size(t) for t in dead if t.operation.section == 'dispatch' or _is_mask(t))
  return fullest


def _is_mask(tensor: Tensor) -> bool:
  return {'expert_unsplit', 'expert_capacity'} <= {name for name, _ in tensor.axes}


class _Held:
  """Which tensors are in memory: results of products, sums and exchanges, what products read, and noise.

  Gradients compute element-wise results of the forward pass again from these, as compilers do.
  """

  def __init__(self, operations: list[Operation], slicing: Slicing) -> None:
    self._operations = operations
    self._slicing = slicing
    self._renaming = {o for o in operations if self._passes_on(o)}
    self._written = {o.output for o in operations if self._makes(o)}
    for operation in operations:
      if operation.is_product:
        self._written.update(operation.inputs)
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

  def _makes(self, operation: Operation) -> bool:
    return operation.is_product or operation.kind in (SUM, MAX, RESHAPE, NOISE)

  def _passes_on(self, operation: Operation) -> bool:
    if operation.kind == RESHAPE:
      return self._slicing.offsets(operation.inputs[0].axes) == self._slicing.offsets(operation.output.axes)
    return operation.kind == STOP
