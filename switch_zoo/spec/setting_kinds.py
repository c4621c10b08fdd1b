"""What values the common settings of a run and the sizes of a model take, checked before anything is built.

A macro is checked by its name, and a parameter that is bound without its macro (utils.run.train_steps = 3) by its own.
References (@function) are left to gin.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from switch_zoo import number_format
from switch_zoo.errors import UserError, shown
from switch_zoo.spec.gin_files import REQUIRED, GinFiles, Macro, Reference


class ValueKind(NamedTuple):
  """A kind of value: what it must be, as a message says it, and the test."""

  words: str
  accepts: Callable[[Any], bool]


def _is_whole(value: Any) -> bool:
  return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
  return _is_whole(value) or (isinstance(value, float) and math.isfinite(value))


def _is_batch(value: Any) -> bool:
  return POSITIVE.accepts(value) or (
    isinstance(value, (tuple, list)) and len(value) == 2 and isinstance(value[0], str) and POSITIVE.accepts(value[1])
  )


def _are_steps(value: Any) -> bool:
  if isinstance(value, (tuple, list)):
    return bool(value) and all(COUNT.accepts(step) for step in value)
  return value is None or value == 'all' or (_is_whole(value) and value >= -1)


def _are_lengths(value: Any) -> bool:
  if isinstance(value, dict):
    return all(POSITIVE.accepts(length) for length in value.values())
  return value is None or POSITIVE.accepts(value)


def _are_names(value: Any) -> bool:
  names = [value] if isinstance(value, str) else value
  return isinstance(names, (tuple, list)) and bool(names) and all(isinstance(name, str) for name in names)


POSITIVE = ValueKind('a whole number above 0', lambda value: _is_whole(value) and value > 0)
COUNT = ValueKind('a whole number, 0 or more', lambda value: _is_whole(value) and value >= 0)
POSITIVE_OR_NONE = ValueKind('a whole number above 0, or None', lambda value: value is None or POSITIVE.accepts(value))
POSITIVE_OR_ALL = ValueKind(
  'a whole number above 0, or -1 for all', lambda value: value == -1 or POSITIVE.accepts(value)
)
SEED = ValueKind('a whole number, or None', lambda value: value is None or (_is_whole(value) and abs(value) < 1 << 63))
NUMBER = ValueKind('a number', _is_number)
ABOVE_0 = ValueKind('a number above 0', lambda value: _is_number(value) and value > 0)
ABOVE_0_OR_NONE = ValueKind(
  'a number above 0, or None', lambda value: value is None or (_is_number(value) and value > 0)
)
FROM_0 = ValueKind('a number, 0 or more', lambda value: _is_number(value) and value >= 0)
RATE = ValueKind('a number from 0 to below 1', lambda value: _is_number(value) and 0 <= value < 1)
SHARE = ValueKind('a number from 0 to 1', lambda value: _is_number(value) and 0 <= value <= 1)
FLAG = ValueKind('True or False', lambda value: isinstance(value, bool))
TEXT = ValueKind('text in quotes', lambda value: isinstance(value, str))
TEXT_OR_NONE = ValueKind('text in quotes, or None', lambda value: value is None or isinstance(value, str))
NAMES = ValueKind('a name in quotes, or a list of them', _are_names)
STEPS = ValueKind("'all', a step, a list of steps, or -1 for the newest", _are_steps)
BATCH = ValueKind("a number of sequences, or a method and a number such as ('tokens_per_batch', 65536)", _is_batch)
LENGTHS = ValueKind('a number of tokens for each feature, above 0', _are_lengths)
DTYPE = ValueKind(f'one of {", ".join(number_format.SETTINGS)}', lambda value: value in number_format.SETTINGS)
DTYPE_OR_NONE = ValueKind(f'{DTYPE.words}, or None', lambda value: value is None or DTYPE.accepts(value))
MESH = ValueKind(
  "text in quotes such as 'batch:4;model:2'", lambda value: value is None or isinstance(value, (str, list))
)

MACROS = {
  **dict.fromkeys(('TRAIN_STEPS', 'BATCH_SIZE', 'INPUTS_LENGTH', 'TARGETS_LENGTH', 'SAVE_STEPS'), POSITIVE),
  **dict.fromkeys(('NUM_BATCHES', 'BEAM_SIZE', 'NUM_RETURN_SEQUENCES'), POSITIVE),
  **dict.fromkeys(('NUM_EXAMPLES', 'EVAL_EXAMPLES', 'TOP_K'), POSITIVE_OR_ALL),
  **dict.fromkeys(('MIXTURE_NAME', 'SPLIT', 'EVAL_SPLIT'), TEXT),
  **dict.fromkeys(('INPUT_FILE', 'TARGET_FILE', 'OUTPUT_FILE', 'SCORES_FILE'), TEXT),
  **dict.fromkeys(('KEEP_CHECKPOINTS', 'PATIENCE'), POSITIVE_OR_NONE),
  **dict.fromkeys(('INIT_CHECKPOINT', 'BEST_METRIC'), TEXT_OR_NONE),
  **dict.fromkeys(('TEACHER_MODEL', 'INIT_FROM_TEACHER'), TEXT_OR_NONE),
  'TEACHER_CHECKPOINT': TEXT,
  'TEACHER_DTYPE': DTYPE_OR_NONE,
  'FRACTION_SOFT': SHARE,
  'DISTILL_START_STEP': COUNT,
  'SAVE_SECONDS': ABOVE_0_OR_NONE,
  'SEED': SEED,
  'EVAL_STEPS': STEPS,
  'LEARNING_RATE': FROM_0,
  'LENGTH_PENALTY': NUMBER,
  'TEMPERATURE': FROM_0,
  **dict.fromkeys(('d_model', 'd_ff', 'd_kv', 'num_heads', 'vocab_size', 'target_vocab_size'), POSITIVE),
  **dict.fromkeys(('num_encoder_layers', 'num_decoder_layers', 'layers_per_block'), POSITIVE),
  **dict.fromkeys(('num_experts', 'group_size', 'min_expert_capacity', 'expert_replicas'), POSITIVE),
  **dict.fromkeys(('dropout_rate', 'expert_dropout_rate'), RATE),
  **dict.fromkeys(('capacity_factor_train', 'capacity_factor_eval', 'expert_init_scale'), ABOVE_0),
  **dict.fromkeys(('balance_loss_coef', 'router_z_loss_coef'), FROM_0),
  **dict.fromkeys(('tied_embeddings', 'shared_embedding'), FLAG),
  'ff_activation': NAMES,
  'activation_dtype': DTYPE,
  'mesh_shape': MESH,
}
# Of 'configurable.parameter', whatever module or scope is written before it.
PARAMETERS = {
  'Student.fraction_soft': SHARE,
  'Student.temperature': ABOVE_0,
  'Student.start_step': COUNT,
  'run.train_steps': POSITIVE,
  'run.batch_size': BATCH,
  'run.sequence_length': LENGTHS,
  'run.save_checkpoints_steps': POSITIVE,
  'Saving.seconds': ABOVE_0_OR_NONE,
  'run.keep_checkpoint_max': POSITIVE_OR_NONE,
  'run.init_checkpoint': TEXT_OR_NONE,
  'run.eval_checkpoint_step': STEPS,
  'run.perplexity_eval_steps': POSITIVE,
  'run.mode': TEXT,
  'run.model_type': TEXT,
  'run.dataset_split': TEXT,
  'run.mesh_shape': MESH,
  'run.layout_rules': MESH,
  'MtfModel.mesh_shape': MESH,
  'MtfModel.layout_rules': MESH,
  'mesh_train_dataset_fn.seed': SEED,
}


def check(files: GinFiles) -> None:
  """Checks every setting of the tables that gin files bind.

  Raises:
    UserError: the first value of another kind, with its file and line
  """
  for key, binding in files.bindings.items():
    name = key.rpartition('/')[2]
    kind = MACROS.get(key) if '.' not in name else PARAMETERS.get('.'.join(name.split('.')[-2:]))
    # The macro itself is checked where it is bound.
    if kind is None or isinstance(binding.value, (Macro, Reference)):
      continue
    value = files.value(key)
    if not _has_references(value) and not kind.accepts(value):
      raise UserError(f'{binding.place}: {name} is {shown(value)}; it must be {kind.words}.')


def _has_references(value: Any) -> bool:
  if isinstance(value, dict):
    value = list(value.values())
  if isinstance(value, (list, tuple)):
    return any(map(_has_references, value))
  return isinstance(value, Reference) or (isinstance(value, Macro) and value.name == REQUIRED)
