"""Greedy answers and samples.

B batch  S input tokens  V vocabulary  N answers for each input
"""

from typing import Any, NamedTuple

import tensorflow as tf

from switch_zoo.keras import decode_loop
from switch_zoo.keras.decode_loop import IMPOSSIBLE, Answers
from switch_zoo.keras.inference import Inference
from switch_zoo.keras.logits_processors import LogitsProcessors
from switch_zoo.spec.answer_checks import check_sampling
from switch_zoo.spec.token_ids import PADDING


class Sampling(NamedTuple):
  """How the next token is drawn.

  temperature: 0 takes the most likely token; otherwise logits are divided by it
  top_k: only this many of the most likely tokens are drawn from; 0: all
  top_p: only the most likely tokens that together have this probability, at least one (arXiv:1904.09751)
  """

  temperature: float = 0.0
  top_k: int = 0
  top_p: float = 1.0

  def check(self) -> None:
    """Raises UserError for a setting that makes no sense."""
    check_sampling(*self)

  def draw(self, logits: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """<float32>[B, V], <int32>[2] -> <int32>[B]"""
    if not self.temperature:
      return tf.argmax(logits, -1, output_type=tf.int32)
    logits = top_p_only(top_k_only(logits / self.temperature, self.top_k), self.top_p)
    return tf.random.stateless_categorical(logits, 1, seed, tf.int32)[:, 0]


def sample(
  model: Inference,
  inputs: tf.Tensor,
  max_new_tokens: tf.Tensor | int,
  sampling: Sampling,
  seed: tf.Tensor | int = 0,
  processors: LogitsProcessors | None = None,
  num_return_sequences: int = 1,
) -> Answers:
  """Greedy answers or samples. Stops when all sequences have ended, or after `max_new_tokens`.

  Args:
    model: Inference
    inputs: <int32>[B, S]
    max_new_tokens: <int32>[], including the end of an answer
    sampling: Sampling
    seed: <int32>[]; the same seed gives the same answers to the same batch
    processors: LogitsProcessors, or None
    num_return_sequences: N samples of each input; with more than 1 answers have the axis N
  """
  n, weights, processors = num_return_sequences, model.read(), processors or LogitsProcessors()
  batch = tf.shape(inputs)[0] * n
  with model.using(weights):
    encoded = model.encode(inputs).for_steps()
  if n > 1:
    encoded = decode_loop.repeated(encoded, n)

  def unfinished(position: tf.Tensor, ids: tf.Tensor, alive: tf.Tensor, *_: Any) -> tf.Tensor:
    return (position < max_new_tokens) & tf.reduce_any(alive)

  def step(
    position: tf.Tensor, ids: tf.Tensor, alive: tf.Tensor, scores: tf.Tensor, answers: tf.Tensor, caches: Any
  ) -> tuple[Any, ...]:
    with model.using(weights):
      logits, caches = model.step(ids, position, encoded, caches)
    ids = sampling.draw(processors.apply(logits, answers, position, model.config.end_id), tf.stack([seed, position]))
    # Under the model itself, whatever processors and sampling made of its logits.
    scores += tf.where(alive, decode_loop.log_probability(logits, ids), 0.0)
    ids = tf.where(alive, ids, PADDING)
    return (
      position + 1,
      ids,
      alive & tf.not_equal(ids, model.config.end_id),
      scores,
      tf.concat([answers, ids[:, None]], 1),
      caches,
    )

  start = (
    tf.constant(0),
    tf.zeros([batch], tf.int32),
    tf.ones([batch], tf.bool),
    tf.zeros([batch]),
    tf.zeros([batch, 0], tf.int32),
    model.caches(batch),
  )
  *_, scores, answers, _ = decode_loop.run(unfinished, step, start)
  if n > 1:
    shape = [tf.shape(inputs)[0], n]
    return Answers(tf.reshape(answers, [*shape, tf.shape(answers)[1]]), tf.reshape(scores, shape))
  return Answers(answers, scores)


def top_k_only(logits: tf.Tensor, k: int) -> tf.Tensor:
  """Logits of all but the k most likely tokens made IMPOSSIBLE; 0: unchanged. <float32>[B, V] -> same shape"""
  if not k:
    return logits
  least = tf.math.top_k(logits, tf.minimum(k, tf.shape(logits)[-1])).values[:, -1:]
  return tf.where(logits < least, IMPOSSIBLE, logits)


def top_p_only(logits: tf.Tensor, p: float) -> tf.Tensor:
  """Logits outside the smallest set of most likely tokens with probability p made IMPOSSIBLE; 1: unchanged.

  <float32>[B, V] -> same shape
  """
  if p >= 1:
    return logits
  order = tf.argsort(logits, direction='DESCENDING')
  ordered = tf.gather(logits, order, batch_dims=1)
  probabilities = tf.nn.softmax(ordered)
  # A token stays if those before it have not reached p: the first one always does.
  kept = tf.cumsum(probabilities, -1, exclusive=True) < p
  least = tf.reduce_min(tf.where(kept, ordered, ordered[:, :1]), -1, keepdims=True)
  return tf.where(logits < least, IMPOSSIBLE, logits)
