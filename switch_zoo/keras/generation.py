"""Answers to token ids: greedy, by sampling or by beam search; and scores of given targets."""

import tensorflow as tf

from switch_zoo.errors import UserError
from switch_zoo.keras.beam_search import beam_search
from switch_zoo.keras.beams import Beam, BeamRule, TransformersBeam
from switch_zoo.keras.decode_loop import Answers
from switch_zoo.keras.inference import Inference
from switch_zoo.keras.logits_processors import LogitsProcessors
from switch_zoo.keras.sampling import Sampling, sample
from switch_zoo.keras.scoring import score
from switch_zoo.spec.answer_checks import check_number_of_answers

__all__ = [
  'Answers',
  'Beam',
  'BeamRule',
  'LogitsProcessors',
  'Sampling',
  'TransformersBeam',
  'answer',
  'beam_search',
  'check',
  'sample',
  'score',
]


def answer(
  model: Inference,
  inputs: tf.Tensor,
  max_new_tokens: tf.Tensor | int,
  beam: BeamRule | None = None,
  sampling: Sampling | None = None,
  seed: tf.Tensor | int = 0,
  processors: LogitsProcessors | None = None,
  num_return_sequences: int = 1,
) -> Answers:
  """Answers by beam search if a Beam is given, by sampling if a Sampling is given, otherwise greedily.

  Args:
    model: Inference
    inputs: <int32>[B, S], 0 is padding
    max_new_tokens: <int32>[], including the end of an answer
    beam: Beam or TransformersBeam, or None
    sampling: Sampling, or None
    seed: <int32>[], for sampling; the same seed gives the same answers to the same batch
    processors: LogitsProcessors, or None
    num_return_sequences: answers to each input: the best of a beam search, or samples; with more than 1 Answers have
      an axis for them
  Raises:
    UserError: a setting that makes no sense, or both a Beam and a Sampling
  """
  processors = processors or LogitsProcessors()
  check(max_new_tokens, beam, sampling, processors, num_return_sequences)
  processors.check_vocabulary(model.config.num_target_ids)
  if beam:
    return beam_search(model, inputs, max_new_tokens, beam, processors, num_return_sequences)
  return sample(model, inputs, max_new_tokens, sampling or Sampling(), seed, processors, num_return_sequences)


def check(
  max_new_tokens: tf.Tensor | int,
  beam: BeamRule | None,
  sampling: Sampling | None,
  processors: LogitsProcessors,
  num_return_sequences: int,
) -> None:
  """Raises UserError for settings of `answer` that make no sense."""
  if beam and sampling:
    raise UserError('Give either a Beam or a Sampling: a beam search does not draw tokens.')
  if isinstance(max_new_tokens, int) and max_new_tokens < 1:
    raise UserError(f'max_new_tokens={max_new_tokens} must be at least 1.')
  for part in filter(None, (beam, sampling)):
    part.check()
  processors.check(max_new_tokens)
  check_number_of_answers(num_return_sequences, beam, sampling)
