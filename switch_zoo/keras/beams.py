"""Two rules for a beam search: what its hypotheses are ranked by, which of them finish, and when it stops."""

from typing import Literal, NamedTuple, TypeAlias

import tensorflow as tf

from switch_zoo.spec.answer_checks import check_beam


class Beam(NamedTuple):
  """The beam search of T5, and of Mesh-TensorFlow.

  All of the best 2K extensions may finish, those that reach the longest length unfinished are given only if too few
  finish, and the search stops when no unfinished hypothesis can become better than the worst finished one.

  size: hypotheses kept, K
  length_penalty: alpha; a hypothesis is ranked by its log-probability / ((5 + length) / 6) ** alpha (arXiv:1609.08144,
    equation 14, the form of T5's decoding); length includes the end
  """

  size: int = 4
  length_penalty: float = 0.6

  def check(self) -> None:
    """Raises UserError for a setting that makes no sense."""
    check_beam(self.size)

  def penalty(self, length: tf.Tensor | int) -> tf.Tensor:
    """What a log-probability is divided by. <int32>[...] -> <float32>[...]"""
    return ((5.0 + tf.cast(length, tf.float32)) / 6.0) ** self.length_penalty

  def ended(self, at_end: tf.Tensor, length: tf.Tensor, max_length: tf.Tensor | int) -> tf.Tensor:
    """Which extensions are not extended further: those with an end, <bool>[B, 2K]."""
    return at_end

  def finishing(self, ended: tf.Tensor, is_open: tf.Tensor) -> tf.Tensor:
    """Which of those that ended, <bool>[B, 2K], best first, may be an answer; is_open <bool>[B]."""
    return ended

  def still_open(
    self, length: tf.Tensor, max_length: tf.Tensor | int, alive: tf.Tensor, worst: tf.Tensor, full: tf.Tensor
  ) -> tf.Tensor:
    """Whether a search is to continue.

    Args:
      length: <int32>[], of the unfinished hypotheses
      max_length: <int32>[]
      alive: <float32>[B], log-probability of the best unfinished hypothesis
      worst: <float32>[B], penalized log-probability of the worst finished one
      full: <bool>[B], whether K have finished
    Returns:
      <bool>[B]
    """
    # The best it can reach: no further loss, at the length that is penalized least.
    best_length = max_length if self.length_penalty > 0 else length + 1
    return alive / self.penalty(best_length) > worst


class TransformersBeam(NamedTuple):
  """The beam search of Hugging Face's transformers: the same answers, token by token.

  Only the best K of the extensions may finish, and reaching the longest length finishes too.

  size: hypotheses kept, K
  length_penalty: a hypothesis is ranked by its log-probability / length ** length_penalty; length includes the end
  early_stopping: True: stop when K hypotheses have finished; False: when the best unfinished one would be worse than
    all of them if it ended now; 'never': when it cannot become better at any length
  """

  size: int = 4
  length_penalty: float = 1.0
  early_stopping: bool | Literal['never'] = False

  def check(self) -> None:
    """Raises UserError for a setting that makes no sense."""
    check_beam(self.size, self.early_stopping)

  def penalty(self, length: tf.Tensor | int) -> tf.Tensor:
    """As in `Beam`."""
    return tf.cast(length, tf.float32) ** self.length_penalty

  def ended(self, at_end: tf.Tensor, length: tf.Tensor, max_length: tf.Tensor | int) -> tf.Tensor:
    """As in `Beam`: also all that reach the longest length."""
    return at_end | (length >= max_length)

  def finishing(self, ended: tf.Tensor, is_open: tf.Tensor) -> tf.Tensor:
    """As in `Beam`: among the best K, while the search is open."""
    return ended & is_open[:, None] & (tf.range(2 * self.size) < self.size)

  def still_open(
    self, length: tf.Tensor, max_length: tf.Tensor | int, alive: tf.Tensor, worst: tf.Tensor, full: tf.Tensor
  ) -> tf.Tensor:
    """As in `Beam`; full counts with early_stopping."""
    best_length = max_length if self.early_stopping == 'never' and self.length_penalty > 0 else length
    improvable = alive / self.penalty(best_length) > worst
    return improvable & tf.logical_not(full) if self.early_stopping is True else improvable


BeamRule: TypeAlias = Beam | TransformersBeam
