"""What sampling, beam search and scoring share: the loop over tokens with its growing caches, and log-probabilities.

B batch  V vocabulary
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

from switch_zoo.keras.inference import Encoded, cache_capacity, grown

# A log-probability, or a logit, of what cannot be chosen.
IMPOSSIBLE = -1e9


class Answers(NamedTuple):
  """Answers to B inputs; with several for each, N of them, all have the axis N after B.

  ids: <int32>[B, length], padding after the end
  scores: <float32>[B], log-probability under the model itself, natural logarithm
  beam_scores: <float32>[B], what a beam search ranked them by, best first: the sum of log-probabilities as the logits
    processors left them, divided by the length penalty; None without a beam search
  """

  ids: tf.Tensor
  scores: tf.Tensor
  beam_scores: tf.Tensor | None = None


def run(
  unfinished: Callable[..., tf.Tensor], step: Callable[..., tuple[Any, ...]], state: tuple[Any, ...]
) -> tuple[Any, ...]:
  """tf.while_loop for a state that begins with the position and ends with the caches, which grow when they are full.

  Args:
    unfinished: function of the state -> <bool>[], whether there is another step
    step: function of the state -> the next one
    state: the first one: position <int32>[], any tensors, caches as in `Inference.caches`
  Returns:
    the last state
  """

  def until_full(position: tf.Tensor, *rest: Any) -> tuple[Any, ...]:
    state = (position, *rest[:-1], grown(rest[-1]))
    capacity = cache_capacity(state[-1])
    has_room = lambda position, *rest: (position < capacity) & unfinished(position, *rest)
    return tf.while_loop(has_room, step, state, shape_invariants=_growing(state))

  return tf.while_loop(unfinished, until_full, state, shape_invariants=_growing(state))


def repeated(encoded: Encoded, count: int) -> Encoded:
  """Each sequence this many times, one after the other."""
  return tf.nest.map_structure(lambda x: tf.repeat(x, count, axis=0), encoded)


def log_probability(logits: tf.Tensor, ids: tf.Tensor) -> tf.Tensor:
  """Log-probability of each token, natural logarithm. <float32>[..., V], <int32>[...] -> <float32>[...]

  In parts, because the operation for this, sparse_softmax_cross_entropy_with_logits, takes more than twice as long.
  """
  return tf.gather(logits, ids, batch_dims=logits.shape.rank - 1) - tf.reduce_logsumexp(logits, -1)


def _growing(state: tuple[Any, ...]) -> tuple[Any, ...]:
  """Shape invariants of a loop's state: answers and caches grow."""
  shapes = [tf.TensorShape([None] * x.shape.rank) if x.shape.rank else x.shape for x in state[:-1]]
  cache_shape = lambda cache: tf.TensorShape([None, cache.shape[1], None, cache.shape[3]])
  return (*shapes, tf.nest.map_structure(cache_shape, state[-1]))
