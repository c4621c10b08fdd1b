"""What changes the scores of the next token, in NumPy: the options of Hugging Face's `generate`, in its order.

`keras.logits_processors` has the same as TensorFlow operations, and their sources.

R sequences  L tokens before  H = L + 1 with the start  V vocabulary
"""

import math
from typing import NamedTuple

import numpy as np

from switch_zoo.spec.token_ids import PADDING


class LogitsProcessors(NamedTuple):
  """Settings; applied in this order. As in `keras.logits_processors`."""

  repetition_penalty: float = 1.0
  no_repeat_ngram_size: int = 0
  min_new_tokens: int = 0
  forced_bos_token_id: int | None = None

  def apply(self, scores: np.ndarray, previous: np.ndarray, end_id: int) -> np.ndarray:
    """Scores of the next token.

    Args:
      scores: <float32>[R, V], logits or log-probabilities
      previous: <int64>[R, L], the tokens of each answer so far
      end_id: of the token that ends an answer
    Returns:
      <float32>[R, V], minus infinity for what must not be chosen; `scores` itself if every option is off
    """
    if self == LogitsProcessors():
      return scores
    scores, position = scores.copy(), previous.shape[1]
    history = np.pad(previous, [(0, 0), (1, 0)], constant_values=PADDING)
    if self.repetition_penalty != 1:
      occurred = np.take_along_axis(scores, history, 1)
      penalized = np.where(occurred < 0, occurred * self.repetition_penalty, occurred / self.repetition_penalty)
      np.put_along_axis(scores, history, penalized.astype(scores.dtype), 1)
    if self.no_repeat_ngram_size:
      _ban_repeated_ngrams(scores, history, self.no_repeat_ngram_size)
    if position < self.min_new_tokens:
      scores[:, end_id] = -math.inf
    if self.forced_bos_token_id is not None and not position:
      scores[:] = -math.inf
      scores[:, self.forced_bos_token_id] = 0
    return scores


def _ban_repeated_ngrams(scores: np.ndarray, history: np.ndarray, size: int) -> None:
  """Minus infinity for tokens that would end a sequence of `size` tokens that has occurred."""
  count = history.shape[1]
  if count < size:
    return
  windows = np.lib.stride_tricks.sliding_window_view(history, size, 1)  # Shape: [R, H - size + 1, size]
  matches = (windows[:, :, :-1] == history[:, None, count - size + 1 :]).all(2)
  rows, places = np.nonzero(matches)
  scores[rows, windows[rows, places, -1]] = -math.inf
