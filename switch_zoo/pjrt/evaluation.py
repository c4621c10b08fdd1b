"""The perplexity of targets by teacher forcing: what the released evaluation measures, from a program's outputs."""

from collections.abc import Iterable, Mapping

import numpy as np


class Perplexity:
  """The metrics of `utils.tpu_estimator_model_fn`, of all batches so far."""

  def __init__(self) -> None:
    self._losses: list[float] = []
    # Metric -> (sum of weighted values, sum of weights).
    self._sums: dict[str, tuple[float, float]] = {}
    self._longest = 0.0

  def add(self, outputs: Mapping[str, np.ndarray]) -> None:
    """A batch.

    Args:
      outputs: loss <float32>[]; cross_entropy, predictions, targets and weights [..., length]
    """
    weights = np.asarray(outputs['weights'], np.float64)
    targets = np.asarray(outputs['targets'])
    correct = (np.asarray(outputs['predictions']) == targets) * weights
    lengths = weights.sum(-1)
    self._losses.append(float(outputs['loss']))
    self._mean('neg_log_perplexity', -np.asarray(outputs['cross_entropy'], np.float64), weights)
    self._mean('token_accuracy', correct, weights)
    self._mean('sequence_accuracy', (correct.sum(-1) == lengths).astype(np.float64), (lengths != 0).astype(np.float64))
    self._mean('mean_label', targets.astype(np.float64), weights)
    self._longest = max(self._longest, float(lengths.max(initial=0.0)))

  def values(self, step: int) -> dict[str, float]:
    """Metric -> value, with the step of the checkpoint as global_step."""
    means = {name: total / weight if weight else 0.0 for name, (total, weight) in self._sums.items()}
    return {
      **means,
      'num_eval_tokens': self._sums.get('token_accuracy', (0.0, 0.0))[1],
      'max_targets_length': self._longest,
      'loss': float(np.mean(self._losses)) if self._losses else 0.0,
      'global_step': step,
    }

  def _mean(self, name: str, values: np.ndarray, weights: np.ndarray) -> None:
    total, weight = self._sums.get(name, (0.0, 0.0))
    self._sums[name] = total + float((values * weights).sum()), weight + float(weights.sum())


def until_end(ids: Iterable[int], end: int = 1) -> list[int]:
  """An answer's ids up to its end, padding in place of what follows, as the released code gives them.

  >>> until_end([5, 1, 7])
  [5, 1, 0]
  """
  kept: list[int] = []
  for token in ids:
    kept.append(0 if end in kept else int(token))
  return kept
