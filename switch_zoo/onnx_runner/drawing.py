"""Greedy tokens and samples, in NumPy. `keras.sampling` has the same as TensorFlow operations.

R sequences  V vocabulary
"""

from typing import NamedTuple

import numpy as np

IMPOSSIBLE = np.float32(-1e9)


class Sampling(NamedTuple):
  """How the next token is drawn. As in `keras.sampling`; the numbers of a seed are others."""

  temperature: float = 0.0
  top_k: int = 0
  top_p: float = 1.0

  def draw(self, logits: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """<float32>[R, V] -> <int64>[R]"""
    if not self.temperature:
      return logits.argmax(1)
    logits = top_p_only(top_k_only(logits / np.float32(self.temperature), self.top_k), self.top_p)
    # The largest of logits with Gumbel noise is drawn with the probabilities of the logits.
    return (logits + generator.gumbel(size=logits.shape)).argmax(1)


def top_k_only(logits: np.ndarray, k: int) -> np.ndarray:
  """Logits of all but the k most likely tokens made IMPOSSIBLE; 0: unchanged. <float32>[R, V] -> same shape"""
  if not k or k >= logits.shape[1]:
    return logits
  least = np.partition(logits, -k, 1)[:, -k, None]
  return np.where(logits < least, IMPOSSIBLE, logits)


def top_p_only(logits: np.ndarray, p: float) -> np.ndarray:
  """Logits outside the smallest set of most likely tokens with probability p made IMPOSSIBLE; 1: unchanged."""
  if p >= 1:
    return logits
  ordered = -np.sort(-logits, 1)
  weights = np.exp(ordered - ordered[:, :1])
  probabilities = weights / weights.sum(1, keepdims=True)
  # A token stays if those before it have not reached p: the first one always does.
  kept = np.cumsum(probabilities, 1) - probabilities < p
  least = np.where(kept, ordered, ordered[:, :1]).min(1, keepdims=True)
  return np.where(logits < least, IMPOSSIBLE, logits)
