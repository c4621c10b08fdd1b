"""What changes the scores of the next token before it is chosen: the options of Hugging Face's `generate`.

Values and order are those of its logits processors, so that answers are the same token by token: greedy and sampled
answers have their logits changed, a beam search its log-probabilities. The tokens that count as having occurred begin
with the one that starts the decoder. An option that is off adds nothing to the graph.

R sequences  L tokens before  H = L + 1 with the start  V vocabulary
"""

import math
from typing import NamedTuple

import tensorflow as tf

from switch_zoo.spec.answer_checks import check_forced_token, check_processors
from switch_zoo.spec.token_ids import END, PADDING

START = PADDING  # what the decoder reads first


class LogitsProcessors(NamedTuple):
  """Settings; applied in this order.

  repetition_penalty: scores of tokens that have occurred are divided by it where they are positive, and multiplied by
    it where they are negative (arXiv:1909.05858, section 4.1); 1: off
  no_repeat_ngram_size: no sequence of this many tokens occurs twice (arXiv:1705.04304, section 2.5); 0: off
  min_new_tokens: the end does not come before this many tokens; 0: off
  forced_bos_token_id: the first token of every answer; None: off
  """

  repetition_penalty: float = 1.0
  no_repeat_ngram_size: int = 0
  min_new_tokens: int = 0
  forced_bos_token_id: int | None = None

  def check(self, max_new_tokens: tf.Tensor | int) -> None:
    """Raises UserError for a setting that makes no sense."""
    check_processors(*self, max_new_tokens if isinstance(max_new_tokens, int) else None)

  def check_vocabulary(self, num_ids: int) -> None:
    """Raises UserError if a model with this many ids does not have the forced token."""
    check_forced_token(self.forced_bos_token_id, num_ids)

  def apply(self, scores: tf.Tensor, previous: tf.Tensor, position: tf.Tensor, end_id: int = END) -> tf.Tensor:
    """Scores of the next token.

    Args:
      scores: <float32>[R, V], logits or log-probabilities
      previous: <int32>[R, L], the tokens of each answer so far
      position: <int32>[], L
      end_id: of the token that ends an answer
    Returns:
      <float32>[R, V], minus infinity for what must not be chosen; `scores` itself if every option is off
    """
    if self.repetition_penalty != 1 or self.no_repeat_ngram_size:
      history = tf.pad(previous, [[0, 0], [1, 0]], constant_values=START)
      if self.repetition_penalty != 1:
        scores = repetition_penalized(scores, history, self.repetition_penalty)
      if self.no_repeat_ngram_size:
        scores = without_repeated_ngrams(scores, history, self.no_repeat_ngram_size)
    ids = tf.range(tf.shape(scores)[1])
    if self.min_new_tokens:
      scores = tf.where(tf.equal(ids, end_id) & (position < self.min_new_tokens), -math.inf, scores)
    if self.forced_bos_token_id is not None:
      forced = tf.where(tf.equal(ids, self.forced_bos_token_id), 0.0, -math.inf)
      scores = tf.where(position > 0, scores, forced)
    return scores


def repetition_penalized(scores: tf.Tensor, history: tf.Tensor, penalty: float) -> tf.Tensor:
  """Scores with those of tokens that have occurred made worse, once each. <float32>[R, V], <int32>[R, H] -> [R, V]"""
  occurred = tf.gather(scores, history, batch_dims=1)
  penalized = tf.where(occurred < 0, occurred * penalty, occurred / penalty)
  return tf.tensor_scatter_nd_update(scores, _places(history), penalized)


def without_repeated_ngrams(scores: tf.Tensor, history: tf.Tensor, size: int) -> tf.Tensor:
  """Minus infinity for tokens that would end a sequence of `size` tokens that has occurred.

  Args:
    scores: <float32>[R, V]
    history: <int32>[R, H]
    size: at least 1
  Returns:
    <float32>[R, V]
  """
  # Ids that no token has stand before the first one, so that there are windows and an ending however short it is. Both
  # hold a different number of them unless the ending holds none: they do not match.
  padded = tf.pad(history, [[0, 0], [size - 1, 0]], constant_values=-1)
  count = tf.shape(history)[1]
  matches = tf.ones_like(history, tf.bool)  # for each token, whether those before it are the last ones
  for place in range(size - 1):
    matches &= tf.equal(padded[:, place : place + count], padded[:, count + place, None])
  return tf.tensor_scatter_nd_min(scores, _places(history), tf.where(matches, -math.inf, math.inf))


def _places(history: tf.Tensor) -> tf.Tensor:
  """Where the scores of tokens are. <int32>[R, H] -> <int32>[R, H, 2]"""
  rows = tf.broadcast_to(tf.range(tf.shape(history)[0])[:, None], tf.shape(history))
  return tf.stack([rows, history], 2)
