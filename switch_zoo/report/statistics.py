"""What routing says, in NumPy.

N tokens  E experts  G groups of tokens: pieces, kinds or domains
"""

from typing import NamedTuple

import numpy as np

# Shufflings of the tokens; what is stronger than everything in all of them is not noise.
SHUFFLES = 20
DEAD = 0.1  # of the equal share


class Association(NamedTuple):
  """A group of tokens that an expert takes more often than chance.

  group: number of the group
  expert: number of the expert
  count: tokens of the group that the expert took
  lift: how many times as often as if experts were drawn without looking
  deviations: standard deviations above chance
  """

  group: int
  expert: int
  count: int
  lift: float
  deviations: float


def load(expert: np.ndarray, num_experts: int) -> np.ndarray:
  """The share of tokens of each expert. <int>[N], E -> <float64>[E]"""
  return np.bincount(expert, minlength=num_experts) / max(1, len(expert))


def dead(shares: np.ndarray) -> np.ndarray:
  """The experts that have less than a tenth of the equal share. <float>[E] -> <int>[any]"""
  return np.flatnonzero(shares < DEAD / len(shares))


def overloaded(shares: np.ndarray, capacity_factor: float) -> np.ndarray:
  """The experts whose share exceeds the slots that training gives them. <float>[E] -> <int>[any]"""
  return np.flatnonzero(shares > capacity_factor / len(shares))


def entropy(probabilities: np.ndarray) -> float:
  """The mean entropy of distributions <float>[N, E], in nats: 0 where the router is sure, ln E where it is not."""
  logs = np.log(np.maximum(probabilities.astype(np.float64), 1e-30))
  return float(-(probabilities * logs).sum(-1).mean())


def counts(group: np.ndarray, expert: np.ndarray, num_groups: int, num_experts: int) -> np.ndarray:
  """How many tokens of each group each expert took. <int>[N], <int>[N] -> <int64>[G, E]"""
  return np.bincount(group * num_experts + expert, minlength=num_groups * num_experts).reshape(num_groups, num_experts)


def deviations(table: np.ndarray) -> np.ndarray:
  """Standard deviations of each count above what chance gives (hypergeometric). <int>[G, E] -> <float64>[G, E]"""
  total = table.sum()
  rows, columns = table.sum(1, keepdims=True) / total, table.sum(0, keepdims=True) / total
  variance = total * rows * columns * (1 - rows) * (1 - columns) * total / max(1, total - 1)
  return (table - total * rows * columns) / np.sqrt(np.maximum(variance, 1e-12))


def associations(
  group: np.ndarray, expert: np.ndarray, num_groups: int, num_experts: int, seed: int = 0
) -> tuple[list[Association], float]:
  """What experts take more often than in any of `SHUFFLES` shufflings of the tokens, the strongest first.

  Args:
    group: <int>[N] number of each token's group
    expert: <int>[N]
    num_groups, num_experts: G and E
    seed: of the shufflings
  Returns:
    the associations, and the deviations that shuffled tokens reach
  """
  table = counts(group, expert, num_groups, num_experts)
  generator, threshold = np.random.default_rng(seed), 0.0
  for _ in range(SHUFFLES):
    shuffled = counts(group, generator.permutation(expert), num_groups, num_experts)
    threshold = max(threshold, float(deviations(shuffled).max()))
  strength = deviations(table)
  expected = table.sum(1, keepdims=True) * table.sum(0, keepdims=True) / table.sum()
  strong = sorted(zip(*np.nonzero(strength > threshold), strict=True), key=lambda place: -strength[place])
  return [
    Association(int(g), int(e), int(table[g, e]), float(table[g, e] / expected[g, e]), float(strength[g, e]))
    for g, e in strong
  ], threshold


def transitions(before: np.ndarray, after: np.ndarray, num_experts: int) -> np.ndarray:
  """Of each expert's tokens, the share that the next layer sends to each. <int>[N] twice -> <float64>[E, E]"""
  table = counts(before, after, num_experts, num_experts)
  return table / np.maximum(table.sum(1, keepdims=True), 1)


def mutual_information(first: np.ndarray, second: np.ndarray) -> float:
  """How much one assignment says about another: 0 nothing, 1 everything, whatever experts are called.

  The mutual information over the mean of both entropies. <int>[N] twice
  """
  table = counts(first, second, int(first.max()) + 1, int(second.max()) + 1) / len(first)
  rows, columns = table.sum(1), table.sum(0)
  expected = np.outer(rows, columns)
  known = table > 0
  shared = float((table[known] * np.log(table[known] / expected[known])).sum())
  mean = (_entropy(rows) + _entropy(columns)) / 2
  return shared / mean if mean else 1.0


def agreement(first: np.ndarray, second: np.ndarray) -> float:
  """The share of tokens that two routings send to the expert of the same number. <int>[N] twice"""
  return float(np.mean(first == second))


def _entropy(shares: np.ndarray) -> float:
  positive = shares[shares > 0]
  return float(-(positive * np.log(positive)).sum())
