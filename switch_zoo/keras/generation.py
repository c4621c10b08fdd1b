"""Answers, token by token: greedy, sampling and beam search, with a cache of keys and values; and scores of targets.

B batch  K beams  V vocabulary
"""

from typing import NamedTuple

import tensorflow as tf

from switch_zoo.errors import UserError
from switch_zoo.keras.inference import more_room, room_of
from switch_zoo.keras.without_padding import Packing
from switch_zoo.spec.token_ids import END, PADDING

_NEVER = -1e9
# Tokens whose logits are in memory at a time: a token has as many as the vocabulary, 130 kB in float32.
_SCORED_TOGETHER = 512


class Answers(NamedTuple):
  """ids: <int32>[B, length], behind the end padding; scores: <float32>[B], log-probability, natural logarithm."""

  ids: tf.Tensor
  scores: tf.Tensor


class Sampling(NamedTuple):
  """How the next token is drawn.

  temperature: 0 takes the likeliest; else logits are divided by it
  top_k: only that many of the likeliest are drawn from; 0: all
  top_p: only the likeliest that together have this probability, at least one (arXiv:1904.09751)
  """

  temperature: float = 0.0
  top_k: int = 0
  top_p: float = 1.0

  def check(self) -> None:
    """Raises UserError for a setting that makes no sense."""
    if self.temperature < 0:
      raise UserError(f'temperature={self.temperature} must be 0 (the likeliest token) or above.')
    if self.top_k < 0:
      raise UserError(f'top_k={self.top_k} must be 0 (all tokens) or above.')
    if not 0 < self.top_p <= 1:
      raise UserError(f'top_p={self.top_p} must be above 0 and at most 1 (all tokens).')

  def draw(self, logits, seed):
    """<float32>[B, V], <int32>[2] -> <int32>[B]"""
    if not self.temperature:
      return tf.argmax(logits, -1, output_type=tf.int32)
    logits = _at_most(_likeliest(logits / self.temperature, self.top_k), self.top_p)
    return tf.random.stateless_categorical(logits, 1, seed, tf.int32)[:, 0]


class Beam(NamedTuple):
  """Beam search.

  size: hypotheses kept, K
  length_penalty: alpha; a hypothesis counts its log-probability / ((5 + length) / 6) ** alpha (arXiv:1609.08144,
    equation 14, the form of T5's decoding); length counts the end
  """

  size: int = 4
  length_penalty: float = 0.6

  def check(self) -> None:
    """Raises UserError for a setting that makes no sense."""
    if self.size < 1:
      raise UserError(f'beam size {self.size} must be at least 1.')

  def penalty(self, length):
    """What a log-probability is divided by."""
    return ((5.0 + tf.cast(length, tf.float32)) / 6.0) ** self.length_penalty


def answer(model, inputs, max_new_tokens, beam=None, sampling=None, seed=0) -> Answers:
  """Answers by beam search, or by sampling where no Beam is given, or else greedily. Arguments as `sample`.

  Raises:
    UserError: a setting that makes no sense, or both a Beam and a Sampling
  """
  if beam and sampling:
    raise UserError('Give a beam or a sampling: a beam search draws nothing.')
  if isinstance(max_new_tokens, int) and max_new_tokens < 1:
    raise UserError(f'max_new_tokens={max_new_tokens} must be at least 1.')
  sampling = sampling or Sampling()
  (beam or sampling).check()
  if beam:
    return beam_search(model, inputs, max_new_tokens, beam)
  return sample(model, inputs, max_new_tokens, sampling, seed)


def sample(model, inputs, max_new_tokens, sampling, seed=0) -> Answers:
  """Greedy answers or samples. Ends when all sequences have, or after `max_new_tokens`.

  Args:
    model: inference.Inference
    inputs: <int32>[B, S]
    max_new_tokens: <int32>[], the end of an answer included
    sampling: Sampling
    seed: <int32>[]; the same seed gives the same answers to the same batch
  """
  weights, batch = model.read(), tf.shape(inputs)[0]
  with model.using(weights):
    encoded = model.encode(inputs).for_steps()

  def going_on(place, ids, alive, *_):
    return (place < max_new_tokens) & tf.reduce_any(alive)

  def step(place, ids, alive, scores, answers, caches):
    with model.using(weights):
      logits, caches = model.step(ids, place, encoded, caches)
    ids = sampling.draw(logits, tf.stack([seed, place]))
    # Under the model itself, whatever the sampling made of its logits.
    scores += tf.where(alive, _log_probability(logits, ids), 0.0)
    ids = tf.where(alive, ids, PADDING)
    return place + 1, ids, alive & tf.not_equal(ids, END), scores, tf.concat([answers, ids[:, None]], 1), caches

  start = (
    tf.constant(0),
    tf.zeros([batch], tf.int32),
    tf.ones([batch], tf.bool),
    tf.zeros([batch]),
    tf.zeros([batch, 0], tf.int32),
    model.caches(batch),
  )
  *_, scores, answers, _ = _loop(going_on, step, start)
  return Answers(answers, scores)


def beam_search(model, inputs, max_new_tokens, beam) -> Answers:
  """The best of the hypotheses a beam search finds; its score is its log-probability, without the penalty.

  Every step extends the K best unfinished hypotheses by every token and keeps the 2K best of these: the finished ones
  compete with the K best finished so far, and the K best others go on. It stops when no unfinished hypothesis can
  become better than the worst of K finished ones. Arguments as `sample`.
  """
  k, batch, weights = beam.size, tf.shape(inputs)[0], model.read()
  with model.using(weights):
    encoded = _repeat(model.encode(inputs).for_steps(), k)
  vocab = model.config.target_vocab_size

  def going_on(place, live, live_scores, done, done_scores, _):
    # The best an unfinished hypothesis can reach: no further loss, at the length that penalizes it least.
    longest = max_new_tokens if beam.length_penalty > 0 else place + 1
    reachable = live_scores[:, 0] / beam.penalty(longest)
    return (place < max_new_tokens) & tf.reduce_any(reachable > tf.reduce_min(done_scores, 1))

  def step(place, live, live_scores, done, done_scores, caches):
    last = tf.cond(place > 0, lambda: tf.reshape(live, [batch * k, -1])[:, -1], lambda: tf.zeros([batch * k], tf.int32))
    with model.using(weights):
      logits, caches = model.step(last, place, encoded, caches)
    extensions = tf.reshape(tf.nn.log_softmax(logits), [batch, k, vocab]) + live_scores[:, :, None]
    scores, where = tf.math.top_k(tf.reshape(extensions, [batch, k * vocab]), 2 * k)
    parent, ids = where // vocab, where % vocab
    extended = tf.concat([tf.gather(live, parent, batch_dims=1), ids[:, :, None]], 2)
    ended = tf.equal(ids, END)
    done = tf.concat([tf.pad(done, [[0, 0], [0, 0], [0, 1]]), extended], 1)
    done_scores = tf.concat([done_scores, tf.where(ended, scores / beam.penalty(place + 1), _NEVER)], 1)
    done_scores, best = tf.math.top_k(done_scores, k)
    done = tf.gather(done, best, batch_dims=1)
    live_scores, best = tf.math.top_k(tf.where(ended, _NEVER, scores), k)
    live = tf.gather(extended, best, batch_dims=1)
    rows = tf.reshape(tf.gather(parent, best, batch_dims=1) + k * tf.range(batch)[:, None], [-1])
    caches = tf.nest.map_structure(lambda cache: tf.gather(cache, rows), caches)
    return place + 1, live, live_scores, done, done_scores, caches

  start = (
    tf.constant(0),
    tf.zeros([batch, k, 0], tf.int32),
    tf.tile([[0.0] + [_NEVER] * (k - 1)], [batch, 1]),
    tf.zeros([batch, k, 0], tf.int32),
    tf.fill([batch, k], _NEVER),
    model.caches(batch * k),
  )
  place, live, live_scores, done, done_scores, _ = _loop(going_on, step, start)
  return _best(beam, place, live, live_scores, done, done_scores)


def score(model, inputs, targets):
  """Log-probability of targets, natural logarithm, their end included.

  Args:
    model: inference.Inference
    inputs: <int32>[B, S]
    targets: <int32>[B, T], padding behind the end
  Returns:
    <float32>[B]
  """
  weights, batch, length = model.read(), tf.shape(inputs)[0], tf.shape(targets, tf.int64)[1]
  real = tf.cumsum(tf.cast(tf.not_equal(targets, PADDING), tf.int32), 1, reverse=True) > 0
  packing = Packing.of(real, model.config.num_heads)
  with model.using(weights):
    x = model.decode(tf.pad(targets, [[0, 0], [1, 0]])[:, :-1], model.encode(inputs), packing)
  ids = packing.pack(targets)
  scores = tf.where(tf.not_equal(ids, PADDING), _log_probabilities(model, weights, x, ids), 0.0)
  return tf.math.unsorted_segment_sum(scores, packing.kept // length, batch)


def _log_probabilities(model, weights, x, ids):
  """Log-probability of each token, some at a time. <float>[P, M] of `Inference.decode`, <int32>[P] -> <float32>[P]"""

  def some(start, scores):
    rows = slice(start, start + _SCORED_TOGETHER)
    with model.using(weights):
      logits = model.to_logits(x[rows])
    return start + _SCORED_TOGETHER, tf.concat([scores, _log_probability(logits, ids[rows])], 0)

  there_are_more = lambda start, _: start < tf.size(ids)
  shapes = [tf.TensorShape([]), tf.TensorShape([None])]
  return tf.while_loop(there_are_more, some, [0, tf.zeros([0])], shapes, parallel_iterations=1)[1]


def _log_probability(logits, ids):
  """Log-probability of each token, natural logarithm. <float32>[..., V], <int32>[...] -> <float32>[...]

  In parts, because the operation for this, sparse_softmax_cross_entropy_with_logits, takes more than twice as long.
  """
  return tf.gather(logits, ids, batch_dims=logits.shape.rank - 1) - tf.reduce_logsumexp(logits, -1)


def _best(beam, length, live, live_scores, done, done_scores):
  """The best finished hypothesis of each sequence; an unfinished one only where none was finished."""
  finished = done_scores[:, 0] > _NEVER / 2
  ids = tf.where(finished[:, None], done[:, 0], live[:, 0])
  lengths = tf.reduce_sum(tf.cast(tf.not_equal(done[:, 0], PADDING), tf.int32), 1)
  return Answers(ids, tf.where(finished, done_scores[:, 0] * beam.penalty(lengths), live_scores[:, 0]))


def _repeat(encoded, k):
  """Each sequence K times, one after the other."""
  return tf.nest.map_structure(lambda x: tf.repeat(x, k, axis=0), encoded)


def _loop(going_on, step, start):
  """tf.while_loop for a state that begins with the place and ends with the caches, which get room as they need it."""

  def fill_room(place, *state):
    state = (place, *state[:-1], more_room(state[-1]))
    end = room_of(state[-1])
    there_is_room = lambda place, *state: (place < end) & going_on(place, *state)
    return tf.while_loop(there_is_room, step, state, shape_invariants=_growing(state))

  return tf.while_loop(going_on, fill_room, start, shape_invariants=_growing(start))


def _growing(state):
  """Shape invariants of a loop's state: answers and caches grow."""
  shapes = [tf.TensorShape([None] * x.shape.rank) if x.shape.rank else x.shape for x in state[:-1]]
  of_cache = lambda cache: tf.TensorShape([None, cache.shape[1], None, cache.shape[3]])
  return (*shapes, tf.nest.map_structure(of_cache, state[-1]))


def _likeliest(logits, k):
  """Logits of all but the k likeliest made impossible; 0: unchanged."""
  if not k:
    return logits
  least = tf.math.top_k(logits, tf.minimum(k, tf.shape(logits)[-1])).values[:, -1:]
  return tf.where(logits < least, _NEVER, logits)


def _at_most(logits, p):
  """Logits outside the smallest set of likeliest tokens with probability p made impossible; 1: unchanged."""
  if p >= 1:
    return logits
  order = tf.argsort(logits, direction='DESCENDING')
  ordered = tf.gather(logits, order, batch_dims=1)
  chances = tf.nn.softmax(ordered)
  # A token stays if those before it have not reached p: the first always does.
  kept = tf.cumsum(chances, -1, exclusive=True) < p
  least = tf.reduce_min(tf.where(kept, ordered, ordered[:, :1]), -1, keepdims=True)
  return tf.where(logits < least, _NEVER, logits)
