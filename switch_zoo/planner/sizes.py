"""The sizes of a step that follow from its batch and its layout, not from the model; and placeholders for them."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from switch_zoo.spec import capacity
from switch_zoo.spec.capacity import Groups
from switch_zoo.spec.config import ModelConfig
from switch_zoo.spec.sublayers import DENSE, ENC_DEC_ATTENTION, SELF_ATTENTION


class Sizes(NamedTuple):
  """The sizes of a step's axes that are not the model's.

  outer: replicas of the experts
  batch: sequences of each
  lengths: tokens of a sequence of inputs and of targets
  groups: how a replica's tokens of each are routed; None in a stack without experts
  """

  outer: int
  batch: int
  lengths: tuple[int, int]
  groups: tuple[Groups | None, Groups | None]

  def flat(self) -> list[int]:
    """All of them, in order."""
    return [self.outer, self.batch, *self.lengths, *(size for group in self.groups for size in group or ())]


def of_step(
  config: ModelConfig, sequences: int, lengths: Mapping[str, int], outer_batch_size: int = 1, batch_parts: int = 1
) -> Sizes:
  """The sizes of a step.

  Args: as `step.build`

  Raises:
    UserError: tokens that cannot be grouped
  """
  batch = sequences // outer_batch_size
  inputs, targets = lengths['inputs'], lengths['targets']
  stacks = (config.encoder_block, inputs), (config.decoder_block, targets)
  groups = tuple(
    _groups(config, batch * length, batch_parts) if _is_sparse(block) else None for block, length in stacks
  )
  return Sizes(outer_batch_size, batch, (inputs, targets), (groups[0], groups[1]))


def placed(config: ModelConfig, sizes: Sizes) -> dict[int, int]:
  """Placeholder -> the size of a step."""
  return dict(zip(placeholders(config).flat(), sizes.flat(), strict=True))


def placeholders(config: ModelConfig) -> Sizes:
  """Negative numbers, so that none is a size of the model."""
  inputs, targets = (_is_sparse(block) for block in (config.encoder_block, config.decoder_block))
  return Sizes(-1, -2, (-3, -4), (Groups(-5, -6, -7) if inputs else None, Groups(-8, -9, -10) if targets else None))


def _is_sparse(block: Iterable[str]) -> bool:
  return not {DENSE, SELF_ATTENTION, ENC_DEC_ATTENTION}.issuperset(block)


def _groups(config: ModelConfig, tokens: int, batch_parts: int) -> Groups:
  number, size = capacity.split_into_groups(tokens, config.group_size, batch_parts)
  factor, minimum = config.capacity_factor_train, config.min_expert_capacity
  return Groups(number, size, capacity.expert_capacity(size, config.num_experts, factor, minimum))
