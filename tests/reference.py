"""Routing as plain loops over groups and tokens, for tests. NumPy only, float64, one letter per axis: G S E C M.

real [G, S] is 1 for a token and 0 for padding. A combine array [G, S, E, C] holds the gate of each token at its slot.
"""

from collections.abc import Callable
from math import erf, sqrt

import numpy as np


def softmax(logits: np.ndarray) -> np.ndarray:
  """[..., E] -> [..., E]"""
  powers = np.exp(logits - logits.max(-1, keepdims=True))
  return powers / powers.sum(-1, keepdims=True)


def ranked(scores: np.ndarray) -> list[int]:
  """Experts from best to worst, the first of equal ones first. [E] -> [E]"""
  return sorted(range(len(scores)), key=lambda e: (-scores[e], e))


class Queues:
  """The experts' queues of one group; every token that joins is counted, even if the expert is full."""

  def __init__(self, combine: np.ndarray, capacity: int) -> None:
    self.combine, self.capacity = combine, capacity
    self.length = np.zeros(combine.shape[1], int)

  def join(self, token: int, expert: int, gate: float, stays: bool = True) -> bool:
    """`token` joins the queue of `expert`; True if it got a slot, which it gives up unless it `stays`."""
    place = self.length[expert]
    self.length[expert] += 1
    if stays and place < self.capacity:
      self.combine[token, expert, place] = gate
      return True
    return False


def top1(probabilities: np.ndarray, real: np.ndarray, capacity: int, prioritized: bool = False) -> np.ndarray:
  """Tokens queue in order, or highest gate first; a full expert drops the others. -> [G, S, E, C]"""
  groups, tokens, experts = probabilities.shape
  combine = np.zeros((groups, tokens, experts, capacity))
  for g in range(groups):
    queues = Queues(combine[g], capacity)
    p = probabilities[g]
    order = sorted(range(tokens), key=lambda s: (-p[s].max() if prioritized else 0, s))
    for s in order:
      if real[g, s]:
        best = ranked(p[s])[0]
        queues.join(s, best, p[s, best])
  return combine


def top_n(
  probabilities: np.ndarray,
  real: np.ndarray,
  capacity: int,
  n: int,
  uses: Callable[[float], bool] = lambda gate: True,
) -> np.ndarray:
  """All first choices queue before all second ones; gates are normalized over the n choices. -> [G, S, E, C]"""
  groups, tokens, experts = probabilities.shape
  combine = np.zeros((groups, tokens, experts, capacity))
  for g in range(groups):
    queues = Queues(combine[g], capacity)
    for rank in range(n):
      for s in range(tokens):
        if real[g, s]:
          chosen = ranked(probabilities[g, s])[:n]
          gates = probabilities[g, s, chosen]
          gate = gates[rank] / gates.sum() if n > 1 else gates[rank]
          queues.join(s, chosen[rank], gate, stays=rank == 0 or uses(gate))
  return combine


def no_token_left_behind(probabilities: np.ndarray, real: np.ndarray, capacity: int, tries: int) -> np.ndarray:
  """A token whose expert is full tries its next best, after all have tried their best. -> [G, S, E, C]"""
  groups, tokens, experts = probabilities.shape
  combine = np.zeros((groups, tokens, experts, capacity))
  for g in range(groups):
    queues, unplaced = Queues(combine[g], capacity), [s for s in range(tokens) if real[g, s]]
    for rank in range(min(tries, experts)):
      expert = {s: ranked(probabilities[g, s])[rank] for s in unplaced}
      unplaced = [s for s in unplaced if not queues.join(s, expert[s], probabilities[g, s, expert[s]])]
  return combine


def expert_choice(probabilities: np.ndarray, real: np.ndarray, capacity: int) -> np.ndarray:
  """Each expert takes the tokens that give it the highest probability. -> [G, S, E, C]"""
  groups, tokens, experts = probabilities.shape
  combine = np.zeros((groups, tokens, experts, capacity))
  for g in range(groups):
    for e in range(experts):
      order = sorted((s for s in range(tokens) if real[g, s]), key=lambda s: (-probabilities[g, s, e], s))
      for c, s in enumerate(order[:capacity]):
        combine[g, s, e, c] = probabilities[g, s, e]
  return combine


def kept_softmax(logits: np.ndarray, k: int) -> np.ndarray:
  """Softmax over the k best logits, zero elsewhere; equations 3 and 5 of arXiv:1701.06538. [..., E] -> same shape"""
  kept = np.full(logits.shape, -np.inf)
  for index in np.ndindex(logits.shape[:-1]):
    best = ranked(logits[index])[:k]
    kept[index][best] = logits[index][best]
  return softmax(kept)


def noisy_top_k(logits: np.ndarray, real: np.ndarray, capacity: int, k: int) -> np.ndarray:
  """The k experts with the highest (noisy) logits. -> [G, S, E, C]"""
  return top_n(kept_softmax(logits, k), real, capacity, k)


def first_choices(probabilities: np.ndarray, real: np.ndarray) -> np.ndarray:
  """The number of real tokens for which each expert is the best. -> [G, E]"""
  count = np.zeros((probabilities.shape[0], probabilities.shape[2]))
  for g, s in zip(*np.nonzero(real), strict=True):
    count[g, ranked(probabilities[g, s])[0]] += 1
  return count


def switch_balance(probabilities: np.ndarray, real: np.ndarray) -> float:
  """Equations 4 to 6 of arXiv:2101.03961 without alpha: per group, then the mean weighted by the tokens of groups."""
  experts, total = probabilities.shape[2], 0.0
  count = first_choices(probabilities, real)
  for g in range(len(real)):
    n = real[g].sum()
    if n:
      f = count[g] / n
      p = sum(probabilities[g, s] for s in range(len(real[g])) if real[g, s]) / n
      total += n * experts * float(f @ p)
  return total / max(real.sum(), 1)


def router_z(logits: np.ndarray, real: np.ndarray) -> float:
  """Mean over the real tokens of log(sum(exp(logits)))**2."""
  values = [np.log(np.exp(logits[g, s]).sum()) ** 2 for g, s in zip(*np.nonzero(real), strict=True)]
  return sum(values) / max(len(values), 1)


def squared_variation(values: np.ndarray) -> np.floating:
  """(standard deviation / mean)**2"""
  return np.var(values) / np.mean(values) ** 2


def importance(gates: np.ndarray, real: np.ndarray) -> np.floating:
  """Equation 7 of arXiv:1701.06538 without its weight."""
  return squared_variation(
    sum((gates[g, s] for g, s in zip(*np.nonzero(real), strict=True)), np.zeros(gates.shape[-1]))
  )


def smooth_load(clean: np.ndarray, noisy: np.ndarray, deviation: np.ndarray, k: int, real: np.ndarray) -> np.floating:
  """Equations 8 to 11 of arXiv:1701.06538 without their weight."""
  experts, load = clean.shape[2], np.zeros(clean.shape[2])
  for g, s in zip(*np.nonzero(real), strict=True):
    for e in range(experts):
      others = sorted((noisy[g, s, o] for o in range(experts) if o != e), reverse=True)
      z = (clean[g, s, e] - others[k - 1]) / deviation[g, s, e]
      load[e] += 0.5 * (1 + erf(z / sqrt(2)))
  return squared_variation(load)


def experts_output(x: np.ndarray, combine: np.ndarray, wi: np.ndarray, wo: np.ndarray) -> np.ndarray:
  """What the layer returns: each token's experts, scaled by their gates. x [G, S, M] -> [G, S, M]"""
  output = np.zeros(x.shape)
  for g, s, e, c in zip(*np.nonzero(combine), strict=True):
    output[g, s] += combine[g, s, e, c] * (np.maximum(x[g, s] @ wi[e], 0) @ wo[e])
  return output


def entropy(probabilities: np.ndarray, real: np.ndarray) -> np.floating:
  """Mean entropy in nats over the real tokens."""
  return np.mean([-(p * np.log(p)).sum() for p in probabilities[np.nonzero(real)]])
