"""What a plan wastes, and what makes a model fit."""

from collections.abc import Mapping

from switch_zoo.planner import cost
from switch_zoo.planner.hardware import CHIPS, Slice, slice_named
from switch_zoo.planner.search import Judge, Plan
from switch_zoo.spec import capacity
from switch_zoo.spec.config import ModelConfig

# A capacity this many times what the factor asks for is worth a word.
ROUNDED_UP = 2.0
HALF = 0.5


def of_plan(plan: Plan, config: ModelConfig, lengths: Mapping[str, int]) -> list[str]:
  """Sentences on what this plan wastes; [] if nothing stands out."""
  hints = []
  for feature, rounded in _rounding(plan, config, lengths).items():
    if rounded >= ROUNDED_UP:
      hints.append(
        f'Experts have {rounded:.1f} times the slots for {feature} that capacity_factor_train asks for: '
        f'min_expert_capacity={config.min_expert_capacity} is more than their share. A larger microbatch or group_size '
        'wastes less.'
      )
  share = plan.seconds[cost.EXCHANGE] / plan.total_seconds
  if share > HALF:
    hints.append(f'All-to-alls take {share:.0%} of the step. Fewer cores, or replicas of the experts, exchange less.')
  if plan.microbatches > 1 and plan.seconds[cost.REDUCTION] > HALF * plan.total_seconds:
    hints.append('All-reduces take most of the step. A larger batch, or a smaller model axis, needs fewer.')
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


def larger_slice(config: ModelConfig, target: Slice, sequences: int, lengths: Mapping[str, int]) -> str | None:
  """The smallest larger slice of the same chip on which the model fits with at least one sequence a core."""
  chip = CHIPS[target.chip.name]
  for number in sorted(chip.slices):
    wider = slice_named(f'{chip.name}-{number}')
    if wider.cores > target.cores and Judge(config, wider, max(sequences, wider.cores), lengths).fits():
      return wider.name
  return None
