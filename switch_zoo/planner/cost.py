"""The time of a training step on a slice: one small function for each physical effect, with its constant.

The constants of a chip are in `hardware`. Those here are shares of what a chip could do, fitted on published times;
which ones, and how far the others are off, is in docs/planner.md and printed by benchmarks/planner.py.
"""

import dataclasses
import math
from collections.abc import Sequence

from switch_zoo.planner.hardware import Chip, Slice
from switch_zoo.planner.lowering import ALL_TO_ALL, Collective, Lowered
from switch_zoo.spec.layouts import Layout

# Share of a chip's peak that large matrix products reach. Fitted: GShard, arXiv:2006.16668, figure 8, the dense
# feed-forward layers and projections (roofline over measured time); 85 percent by the paper's own words.
PRODUCT_SHARE = 0.845
# Share of the links' rate that an all-to-all reaches. Fitted: the same figure, 128 and 2048 experts.
ALL_TO_ALL_SHARE = 0.41
# Share of the links' rate that an all-reduce reaches. Not fitted: no published time isolates it. Taken from
# all-to-alls.
ALL_REDUCE_SHARE = 0.41
# Share of the memory's rate that element-wise work reaches. Fitted: T5-Base in arXiv:2101.03961, table 1.
MEMORY_SHARE = 0.53
# A slice whose sides are not rings has half of the paths.
WITHOUT_RING = 2

MATMULS, ATTENTION, ROUTING, OPTIMIZER, REST = 'matmuls', 'attention', 'routing', 'optimizer', 'memory-bound rest'
EXCHANGE, REDUCTION = 'all-to-all', 'all-reduce'
CAUSES = (MATMULS, ATTENTION, ROUTING, EXCHANGE, REDUCTION, OPTIMIZER, REST)
# Section of a graph -> cause.
CAUSE_OF_SECTION = {
  'projections': MATMULS, 'feed-forward': MATMULS, 'experts': MATMULS, 'embedding': MATMULS, 'logits': MATMULS,
  'attention': ATTENTION, 'routing': ROUTING, 'dispatch': ROUTING, 'optimizer': OPTIMIZER,
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Work:
  """What one core does in one step, microbatches included.

  lowered: of one microbatch
  traffic: section -> bytes of one microbatch between core and memory, except those of matrix products' time
  microbatches: of a step
  """

  lowered: Lowered
  traffic: dict[str, int]
  microbatches: int = 1


def product_seconds(multiplications: int, chip: Chip) -> float:
  """A matrix product: operations over the rate that products reach."""
  return 2 * multiplications / (chip.flops * PRODUCT_SHARE)


def memory_seconds(size: int, chip: Chip) -> float:
  """Element-wise work: bytes over the rate that it reaches."""
  return size / (chip.bandwidth * MEMORY_SHARE)


def mean_hops(sides: Sequence[int], wrap: int) -> float:
  """Links between two chips, on average over all pairs, a chip and itself included. [hops]

  >>> mean_hops([4, 4], wrap=32), mean_hops([32, 32], wrap=32)
  (2.5, 16.0)
  """
  return sum(side / 4 if _is_ring(side, wrap) else (side * side - 1) / (3 * side) for side in sides)


def directed_links(sides: Sequence[int], wrap: int) -> float:
  """Links of a slice, each way counted: what all its chips together can send through."""
  chips = math.prod(sides)
  return sum(2 * chips * (1 if _is_ring(side, wrap) else 1 - 1 / side) for side in sides)


def all_to_all_seconds(size: int, group: Slice, inside: Sequence[int]) -> float:
  """Each core sends a part of `size` bytes to each other core: bytes x hops over the rate of all links.

  Args:
    size: of one core's operand
    group: the slice
    inside: sides of the box of chips within which cores exchange
  """
  chip = group.chip
  cores = math.prod(inside) * chip.cores
  hops, links = mean_hops(inside, chip.wrap), directed_links(inside, chip.wrap)
  return cores * size * hops / (links * chip.link * ALL_TO_ALL_SHARE) if links else 0.0


def all_reduce_seconds(size: int, group: Slice, inside: Sequence[int]) -> float:
  """A ring in every direction of the box: each link carries its part of the bytes twice.

  Args: as `all_to_all_seconds`
  """
  chip = group.chip
  long = [side for side in inside if side > 1]
  if not long:
    return 0.0
  chips = math.prod(long)
  rate = 2 * len(long) * chip.link * ALL_REDUCE_SHARE
  rings = 1 if all(_is_ring(side, chip.wrap) for side in long) else WITHOUT_RING
  return 2 * (chips - 1) / chips * size * rings / rate


def box(axes: Sequence[str], layout: Layout, group: Slice) -> tuple[int, ...]:
  """The sides of the chips that exchange along axes of the mesh; the mesh's last axis is laid on neighbours.

  A group of the last axis is a box of its own. Groups of an outer axis are spread over the slice, and share its links
  with the others: as if the whole slice exchanged.
  """
  names = list(layout.mesh)
  if list(axes) == names[-1:]:
    return _inner_box(group.sides, max(1, layout.mesh[names[-1]] // group.chip.cores))
  return group.sides


def _inner_box(sides: Sequence[int], chips: int) -> tuple[int, ...]:
  """A box of this many chips within `sides`, as cubic as it goes."""
  chosen = [1] * len(sides)
  while math.prod(chosen) < chips:
    room = [i for i, side in enumerate(sides) if chosen[i] < side]
    if not room:
      break
    smallest = min(room, key=lambda i: (chosen[i], i))
    chosen[smallest] = min(sides[smallest], chosen[smallest] * 2)
  return tuple(chosen)


def _is_ring(side: int, wrap: int) -> bool:
  return side >= wrap and side > 1


def collective_seconds(collective: Collective, layout: Layout, group: Slice) -> float:
  """One exchange."""
  inside = box(collective.axes, layout, group)
  seconds = all_to_all_seconds if collective.kind == ALL_TO_ALL else all_reduce_seconds
  return seconds(collective.bytes, group, inside)


def step_seconds(work: Work, layout: Layout, group: Slice) -> dict[str, float]:
  """Cause -> seconds of a step; they add up, because Mesh-TensorFlow's exchanges wait for what they send."""
  seconds: dict[str, float] = dict.fromkeys(CAUSES, 0.0)
  repeats = lambda section: 1 if section == 'optimizer' else work.microbatches
  for product in work.lowered.products:
    if product.contracted:
      cause = CAUSE_OF_SECTION.get(product.section, REST)
      seconds[cause] += product_seconds(product.multiplications, group.chip) * repeats(product.section)
  for section, size in work.traffic.items():
    cause = CAUSE_OF_SECTION.get(section, REST)
    cause = REST if cause == MATMULS else cause
    seconds[cause] += memory_seconds(size, group.chip) * repeats(section)
  for collective in work.lowered.collectives:
    cause = EXCHANGE if collective.kind == ALL_TO_ALL else REDUCTION
    times = 1 if collective.gradient else repeats(collective.section)
    seconds[cause] += collective_seconds(collective, layout, group) * times
  return seconds
