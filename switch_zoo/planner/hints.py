"""What a plan wastes, and what makes a model fit."""

import dataclasses
import itertools
from collections.abc import Iterator, Mapping
from typing import Any

from switch_zoo.planner import cost
from switch_zoo.planner.hardware import CHIPS, GIB, Slice, slice_named
from switch_zoo.planner.search import Judge, Plan
from switch_zoo.spec import capacity
from switch_zoo.spec.config import ModelConfig

# A capacity this many times what the factor asks for is worth a word.
ROUNDED_UP = 2.0
HALF = 0.5
# Of the compiler's memory; what steps that were compiled whole needed more than the estimate, at most: docs/planner.md.
TOO_LOW = 0.14


def of_plan(plan: Plan, config: ModelConfig, target: Slice, lengths: Mapping[str, int]) -> list[str]:
  """Sentences on what this plan wastes, and whether it may not fit after all; [] if nothing stands out."""
  hints = []
  for feature, rounded in _rounding(plan, config, lengths).items():
    if rounded >= ROUNDED_UP:
      hints.append(
        f'Experts have {rounded:.1f} times the slots for {feature} that capacity_factor_train asks for: '
        f'min_expert_capacity={config.min_expert_capacity} is more than their share. A larger microbatch or group_size '
        'wastes less.'
      )
  experts_axis = plan.layout.mesh.get('batch', 1) if config.num_experts else 1
  if experts_axis > config.num_experts and 'experts' not in plan.layout.rules and config.num_experts:
    hints.append(
      f'The axis "batch" has {experts_axis} slices and the model {config.num_experts} experts, so every core holds all '
      f'of them. Replicas (outer:{experts_axis // config.num_experts};batch:{config.num_experts}) hold one each.'
    )
  share = plan.seconds[cost.EXCHANGE] / plan.total_seconds
  if share > HALF:
    hints.append(f'All-to-alls take {share:.0%} of the step. Fewer cores, or replicas of the experts, exchange less.')
  if plan.microbatches > 1 and plan.seconds[cost.REDUCTION] > HALF * plan.total_seconds:
    hints.append('All-reduces take most of the step. A larger batch, or a smaller model axis, needs fewer.')
  used = plan.memory.total
  if target.chip.name in CHIPS and used > (1 - TOO_LOW) * target.chip.limit:
    hints.append(
      f'{used / GIB:.1f} of {target.chip.limit / GIB:.1f} GiB may not fit: such estimates were up to {TOO_LOW:.0%} too '
      'low. Ask the compiler with `switch_zoo compile`, or use a smaller microbatch.'
    )
  return hints


def _rounding(plan: Plan, config: ModelConfig, lengths: Mapping[str, int]) -> dict[str, float]:
  """Feature -> slots of an expert over those that the capacity factor gives."""
  if not config.num_experts:
    return {}
  rounding = {}
  sequences = plan.sequences // plan.microbatches // plan.layout.outer_batch_size
  for feature, length in lengths.items():
    _, size = capacity.split_into_groups(sequences * length, config.group_size, plan.layout.parts('batch'))
    slots = capacity.expert_capacity(size, config.num_experts, config.capacity_factor_train, config.min_expert_capacity)
    rounding[feature] = slots * config.num_experts / (size * config.capacity_factor_train)
  return rounding


def changes_that_fit(
  config: ModelConfig, target: Slice, sequences: int, lengths: Mapping[str, int], number: int = 3
) -> list[str]:
  """The smallest changes that make a model fit, at most `number`, the least intrusive first.

  Each is tried alone: fewer sequences, shorter ones, fewer slots, a larger slice, a chip with more memory, fewer
  experts.
  """
  tries = itertools.chain(
    _batches(target, sequences), _lengths(lengths), _factors(config), _slices(target), _chips(target), _experts(config)
  )
  changes: dict[str, str] = {}
  for kind, text, change in tries:
    if kind not in changes and _fits(config, target, sequences, lengths, **change):
      changes[kind] = text
    if len(changes) == number:
      break
  return list(changes.values())


_Try = tuple[str, str, dict[str, Any]]


def _fits(
  config: ModelConfig,
  target: Slice,
  sequences: int,
  lengths: Mapping[str, int],
  wider: Slice | None = None,
  shorter: Mapping[str, int] | None = None,
  fewer: int = 0,
  settings: Mapping[str, Any] | None = None,
) -> bool:
  target = wider or target
  changed = dataclasses.replace(config, **settings) if settings else config
  sequences = fewer or max(sequences, target.cores if wider else 1)
  return Judge(changed, target, sequences, shorter or lengths).fits()


def _batches(target: Slice, sequences: int) -> Iterator[_Try]:
  """The closest multiple of the cores, then halves."""
  below, above = sequences // target.cores * target.cores, -(-sequences // target.cores) * target.cores
  near = sorted({below, above} - {0, sequences}, key=lambda size: abs(size - sequences))
  halves = [sequences >> i for i in range(1, sequences.bit_length()) if not (sequences >> i) % target.cores]
  for size in [*near, *halves]:
    yield 'batch', f'--batch {size}', {'fewer': size}


def _lengths(lengths: Mapping[str, int]) -> Iterator[_Try]:
  for divisor in (2, 4):
    shorter = {name: max(1, length // divisor) for name, length in lengths.items()}
    yield 'lengths', f'--lengths {",".join(map(str, shorter.values()))}', {'shorter': shorter}


def _factors(config: ModelConfig) -> Iterator[_Try]:
  if config.num_experts and config.capacity_factor_train > 1:
    yield 'capacity', 'capacity_factor_train = 1.0', {'settings': {'capacity_factor_train': 1.0}}


def _slices(target: Slice) -> Iterator[_Try]:
  if target.chip.name not in CHIPS:  # This computer has no larger slice.
    return
  for number in sorted(target.chip.slices):
    wider = slice_named(f'{target.chip.name}-{number}')
    if wider.cores > target.cores:
      yield 'slice', f'--slice {wider.name}', {'wider': wider}


def _chips(target: Slice) -> Iterator[_Try]:
  """Slices of as many cores, of chips whose cores have more memory."""
  for chip in sorted(CHIPS.values(), key=lambda chip: chip.limit):
    names = [f'{chip.name}-{number}' for number in chip.slices]
    for wider in map(slice_named, names):
      if chip.limit > target.chip.limit and wider.cores == target.cores:
        yield 'chip', f'--slice {wider.name}', {'wider': wider}


def _experts(config: ModelConfig) -> Iterator[_Try]:
  number = config.num_experts // 2
  while number > 1:
    yield 'experts', f'num_experts = {number}', {'settings': {'num_experts': number}}
    number //= 2
