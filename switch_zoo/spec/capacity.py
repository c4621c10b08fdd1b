"""Sizes of routing groups and numbers of expert slots, as plain integers, and their defaults. No graph is needed."""

from typing import NamedTuple

from switch_zoo.errors import UserError

# The most tokens routed together, and the slots of an expert: factor * tokens of a group / experts, but at least the
# minimum. The factors are those of arXiv:2101.03961, the rest those of the released layer.
GROUP_SIZE = 1024
FACTOR_TRAIN = 1.25
FACTOR_EVAL = 2.0
MIN_CAPACITY = 4


class Groups(NamedTuple):
  """How the tokens of one replica are grouped.

  number: groups
  size: tokens in a group
  slots: places that one expert has for the tokens of one group
  """

  number: int
  size: int
  slots: int


def split_into_groups(num_tokens: int, group_size: int, mesh_size: int = 1) -> tuple[int, int]:
  """(number, size) of the largest equal groups of at most `group_size` tokens, the number a multiple of `mesh_size`.

  With fewer than `group_size` tokens per mesh slice there is one group per slice. The released layer silently
  shrinks groups to the next divisor, down to one token for a prime number of tokens; here groups smaller than half of
  what they could be are an error.

  >>> split_into_groups(4096, 1024, mesh_size=2)
  (4, 1024)
  >>> split_into_groups(96, 1024, mesh_size=2)
  (2, 48)

  Raises:
    UserError: the tokens cannot be split into such groups
  """
  if group_size < 1:
    raise UserError(
      f'group_size={group_size}: a routing group must hold at least one token. Use a positive group_size.'
    )
  if num_tokens % mesh_size:
    raise UserError(
      f'{num_tokens} tokens do not divide evenly among the {mesh_size} slices of the mesh axis that splits the batch. '
      f'Use a batch that is a multiple of {mesh_size}, or a layout with a smaller batch axis.'
    )
  per_slice = num_tokens // mesh_size
  largest = min(group_size, per_slice)
  size = next(s for s in range(largest, 0, -1) if per_slice % s == 0)
  if 2 * size < largest:
    raise UserError(
      f'group_size={group_size}: the {per_slice} tokens of a mesh slice divide into equal groups of {size} at '
      f'most, and groups that small would drop tokens for no reason. Use a batch size and lengths with more '
      f'divisors, or group_size={per_slice} for one group per slice.'
    )
  return num_tokens // size, size


def expert_capacity(group_size: int, num_experts: int, factor: float, minimum: int = 1) -> int:
  """Slots one expert offers to one group: tokens / experts * factor, at least `minimum`, never more than tokens.

  Source: arXiv:2101.03961, equation 3; rounded down as the released layer does. `minimum` wins over the factor:
  1,024 tokens, 2,048 experts and a minimum of 4 give an effective factor of 8.

  >>> expert_capacity(1024, 8, 1.25)
  160
  """
  return min(group_size, max(minimum, int(group_size * factor / num_experts)))
