"""Room for a number of tokens of each sequence in an expert, as transformers has it; by default there is room for all.

R rows, the tokens of several sequences one after the other  E experts
"""

import tensorflow as tf

from switch_zoo.errors import UserError
from switch_zoo.keras.sparse import NO_EXPERT
from switch_zoo.spec.config import ModelConfig

NO_LIMIT, CHECKPOINT = 'none', 'checkpoint'
# None is NO_LIMIT.
CapacitySetting = int | str | None


def chosen_capacity(setting: CapacitySetting, config: ModelConfig) -> int | None:
  """The tokens of a sequence that an expert has room for; None: all.

  Args:
    setting: a number, or CHECKPOINT for that of `config`; NO_LIMIT or None for room for all
    config: the model
  Raises:
    UserError: a setting that makes no sense for the model
  """
  if setting in (None, NO_LIMIT):
    return None
  if config.experts_per_token != 1:
    raise UserError(
      f'expert_capacity={setting} is for models whose tokens go to one expert each, as in transformers; {config.name} '
      f'{"sends them to several" if config.num_experts else "has no experts"}. Leave it out.'
    )
  if setting == CHECKPOINT and not config.expert_capacity:
    raise UserError(
      f'expert_capacity={CHECKPOINT}: nothing states a number for {config.name}; the config.json of a Hugging Face '
      f'checkpoint does. Give a number, or {NO_LIMIT} for room for all tokens.'
    )
  number = config.expert_capacity if setting == CHECKPOINT else setting
  if not str(number).isdecimal() or int(number) < 1:
    raise UserError(
      f'expert_capacity={setting}: give a number of tokens of at least 1, {CHECKPOINT} for the number that the '
      f'checkpoint states, or {NO_LIMIT} for room for all.'
    )
  return int(number)


def with_room(expert: tf.Tensor, first: tf.Tensor, num_experts: int, capacity: int) -> tf.Tensor:
  """The experts of tokens, NO_EXPERT for those that come after the first `capacity` of their sequence and expert.

  Args:
    expert: <int32>[R]
    first: <int32>[R], the row in which the sequence of each row begins
    num_experts: E
    capacity: tokens
  Returns:
    <int32>[R]
  """
  chosen = tf.one_hot(expert, num_experts, dtype=tf.int32)
  before = tf.cumsum(chosen, 0, exclusive=True)  # Shape: [R, E]
  position = tf.reduce_sum((before - tf.gather(before, first)) * chosen, 1)
  return tf.where(position < capacity, expert, NO_EXPERT)
