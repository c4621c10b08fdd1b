"""The special ids of config.json and generation_config.json: the end of an answer is kept, others are refused."""

from collections.abc import Mapping
from typing import Any

from switch_zoo.checkpoints.huggingface import CONFIG, GENERATION
from switch_zoo.errors import UserError
from switch_zoo.spec.token_ids import END, PADDING

# Fields whose value is PADDING in every model here, and what each is.
FIXED_IDS = {'pad_token_id': 'padding', 'decoder_start_token_id': 'what the decoder reads first'}
EOS = 'eos_token_id'


def read_end_id(path: str, stated: Mapping[str, Any], generation: Mapping[str, Any]) -> int:
  """The id that ends an answer: that of generation_config.json if it states one, as in transformers.

  Args:
    path: the folder, for messages
    stated: the contents of config.json
    generation: the contents of generation_config.json
  Raises:
    UserError: special ids that cannot be kept
  """
  files = {CONFIG: stated, GENERATION: generation}
  for file, content in files.items():
    for field, meaning in FIXED_IDS.items():
      _check_fixed(f'{path}/{file}', field, content.get(field), meaning)
  ends = {file: _end(f'{path}/{file}', content[EOS]) for file, content in files.items() if _states_end(file, content)}
  if len(set(ends.values())) > 1:
    raise UserError(
      f'{path}/{CONFIG} says {EOS} = {ends[CONFIG]}, and {GENERATION} {ends[GENERATION]}. transformers ends answers '
      f'with the latter: write it in both files, if it is right.'
    )
  return next(iter(ends.values()), END)


def _states_end(file: str, content: Mapping[str, Any]) -> bool:
  # null in generation_config.json is what transformers writes for a value that is not set.
  return EOS in content and (file == CONFIG or content[EOS] is not None)


def _check_fixed(file: str, field: str, value: Any, meaning: str) -> None:
  if value not in (None, PADDING):
    raise UserError(
      f'{file} says {field} = {value}. {meaning.capitalize()} is {PADDING} in every model that switch_zoo runs, so the '
      f'results would be silently wrong. Use transformers for this model, or exchange the ids {PADDING} and '
      f'{value} in its vocabulary and in the rows of its embedding (and of lm_head).'
    )


def _end(file: str, value: Any) -> int:
  value = value[0] if isinstance(value, list) and len(value) == 1 else value
  if isinstance(value, int) and not isinstance(value, bool) and value > PADDING:
    return value
  raise UserError(
    f'{file} says {EOS} = {value}. An answer must end with one id, which is not that of padding ({PADDING}): state the '
    'one that the model was trained with.'
  )
