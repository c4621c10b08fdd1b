"""The memory of one core: exact for what a step keeps, an estimate for what it makes on the way.

Weights and what Adafactor keeps are the program's arguments, and follow from the layout to the byte. The rest is one
function for each thing that the TPU's compiler was seen to keep; docs/planner.md compares the sums with that
compiler's.
"""

import collections
import dataclasses
import math

from switch_zoo.planner import lives, optimizer
from switch_zoo.planner.slicing import Cuts, Slicing
from switch_zoo.planner.step import Step
from switch_zoo.planner.tensors import BYTES, FLOAT32, USE, Axes
from switch_zoo.spec.config import ModelConfig
from switch_zoo.spec.layouts import Layout

FLOAT32_BYTES = 4
# Machine code of one matrix product, with its share of the operations around it. Fitted: what libtpu 0.0.42.1 reports
# for T5-Small, Switch-Base-8 with 4 layers a stack and Switch-Base-128 is 0.12 to 0.34 MiB for each of their products.
CODE_BYTES = 0.23 * 2**20


@dataclasses.dataclass(frozen=True)
class Memory:
  """Bytes of one core.

  weights, optimizer: float32, exact
  copies: the weights in the dtype of the activations with a loop over microbatches, see `weight_copies`; without one,
    of the largest weight only, see `largest_update`
  gradients: the sums over microbatches, see `gradient_sums`
  activations: what lives at the fullest moment of a microbatch, its own gradients included
  dispatch: the part of activations in dispatch tensors [group, experts, capacity] and the slots of experts
  code: the program
  """

  weights: int
  optimizer: int
  copies: int
  gradients: int
  activations: int
  dispatch: int
  code: int

  @property
  def total(self) -> int:
    """What a program needs: the dispatch tensors are among the activations."""
    return self.weights + self.optimizer + self.copies + self.gradients + self.activations + self.code


def weights(config: ModelConfig, layout: Layout) -> int:
  """Bytes of a core's weights, float32."""
  return FLOAT32_BYTES * sum(_share(tuple(axes.items()), layout) for axes in config.variables.values())


def optimizer_state(config: ModelConfig, layout: Layout) -> int:
  """Bytes of what Adafactor keeps on a core, float32."""
  return FLOAT32_BYTES * sum(
    _share(slot, layout) for axes in config.variables.values() for slot in optimizer.slots(tuple(axes.items()))
  )


def weight_copies(step: Step, slicing: Slicing) -> int:
  """Bytes of the weights in another dtype than float32, as the layers read them.

  A loop over microbatches is given them converted, so that no turn has to; without a loop they are converted inside the
  products that read them. Source: the state of the loop in the program that libtpu made of T5-Small with one layer a
  stack.
  """
  return sum(slicing.size(v.axes) * BYTES[v.dtype] for v in step.graph.variables.values() if v.dtype != FLOAT32)


def largest_update(step: Step, slicing: Slicing) -> int:
  """Bytes of a second copy of the largest weight as layers read it, and of its update in float32.

  Source: without a loop, what libtpu reports of Switch-Base-128 with 2 layers a stack and of Switch-C with 3 layers and
  32 experts exceeds what lives at the fullest moment of its program by this, within 5 MiB.
  """
  sizes = [slicing.size(v.axes) * (BYTES[v.dtype] + FLOAT32_BYTES) for v in step.graph.variables.values()]
  return max(sizes)


def gradient_sums(step: Step, slicing: Slicing) -> int:
  """Bytes of the sums of gradients over microbatches, in their dtype. Source: the state of the loop in that program."""
  return sum(slicing.size(gradient.axes) * BYTES[gradient.dtype] for gradient in step.gradients.values())


def code(step: Step) -> int:
  """Bytes of the program. The loop over microbatches contains one of them."""
  return round(CODE_BYTES * step.number_of_products)


def of_step(
  config: ModelConfig, layout: Layout, step: Step, microbatches: int = 1, slicing: Slicing | None = None
) -> Memory:
  """The memory of a core.

  Args:
    config: the model
    layout: it fits the model
    step: of one microbatch
    microbatches: of a step
    slicing: of the layout, with the sizes of a template; None: those of the step
  """
  slicing = slicing or Slicing(layout)
  in_a_loop = microbatches > 1
  activations, dispatch = lives.fullest(step, slicing)
  return Memory(
    weights=weights(config, layout),
    optimizer=optimizer_state(config, layout),
    copies=weight_copies(step, slicing) if in_a_loop else largest_update(step, slicing),
    gradients=gradient_sums(step, slicing) if in_a_loop else 0,
    activations=activations,
    dispatch=dispatch,
    code=code(step),
  )


def _share(axes: tuple[tuple[str, int], ...], layout: Layout) -> int:
  return math.prod(size // layout.parts(name) for name, size in axes)


_Moved = dict[str, collections.Counter[tuple[Axes, str]]]


def traffic(step: Step, slicing: Slicing) -> dict[str, int]:
  """Section -> bytes that a core reads from and writes to its memory, if element-wise operations are fused.

  Each tensor in memory is written once, and read once by each operation that takes it, matrix products excepted: those
  read while they compute. Operands of products count as written: `cost.MEMORY_SHARE` was fitted with them.
  """
  moved = step.once(lambda cuts: _moved(step, cuts), 'moved', slicing)
  return {
    section: sum(slicing.size(axes) * BYTES[dtype] * number for (axes, dtype), number in tensors.items())
    for section, tensors in moved.items()
  }


def _moved(step: Step, cuts: Cuts) -> _Moved:
  """Section -> how many tensors of which axes and dtypes its operations read and write."""
  held = lives.Held(step.graph.operations, cuts, with_operands=True)
  moved: _Moved = {}
  for operation in step.graph.operations:
    if operation.is_product or held.renames(operation):
      continue
    tensors = {x for x in operation.inputs if held.is_written(x)}
    if operation.kind != USE and held.is_written(operation.output):
      tensors.add(operation.output)
    counts = moved.setdefault(operation.section, collections.Counter())
    for tensor in tensors:
      counts[tensor.axes, tensor.dtype] += 1
  return moved
