"""Checks the settings of runs/infer.gin before anything is built: what Mesh-TensorFlow's decoder can do."""

from typing import Any

from switch_zoo.errors import UserError
from switch_zoo.launcher import preflight


def decoding_possible() -> None:
  """Checks beams, temperature and the number of answers.

  Raises:
    UserError: a value out of range, or two that exclude each other
  """
  beams, top_k = _decode('beam_size', 1), _decode('sampling_keep_top_k', -1)
  temperature = _decode('temperature', 0.0)
  answers = preflight.parameter('utils.decode_from_file.repeats', 1)
  if not _is_count(beams):
    raise UserError(f'BEAM_SIZE = {beams!r} must be a whole number, 1 (no beam search) or above.')
  if not isinstance(temperature, int | float) or not temperature >= 0:
    raise UserError(f'TEMPERATURE = {temperature!r} must be 0 (the most likely token) or above.')
  if top_k != -1 and not _is_count(top_k):
    raise UserError(f'TOP_K = {top_k!r} must be a whole number above 0, or -1 for all tokens.')
  if beams > 1 and (temperature or top_k != -1):
    raise UserError(f'BEAM_SIZE = {beams} does not draw tokens: leave TEMPERATURE at 0 and TOP_K at -1, or use 1 beam.')
  if not _is_count(answers):
    raise UserError(f'NUM_RETURN_SEQUENCES = {answers!r} must be a whole number, 1 or above.')
  if answers > 1 and not temperature:
    raise UserError(
      f'NUM_RETURN_SEQUENCES = {answers}: the decoder of Mesh-TensorFlow gives several answers to an input only if it '
      'samples. Set a TEMPERATURE above 0; for several beams with their scores use `switch_zoo generate MODEL_DIR '
      f'--file INPUT_FILE --beam-size {max(beams, answers)} --num-return-sequences {answers}`, which reads the same '
      'checkpoint.'
    )


def _decode(name: str, default: Any) -> Any:
  return preflight.parameter(f'Bitransformer.decode.{name}', default)


def _is_count(value: Any) -> bool:
  return isinstance(value, int) and not isinstance(value, bool) and value >= 1
