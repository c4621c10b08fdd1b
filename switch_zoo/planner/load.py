"""A measured distribution of tokens over experts: which tokens a layout drops, and how full its cores are.

Experts have a fixed number of slots, and cores compute empty ones too: an uneven load costs tokens, not time.
"""

import dataclasses
import json
import math
import pathlib
import re
from collections.abc import Mapping, Sequence

from switch_zoo.errors import UserError
from switch_zoo.planner.search import Plan
from switch_zoo.spec import capacity
from switch_zoo.spec.config import ModelConfig

CHOICES = {'top1': 1, 'top2': 2}


@dataclasses.dataclass(frozen=True)
class Balance:
  """What becomes of the tokens of a feature, if each group of tokens is distributed as measured.

  dropped: share of the tokens' choices that find no slot
  filled: share of all slots with a token
  fullest, emptiest: the same share, of the core with the most and with the fewest
  enough: the capacity factor that would drop none
  """

  dropped: float
  filled: float
  fullest: float
  emptiest: float
  enough: float


def read(path: str, config: ModelConfig) -> list[float]:
  """The share of tokens of each expert.

  Args:
    path: numbers of tokens, or shares: a JSON list, or numbers separated by commas, spaces or line ends
    config: a model with experts
  Raises:
    UserError: a file that cannot be read, or that is not one number of at least 0 for each expert
  """
  if not config.num_experts:
    raise UserError(f'--load {path}: {config.name} has no experts. Leave out --load.')
  try:
    text = pathlib.Path(path).read_text(encoding='utf-8')
  except (OSError, UnicodeDecodeError) as error:
    raise UserError(f'--load {path} cannot be read: {error}. Give a file of one number for each expert.') from error
  values = _numbers(path, text)
  if len(values) != config.num_experts:
    raise UserError(
      f'--load {path} has {len(values)} numbers, and {config.name} has {config.num_experts} experts. Give the tokens '
      f'of each expert: {config.num_experts} numbers.'
    )
  if not all(value >= 0 and math.isfinite(value) for value in values) or not sum(values):
    raise UserError(f'--load {path}: the tokens of an expert are 0 or more, and not 0 for all. Correct the file.')
  return [value / sum(values) for value in values]


def balance(shares: Sequence[float], plan: Plan, config: ModelConfig, lengths: Mapping[str, int]) -> dict[str, Balance]:
  """Feature -> what becomes of its tokens in each layer with experts."""
  sequences = plan.sequences // plan.microbatches // plan.layout.outer_batch_size
  parts = plan.layout.parts('batch')
  balances = {}
  for feature, length in lengths.items():
    _, group = capacity.split_into_groups(sequences * length, config.group_size, parts)
    slots = capacity.expert_capacity(
      group, config.num_experts, config.capacity_factor_train, config.min_expert_capacity
    )
    choices = group * CHOICES[config.router]
    used = [min(choices * share, slots) for share in shares]
    cores = _by_core(used, plan.layout.parts('experts'))
    room = slots * len(shares) / len(cores)
    balances[feature] = Balance(
      dropped=1 - sum(used) / choices,
      filled=sum(cores) / room / len(cores),
      fullest=max(cores) / room,
      emptiest=min(cores) / room,
      enough=max(shares) * len(shares) * CHOICES[config.router],
    )
  return balances


def _by_core(used: Sequence[float], parts: int) -> list[float]:
  """Slots in use on each core that has other experts; experts are cut into runs of neighbours."""
  each = len(used) // parts
  return [sum(used[i : i + each]) for i in range(0, len(used), each)]


def _numbers(path: str, text: str) -> list[float]:
  try:
    if text.lstrip().startswith('['):
      values = json.loads(text)
    else:
      values = [part for part in re.split(r'[\s,]+', text) if part]
    return [float(value) for value in values]
  except (ValueError, TypeError) as error:
    raise UserError(f'--load {path}: {error}. Give one number for each expert, as in [1200, 800, 950].') from error
