"""Beam search.

B batch  K beams  S input tokens  V vocabulary  L length of the hypotheses  N answers for each input
"""

from typing import Any, NamedTuple

import tensorflow as tf

from switch_zoo.keras import decode_loop
from switch_zoo.keras.beams import BeamRule
from switch_zoo.keras.decode_loop import IMPOSSIBLE, Answers
from switch_zoo.keras.inference import Inference
from switch_zoo.keras.logits_processors import LogitsProcessors
from switch_zoo.spec.config import ModelConfig


class Hypotheses(NamedTuple):
  """The state of a search between two steps, each list best first.

  alive: <int32>[B, K, L], without an end
  alive_scores: <float32>[B, K], sums of log-probabilities as the logits processors leave them
  alive_logs: <float32>[B, K], sums of the model's own log-probabilities
  finished: <int32>[B, K, L], with an end and padding behind it, or of the longest length
  finished_scores: <float32>[B, K], penalized alive_scores; IMPOSSIBLE where there is none yet
  finished_logs: <float32>[B, K], as alive_logs
  is_open: <bool>[B], whether the search for this input is to continue
  """

  alive: tf.Tensor
  alive_scores: tf.Tensor
  alive_logs: tf.Tensor
  finished: tf.Tensor
  finished_scores: tf.Tensor
  finished_logs: tf.Tensor
  is_open: tf.Tensor


class Extensions(NamedTuple):
  """The best 2K hypotheses of one more token, best first, all of [B, 2K] but ids <int32>[B, 2K, L].

  parents: <int32>, the hypothesis that each continues
  """

  ids: tf.Tensor
  scores: tf.Tensor
  logs: tf.Tensor
  parents: tf.Tensor


def beam_search(
  model: Inference,
  inputs: tf.Tensor,
  max_new_tokens: tf.Tensor | int,
  beam: BeamRule,
  processors: LogitsProcessors | None = None,
  num_return_sequences: int = 1,
) -> Answers:
  """The best hypotheses that a beam search finds; a score is the model's log-probability, without the penalty.

  Every step extends the K best unfinished hypotheses by every token and keeps the 2K best of these: the finished ones
  compete with the K best finished so far, and the K best others are extended next. It stops when the rule says so of
  every input.

  Args:
    model: Inference
    inputs: <int32>[B, S]
    max_new_tokens: <int32>[], including the end of an answer
    beam: Beam or TransformersBeam
    processors: LogitsProcessors, or None
    num_return_sequences: N, at most K; with more than 1 answers have the axis N
  """
  k, batch, weights = beam.size, tf.shape(inputs)[0], model.read()
  processors = processors or LogitsProcessors()
  with model.using(weights):
    encoded = decode_loop.repeated(model.encode(inputs).for_steps(), k)

  def unfinished(position: tf.Tensor, *state: Any) -> tf.Tensor:
    return (position < max_new_tokens) & tf.reduce_any(Hypotheses(*state[:-1]).is_open)

  def step(position: tf.Tensor, *state: Any) -> tuple[Any, ...]:
    hypotheses = Hypotheses(*state[:-1])
    with model.using(weights):
      logits, caches = model.step(_last_tokens(position, hypotheses.alive), position, encoded, state[-1])
    extensions = _extended(processors, beam.size, position, hypotheses, logits, model.config)
    hypotheses, parents = _chosen(beam, position + 1, max_new_tokens, hypotheses, extensions, model.config.end_id)
    caches = tf.nest.map_structure(lambda cache: tf.gather(cache, parents), caches)
    return position + 1, *hypotheses, caches

  start = (tf.constant(0), *_start(batch, k), model.caches(batch * k))
  _, *state, _ = decode_loop.run(unfinished, step, start)
  return _best(beam, Hypotheses(*state), num_return_sequences)


def _start(batch: tf.Tensor, k: int) -> Hypotheses:
  """One empty hypothesis for each input; the others are IMPOSSIBLE."""
  empty = tf.zeros([batch, k, 0], tf.int32)
  first = tf.repeat(tf.constant([[0.0] + [IMPOSSIBLE] * (k - 1)]), batch, axis=0)
  none = tf.fill([batch, k], IMPOSSIBLE)
  return Hypotheses(empty, first, first, empty, none, none, tf.ones([batch], tf.bool))


def _last_tokens(position: tf.Tensor, alive: tf.Tensor) -> tf.Tensor:
  """What the next step reads: 0 before the first token. <int32>[B, K, L] -> <int32>[B * K]"""
  count = tf.shape(alive)[0] * tf.shape(alive)[1]
  return tf.cond(position > 0, lambda: tf.reshape(alive, [count, -1])[:, -1], lambda: tf.zeros([count], tf.int32))


def _extended(
  processors: LogitsProcessors,
  k: int,
  position: tf.Tensor,
  hypotheses: Hypotheses,
  logits: tf.Tensor,
  config: ModelConfig,
) -> Extensions:
  """The best extensions of the unfinished hypotheses.

  Args:
    processors: LogitsProcessors
    k: K
    position: <int32>[], of the token: L
    hypotheses: of length L
    logits: <float32>[B * K, V]
    config: of the model; it has V and the token that ends an answer
  Returns:
    of length L + 1
  """
  vocab_size = config.target_vocab_size
  batch = tf.shape(hypotheses.alive)[0]
  as_rows = lambda logs, sums: tf.reshape(tf.reshape(logs, [batch, k, vocab_size]) + sums[:, :, None], [batch, -1])
  logs = tf.nn.log_softmax(logits)
  processed = processors.apply(logs, tf.reshape(hypotheses.alive, [batch * k, position]), position, config.end_id)
  scores, index = tf.math.top_k(as_rows(processed, hypotheses.alive_scores), 2 * k)
  if processed is logs:
    sums = scores
  else:
    sums = tf.gather(as_rows(logs, hypotheses.alive_logs), index, batch_dims=1)
  parents = index // vocab_size
  ids = tf.concat([tf.gather(hypotheses.alive, parents, batch_dims=1), (index % vocab_size)[:, :, None]], 2)
  return Extensions(ids, scores, sums, parents)


def _chosen(
  beam: BeamRule,
  length: tf.Tensor,
  max_length: tf.Tensor | int,
  hypotheses: Hypotheses,
  extensions: Extensions,
  end_id: int,
) -> tuple[Hypotheses, tf.Tensor]:
  """Those of the extensions that are kept.

  Args:
    beam: BeamRule
    length: <int32>[], of the extensions
    max_length: <int32>[]
    hypotheses: before this step
    extensions: of `_extended`
    end_id: of the token that finishes a hypothesis
  Returns:
    the hypotheses after it, and for each unfinished one the row it continues, <int32>[B * K]
  """
  k, (ids, scores, logs, parents) = beam.size, extensions
  ended = beam.ended(tf.equal(ids[:, :, -1], end_id), length, max_length)
  penalized = tf.where(beam.finishing(ended, hypotheses.is_open), scores / beam.penalty(length), IMPOSSIBLE)
  finished_scores, best = tf.math.top_k(tf.concat([hypotheses.finished_scores, penalized], 1), k)
  finished = tf.concat([tf.pad(hypotheses.finished, [[0, 0], [0, 0], [0, 1]]), ids], 1)
  finished, finished_logs = _gathered(best, finished, tf.concat([hypotheses.finished_logs, logs], 1))
  alive_scores, best = tf.math.top_k(tf.where(ended, IMPOSSIBLE, scores), k)
  alive, alive_logs, parents = _gathered(best, ids, logs, parents)
  worst = tf.reduce_min(finished_scores, 1)
  is_open = beam.still_open(length, max_length, alive_scores[:, 0], worst, worst > IMPOSSIBLE / 2)
  is_open &= hypotheses.is_open
  rows = tf.reshape(parents + k * tf.range(tf.shape(ids)[0])[:, None], [-1])
  return Hypotheses(alive, alive_scores, alive_logs, finished, finished_scores, finished_logs, is_open), rows


def _gathered(index: tf.Tensor, *tensors: tf.Tensor) -> list[tf.Tensor]:
  return [tf.gather(tensor, index, batch_dims=1) for tensor in tensors]


def _best(beam: BeamRule, hypotheses: Hypotheses, count: int) -> Answers:
  """The best finished hypotheses of each input; unfinished ones only where fewer have finished."""
  num_finished = tf.reduce_sum(tf.cast(hypotheses.finished_scores > IMPOSSIBLE / 2, tf.int32), 1, keepdims=True)
  place = tf.range(count)[None]
  index = tf.where(place < num_finished, place, beam.size + place - num_finished)
  h, length = hypotheses, tf.shape(hypotheses.alive)[2]
  ids, scores, beam_scores = _gathered(
    index,
    tf.concat([h.finished, h.alive], 1),
    tf.concat([h.finished_logs, h.alive_logs], 1),
    tf.concat([h.finished_scores, h.alive_scores / beam.penalty(length)], 1),
  )
  return Answers(ids, scores, beam_scores) if count > 1 else Answers(ids[:, 0], scores[:, 0], beam_scores[:, 0])
