"""Answers to token ids: greedy, by sampling or by beam search; and scores of given targets."""

import tensorflow as tf

from switch_zoo.errors import UserError
from switch_zoo.keras.beam_search import Beam, beam_search
from switch_zoo.keras.decode_loop import Answers
from switch_zoo.keras.inference import Inference
from switch_zoo.keras.sampling import Sampling, sample
from switch_zoo.keras.scoring import score

__all__ = ['Answers', 'Beam', 'Sampling', 'answer', 'beam_search', 'sample', 'score']


def answer(
  model: Inference,
  inputs: tf.Tensor,
  max_new_tokens: tf.Tensor | int,
  beam: Beam | None = None,
  sampling: Sampling | None = None,
  seed: tf.Tensor | int = 0,
) -> Answers:
  """Answers by beam search if a Beam is given, by sampling if a Sampling is given, otherwise greedily.

  Args:
    model: Inference
    inputs: <int32>[B, S], 0 is padding
    max_new_tokens: <int32>[], including the end of an answer
    beam: Beam, or None
    sampling: Sampling, or None
    seed: <int32>[], for sampling; the same seed gives the same answers to the same batch
  Raises:
    UserError: a setting that makes no sense, or both a Beam and a Sampling
  """
  if beam and sampling:
    raise UserError('Give either a Beam or a Sampling: a beam search does not draw tokens.')
  if isinstance(max_new_tokens, int) and max_new_tokens < 1:
    raise UserError(f'max_new_tokens={max_new_tokens} must be at least 1.')
  if beam:
    beam.check()
    return beam_search(model, inputs, max_new_tokens, beam)
  sampling = sampling or Sampling()
  sampling.check()
  return sample(model, inputs, max_new_tokens, sampling, seed)
