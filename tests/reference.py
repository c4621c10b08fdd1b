"""Routing as plain loops over groups and tokens, for tests. NumPy only, float64, one letter per axis: G S E C M.

real [G, S] is 1 for a token and 0 for padding. A combine array [G, S, E, C] holds the gate of each token at its slot.
"""

import numpy as np


def softmax(logits):
  """[..., E] -> [..., E]"""
  powers = np.exp(logits - logits.max(-1, keepdims=True))
  return powers / powers.sum(-1, keepdims=True)


def ranked(scores):
  """Experts from best to worst, the first of equal ones first. [E] -> [E]"""
  return sorted(range(len(scores)), key=lambda e: (-scores[e], e))


class Queues:
  """The experts' queues of one group; everyone who comes is counted, also when it is full."""

  def __init__(self, combine, capacity):
    self.combine, self.capacity = combine, capacity
    self.length = np.zeros(combine.shape[1], int)

  def join(self, token, expert, gate, stays=True):
    """Token `token` stands in line before `expert`; True if it got a slot."""
    place = self.length[expert]
    self.length[expert] += 1
    if stays and place < self.capacity:
      self.combine[token, expert, place] = gate
      return True
    return False


def top1(probabilities, real, capacity, prioritized=False, expert=None):
  """Tokens queue in order, or highest gate first; a full expert drops the rest. -> [G, S, E, C]"""
  groups, tokens, experts = probabilities.shape
  combine = np.zeros((groups, tokens, experts, capacity))
  for g in range(groups):
    queues = Queues(combine[g], capacity)
    p = probabilities[g]
    order = sorted(range(tokens), key=lambda s: (-p[s].max() if prioritized else 0, s))
    for s in order:
      if real[g, s]:
        best = ranked(p[s])[0] if expert is None else expert[g, s]
        queues.join(s, best, p[s, best])
  return combine


def top_n(probabilities, real, capacity, n, uses=lambda gate: True):
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


def no_token_left_behind(probabilities, real, capacity, tries):
  """Whoever found its expert full tries the next best, after all have tried theirs. -> [G, S, E, C]"""
  groups, tokens, experts = probabilities.shape
  combine = np.zeros((groups, tokens, experts, capacity))
  for g in range(groups):
    queues, left = Queues(combine[g], capacity), [s for s in range(tokens) if real[g, s]]
    for rank in range(min(tries, experts)):
      ranks = {s: ranked(probabilities[g, s])[rank] for s in left}
      left = [s for s in left if not queues.join(s, ranks[s], probabilities[g, s, ranks[s]])]
  return combine


def expert_choice(probabilities, real, capacity):
  """Each expert takes the tokens that give it the highest probability. -> [G, S, E, C]"""
  groups, tokens, experts = probabilities.shape
  combine = np.zeros((groups, tokens, experts, capacity))
  for g in range(groups):
    for e in range(experts):
      order = sorted((s for s in range(tokens) if real[g, s]), key=lambda s: (-probabilities[g, s, e], s))
      for c, s in enumerate(order[:capacity]):
        combine[g, s, e, c] = probabilities[g, s, e]
  return combine


def kept_softmax(logits, k):
  """Softmax over the k best logits, zero elsewhere; equations 3 and 5 of arXiv:1701.06538. [..., E] -> same shape"""
  kept = np.full(logits.shape, -np.inf)
  for index in np.ndindex(logits.shape[:-1]):
    best = ranked(logits[index])[:k]
    kept[index][best] = logits[index][best]
  return softmax(kept)


def noisy_top_k(logits, real, capacity, k):
  """The k experts with the highest (noisy) logits. -> [G, S, E, C]"""
  return top_n(kept_softmax(logits, k), real, capacity, k)


def first_choices(probabilities, real):
  """How many real tokens like each expert best. -> [G, E]"""
  count = np.zeros((probabilities.shape[0], probabilities.shape[2]))
  for g, s in zip(*np.nonzero(real), strict=True):
    count[g, ranked(probabilities[g, s])[0]] += 1
  return count


def switch_balance(probabilities, real):
  """Equations 4 to 6 of arXiv:2101.03961 without alpha, group by group, groups averaged by their real tokens."""
  experts, total = probabilities.shape[2], 0.0
  count = first_choices(probabilities, real)
  for g in range(len(real)):
    n = real[g].sum()
    if n:
      f = count[g] / n
      p = sum(probabilities[g, s] for s in range(len(real[g])) if real[g, s]) / n
      total += n * experts * float(f @ p)
  return total / max(real.sum(), 1)


def router_z(logits, real):
  """Mean over the real tokens of log(sum(exp(logits)))**2."""
  values = [np.log(np.exp(logits[g, s]).sum()) ** 2 for g, s in zip(*np.nonzero(real), strict=True)]
  return sum(values) / max(len(values), 1)


def squared_variation(values):
  """(standard deviation / mean)**2"""
  return np.var(values) / np.mean(values) ** 2


def importance(gates, real):
  """Equation 7 of arXiv:1701.06538 without its weight."""
  return squared_variation(sum(gates[g, s] for g, s in zip(*np.nonzero(real), strict=True)))


def smooth_load(clean, noisy, deviation, k, real):
  """Equations 8 to 11 of arXiv:1701.06538 without their weight."""
  from math import erf, sqrt

  experts, load = clean.shape[2], np.zeros(clean.shape[2])
  for g, s in zip(*np.nonzero(real), strict=True):
    for e in range(experts):
      others = sorted((noisy[g, s, o] for o in range(experts) if o != e), reverse=True)
      z = (clean[g, s, e] - others[k - 1]) / deviation[g, s, e]
      load[e] += 0.5 * (1 + erf(z / sqrt(2)))
  return squared_variation(load)


def experts_output(x, combine, wi, wo):
  """What the layer returns: each token's experts, scaled by their gates. x [G, S, M] -> [G, S, M]"""
  output = np.zeros(x.shape)
  for g, s, e, c in zip(*np.nonzero(combine), strict=True):
    output[g, s] += combine[g, s, e, c] * (np.maximum(x[g, s] @ wi[e], 0) @ wo[e])
  return output


def entropy(probabilities, real):
  """Mean entropy in nats over the real tokens."""
  return np.mean([-(p * np.log(p)).sum() for p in probabilities[np.nonzero(real)]])
