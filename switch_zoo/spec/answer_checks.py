"""What settings of an answer may be, for every program that answers. The errors say what a value would mean."""

import math
from typing import Any

from switch_zoo.errors import UserError


def check_beam(size: int, early_stopping: bool | str = False) -> None:
  """Raises UserError for a beam search that makes no sense."""
  if size < 1:
    raise UserError(f'beam size {size} must be at least 1.')
  if early_stopping not in (True, False, 'never'):
    raise UserError(f"early_stopping={early_stopping!r} must be True, False or 'never'.")


def check_sampling(temperature: float, top_k: int, top_p: float) -> None:
  """Raises UserError for a way to draw tokens that makes no sense."""
  if temperature < 0:
    raise UserError(f'temperature={temperature} must be 0 (the most likely token) or above.')
  if top_k < 0:
    raise UserError(f'top_k={top_k} must be 0 (all tokens) or above.')
  if not 0 < top_p <= 1:
    raise UserError(f'top_p={top_p} must be above 0 and at most 1 (all tokens).')


def check_processors(
  repetition_penalty: float,
  no_repeat_ngram_size: int,
  min_new_tokens: int,
  forced_bos_token_id: int | None,
  max_new_tokens: int | None,
) -> None:
  """Raises UserError for logits processors that make no sense; max_new_tokens None: not known."""
  if not 0 < repetition_penalty < math.inf:
    raise UserError(
      f'repetition_penalty={repetition_penalty} must be above 0: above 1 discourages repetition, 1 is off, and '
      'below 1 encourages it.'
    )
  if no_repeat_ngram_size < 0:
    raise UserError(f'no_repeat_ngram_size={no_repeat_ngram_size} must be 0 (off) or above.')
  if min_new_tokens < 0:
    raise UserError(f'min_new_tokens={min_new_tokens} must be 0 (off) or above.')
  if max_new_tokens is not None and min_new_tokens > max_new_tokens:
    raise UserError(
      f'min_new_tokens={min_new_tokens} is more than max_new_tokens={max_new_tokens}: no answer can have both.'
    )
  if forced_bos_token_id is not None and forced_bos_token_id < 0:
    raise UserError(f'forced_bos_token_id={forced_bos_token_id} must be the id of a token, 0 or above.')


def check_forced_token(forced_bos_token_id: int | None, num_ids: int) -> None:
  """Raises UserError if a model with this many ids does not have the forced token."""
  if forced_bos_token_id is not None and forced_bos_token_id >= num_ids:
    raise UserError(
      f'forced_bos_token_id={forced_bos_token_id} is not an id of this model: its ids are 0 to {num_ids - 1}.'
    )


def check_number_of_answers(num_return_sequences: int, beam: Any, sampling: Any) -> None:
  """Raises UserError for more answers to each input than a beam search (None: none) or samples can give."""
  if num_return_sequences < 1:
    raise UserError(f'num_return_sequences={num_return_sequences} must be at least 1.')
  if beam and num_return_sequences > beam.size:
    raise UserError(
      f'num_return_sequences={num_return_sequences} is more than the beam size {beam.size}: a beam search has as many '
      'answers as beams. Use more beams.'
    )
  if num_return_sequences > 1 and not beam and not (sampling and sampling.temperature):
    raise UserError(
      f'num_return_sequences={num_return_sequences}: without a beam search or a temperature there is only one answer. '
      'Use a beam search with at least as many beams, or sample at a temperature above 0.'
    )


def check_lengths(max_new_tokens: int, max_input_tokens: int) -> None:
  """Raises UserError for lengths below 1."""
  for name, value in (('max-new-tokens', max_new_tokens), ('max-input-tokens', max_input_tokens)):
    if value < 1:
      raise UserError(f'--{name}={value} must be at least 1.')


def check_one_way(beam: Any, sampling: Any) -> None:
  """Raises UserError if both a beam search and a way to draw tokens are set."""
  if beam and sampling:
    raise UserError('A beam search does not draw tokens: give either --beam-size, or --temperature and its options.')
