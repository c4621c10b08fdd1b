"""Two rules for a beam search, in NumPy: what hypotheses are ranked by, which finish, and when it stops.

The classes of the same names in `keras.beams` are these rules as TensorFlow operations, and say more about them.

B batch  K beams
"""

from typing import Literal, NamedTuple, TypeAlias

import numpy as np


class Beam(NamedTuple):
  """The beam search of T5: penalty ((5 + length) / 6) ** length_penalty."""

  size: int = 4
  length_penalty: float = 0.6

  def penalty(self, length: int) -> float:
    """What a log-probability is divided by."""
    return ((5.0 + length) / 6.0) ** self.length_penalty

  def ended(self, at_end: np.ndarray, length: int, max_length: int) -> np.ndarray:
    """Which extensions are not extended further. <bool>[B, 2K] -> the same"""
    return at_end

  def finishing(self, ended: np.ndarray, is_open: np.ndarray) -> np.ndarray:
    """Which of those that ended, best first, may be an answer. <bool>[B, 2K], <bool>[B] -> <bool>[B, 2K]"""
    return ended

  def still_open(
    self, length: int, max_length: int, alive: np.ndarray, worst: np.ndarray, full: np.ndarray
  ) -> np.ndarray:
    """Whether a search is to continue.

    Args:
      length: of the unfinished hypotheses
      max_length: tokens of the longest answer
      alive: <float32>[B], log-probability of the best unfinished hypothesis
      worst: <float32>[B], penalized log-probability of the worst finished one
      full: <bool>[B], whether K have finished
    Returns:
      <bool>[B]
    """
    best_length = max_length if self.length_penalty > 0 else length + 1
    return alive / self.penalty(best_length) > worst


class TransformersBeam(NamedTuple):
  """The beam search of Hugging Face's transformers: penalty length ** length_penalty."""

  size: int = 4
  length_penalty: float = 1.0
  early_stopping: bool | Literal['never'] = False

  def penalty(self, length: int) -> float:
    """As in `Beam`."""
    return float(length) ** self.length_penalty

  def ended(self, at_end: np.ndarray, length: int, max_length: int) -> np.ndarray:
    """As in `Beam`: also all that reach the longest length."""
    return at_end | (length >= max_length)

  def finishing(self, ended: np.ndarray, is_open: np.ndarray) -> np.ndarray:
    """As in `Beam`: among the best K, while the search is open."""
    return ended & is_open[:, None] & (np.arange(2 * self.size) < self.size)

  def still_open(
    self, length: int, max_length: int, alive: np.ndarray, worst: np.ndarray, full: np.ndarray
  ) -> np.ndarray:
    """As in `Beam`; full counts with early_stopping."""
    best_length = max_length if self.early_stopping == 'never' and self.length_penalty > 0 else length
    improvable = alive / self.penalty(best_length) > worst
    return improvable & ~full if self.early_stopping is True else improvable


BeamRule: TypeAlias = Beam | TransformersBeam
