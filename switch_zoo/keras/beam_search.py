"""Beam search.

B batch  K beams  S input tokens  V vocabulary  L length of the hypotheses
"""

from typing import Any, NamedTuple

import tensorflow as tf

from switch_zoo.errors import UserError
from switch_zoo.keras import decode_loop
from switch_zoo.keras.decode_loop import IMPOSSIBLE, Answers
from switch_zoo.keras.inference import Encoded, Inference


class Beam(NamedTuple):
  """Settings of a beam search.

  size: hypotheses kept, K
  length_penalty: alpha; a hypothesis is ranked by its log-probability / ((5 + length) / 6) ** alpha (arXiv:1609.08144,
    equation 14, the form of T5's decoding); length includes the end
  """

  size: int = 4
  length_penalty: float = 0.6

  def check(self) -> None:
    """Raises UserError for a setting that makes no sense."""
    if self.size < 1:
      raise UserError(f'beam size {self.size} must be at least 1.')

  def penalty(self, length: tf.Tensor | int) -> tf.Tensor:
    """What a log-probability is divided by. <int32>[...] -> <float32>[...]"""
    return ((5.0 + tf.cast(length, tf.float32)) / 6.0) ** self.length_penalty


class Hypotheses(NamedTuple):
  """The state of a search between two steps, each list best first.

  alive: <int32>[B, K, L], without an end
  alive_scores: <float32>[B, K], log-probabilities
  finished: <int32>[B, K, L], with an end and padding behind it
  finished_scores: <float32>[B, K], penalized log-probabilities; IMPOSSIBLE where there is none yet
  """

  alive: tf.Tensor
  alive_scores: tf.Tensor
  finished: tf.Tensor
  finished_scores: tf.Tensor


def beam_search(model: Inference, inputs: tf.Tensor, max_new_tokens: tf.Tensor | int, beam: Beam) -> Answers:
  """The best hypothesis that a beam search finds; its score is its log-probability, without the penalty.

  Every step extends the K best unfinished hypotheses by every token and keeps the 2K best of these: the finished ones
  compete with the K best finished so far, and the K best others are extended next. It stops when no unfinished
  hypothesis can become better than the worst of K finished ones.

  Args:
    model: Inference
    inputs: <int32>[B, S]
    max_new_tokens: <int32>[], including the end of an answer
    beam: Beam
  """
  k, batch, weights = beam.size, tf.shape(inputs)[0], model.read()
  with model.using(weights):
    encoded = _repeated(model.encode(inputs).for_steps(), k)

  def unfinished(position: tf.Tensor, *state: Any) -> tf.Tensor:
    improvable = _improvable(beam, position, max_new_tokens, Hypotheses(*state[:-1]))
    return (position < max_new_tokens) & tf.reduce_any(improvable)

  def step(position: tf.Tensor, *state: Any) -> tuple[Any, ...]:
    hypotheses = Hypotheses(*state[:-1])
    with model.using(weights):
      logits, caches = model.step(_last_tokens(position, hypotheses.alive), position, encoded, state[-1])
    config = model.config
    hypotheses, parents = _extended(beam, position, hypotheses, logits, config.target_vocab_size, config.end_id)
    caches = tf.nest.map_structure(lambda cache: tf.gather(cache, parents), caches)
    return position + 1, *hypotheses, caches

  start = (tf.constant(0), *_start(batch, k), model.caches(batch * k))
  _, *state, _ = decode_loop.run(unfinished, step, start)
  return _best(beam, Hypotheses(*state), model.config.end_id)


def _start(batch: tf.Tensor, k: int) -> Hypotheses:
  """One empty hypothesis for each input; the others are IMPOSSIBLE."""
  empty = tf.zeros([batch, k, 0], tf.int32)
  first = tf.constant([[0.0] + [IMPOSSIBLE] * (k - 1)])
  return Hypotheses(empty, tf.repeat(first, batch, axis=0), empty, tf.fill([batch, k], IMPOSSIBLE))


def _improvable(beam: Beam, position: tf.Tensor, max_new_tokens: tf.Tensor | int, hypotheses: Hypotheses) -> tf.Tensor:
  """Whether an unfinished hypothesis may still become better than the worst finished one. -> <bool>[B]"""
  # The best it can reach: no further loss, at the length that is penalized least.
  best_length = max_new_tokens if beam.length_penalty > 0 else position + 1
  reachable = hypotheses.alive_scores[:, 0] / beam.penalty(best_length)
  return reachable > tf.reduce_min(hypotheses.finished_scores, 1)


def _last_tokens(position: tf.Tensor, alive: tf.Tensor) -> tf.Tensor:
  """What the next step reads: 0 before the first token. <int32>[B, K, L] -> <int32>[B * K]"""
  count = tf.shape(alive)[0] * tf.shape(alive)[1]
  return tf.cond(position > 0, lambda: tf.reshape(alive, [count, -1])[:, -1], lambda: tf.zeros([count], tf.int32))


def _extended(
  beam: Beam, position: tf.Tensor, hypotheses: Hypotheses, logits: tf.Tensor, vocab_size: int, end_id: int
) -> tuple[Hypotheses, tf.Tensor]:
  """The hypotheses after one more token.

  Args:
    beam: Beam
    position: <int32>[], of the token
    hypotheses: of length L
    logits: <float32>[B * K, V]
    vocab_size: V
    end_id: of the token that finishes a hypothesis
  Returns:
    those of length L + 1, and for each unfinished one the row it continues, <int32>[B * K]
  """
  k, batch = beam.size, tf.shape(hypotheses.alive)[0]
  extensions = tf.reshape(tf.nn.log_softmax(logits), [batch, k, vocab_size]) + hypotheses.alive_scores[:, :, None]
  scores, index = tf.math.top_k(tf.reshape(extensions, [batch, k * vocab_size]), 2 * k)
  parent, ids = index // vocab_size, index % vocab_size
  extended = tf.concat([tf.gather(hypotheses.alive, parent, batch_dims=1), ids[:, :, None]], 2)
  ended = tf.equal(ids, end_id)
  finished = tf.concat([tf.pad(hypotheses.finished, [[0, 0], [0, 0], [0, 1]]), extended], 1)
  penalized = tf.where(ended, scores / beam.penalty(position + 1), IMPOSSIBLE)
  finished_scores, best = tf.math.top_k(tf.concat([hypotheses.finished_scores, penalized], 1), k)
  finished = tf.gather(finished, best, batch_dims=1)
  alive_scores, best = tf.math.top_k(tf.where(ended, IMPOSSIBLE, scores), k)
  alive = tf.gather(extended, best, batch_dims=1)
  parents = tf.reshape(tf.gather(parent, best, batch_dims=1) + k * tf.range(batch)[:, None], [-1])
  return Hypotheses(alive, alive_scores, finished, finished_scores), parents


def _best(beam: Beam, hypotheses: Hypotheses, end_id: int) -> Answers:
  """The best finished hypothesis of each sequence; an unfinished one only where none was finished."""
  finished, finished_scores = hypotheses.finished[:, 0], hypotheses.finished_scores[:, 0]
  any_finished = finished_scores > IMPOSSIBLE / 2
  ids = tf.where(any_finished[:, None], finished, hypotheses.alive[:, 0])
  # Not by counting what is not padding: a model may also predict the id of padding before the end.
  lengths = tf.argmax(tf.cast(tf.equal(finished, end_id), tf.int32), 1, tf.int32) + 1
  return Answers(ids, tf.where(any_finished, finished_scores * beam.penalty(lengths), hypotheses.alive_scores[:, 0]))


def _repeated(encoded: Encoded, k: int) -> Encoded:
  """Each sequence K times, one after the other."""
  return tf.nest.map_structure(lambda x: tf.repeat(x, k, axis=0), encoded)
