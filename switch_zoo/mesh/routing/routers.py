"""Routers in which tokens choose: top-1 (Switch), top-2 (GShard), top-n, no-token-left-behind.

A router is an object that gin builds. It composes the pieces of this package and returns a `Routing` record; the
layer never asks which router it has.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import gin
import mesh_tensorflow as mtf

from switch_zoo.errors import UserError, did_you_mean
from switch_zoo.mesh.routing import gates, losses, metrics, slots
from switch_zoo.mesh.routing.record import Choice, Routing, TokensChoose


class Router:
  """What the layer expects. A new router says how to `route`, and what each of its losses weighs.

  kernel_name: of the gating kernel, as in checkpoints of the released layer
  sees_future: a token's route may depend on later tokens of its sequence; refused in a decoder
  """

  kernel_name = 'gating'
  sees_future = False

  def check(self, num_experts):
    """Raises UserError if this router cannot serve so many experts; called when the layer is built."""

  @property
  def loss_coefs(self):
    """Name of a loss -> its coefficient. A loss with coefficient 0 need not be computed."""
    return {}

  def route(self, tokens, setting):
    """Tokens, Setting -> Routing."""
    raise NotImplementedError


class TokenChoiceRouter(Router):
  """Logits, probabilities, experts in order of preference, queues; a subclass says which experts and gates."""

  def __init__(self, balance_loss_coef, z_loss_coef, balance_loss=losses.switch_balance):
    self._balance_loss_coef = not_negative('balance_loss_coef', balance_loss_coef)
    self._z_loss_coef = not_negative('z_loss_coef', z_loss_coef)
    self._balance_loss = balance_loss

  @property
  def loss_coefs(self):
    return {'balance': self._balance_loss_coef, 'router_z': self._z_loss_coef}

  def _record(self, tokens, setting, logits, probabilities, choices, first_count, count, more_losses=()):
    """Adds losses and metrics to the choices. first_count, count: <int32>[O, G, E], first and all choices."""
    decision = TokensChoose(choices, setting.experts, setting.capacity)
    computed = dict(more_losses)
    if self._balance_loss_coef:
      computed['balance'] = self._balance_loss(first_count, probabilities, tokens.share)
    if self._z_loss_coef:
      computed['router_z'] = losses.router_z(logits, tokens.share)
    measured = metrics.summary(decision, count, probabilities, choices[0].gate, tokens.share)
    return Routing(decision, computed, measured, tokens.x.dtype)


@gin.configurable(module='routing')
class Top1(TokenChoiceRouter):
  """Each token goes to its best expert; the gate is the router's probability, not renormalized.

  Source: Switch Transformers, arXiv:2101.03961: equations 1 and 2, policies of appendix C. With
  `batch_prioritized` a crowded expert keeps the tokens with the highest gate instead of the first ones
  (arXiv:2106.05974, section 4; the released `switch_max`).
  """

  kernel_name = 'switch_gating'

  def __init__(
    self,
    policy='input_jitter',
    jitter=1e-2,
    input_dropout=0.1,
    temperature=1.0,
    batch_prioritized=False,
    balance_loss_coef=1e-2,
    z_loss_coef=0.0,
  ):
    """
    Args:
      policy: how to explore in training: argmax, sample, input_dropout or input_jitter
      jitter, input_dropout, temperature: strength of the noise of that policy
      batch_prioritized: highest gate first when an expert is full
      balance_loss_coef: alpha of equation 4
      z_loss_coef: of the router z-loss; not multiplied by alpha
    """
    super().__init__(balance_loss_coef, z_loss_coef)
    self._policy = gates.policy_named(policy)
    self._strength = {'sample': temperature, 'input_dropout': input_dropout}.get(policy, jitter)
    self._batch_prioritized = batch_prioritized

  def route(self, tokens, setting):
    policy = self._policy if setting.train else gates.POLICIES['argmax']
    # The router computes in float32, whatever the activations are: arXiv:2101.03961, section 2.4.
    x = policy.of_input(mtf.cast(tokens.x, setting.dtype), self._strength)
    logits = gates.logits(x, setting, self.kernel_name)
    probabilities = gates.probabilities(logits, setting.experts)
    expert = gates.best(policy.of_logits(logits, self._strength), setting.experts)
    gate = gates.gate_of(probabilities, expert, setting.experts)
    expert = gates.only_where(tokens.real, expert)
    priority = gate if self._batch_prioritized else None
    place, count = slots.queue(expert, slots.empty(expert, setting.experts), priority)
    return self._record(tokens, setting, logits, probabilities, [Choice(expert, place, gate)], count, count)


class SecondChoice(NamedTuple):
  """Which tokens use their second (third, ...) expert; the place in its queue is held either way.

  in_training and in_evaluation: <float32>[O, G, S] normalized gates -> <bool>[O, G, S], or None for all tokens.
  """

  in_training: Callable
  in_evaluation: Callable


def _above(gate, threshold):
  return mtf.greater(gate, threshold)


def _by_chance(gate, threshold):
  """With probability min(1, gate / threshold); threshold 0.5 is the 2 * g2 of GShard's algorithm 1."""
  return mtf.less(mtf.random_uniform(gate.mesh, gate.shape) * threshold, gate)


def _always(gate, threshold):
  del threshold
  return mtf.greater_equal(gate, 0.0)


def _never(gate, threshold):
  del threshold
  return mtf.less(gate, 0.0)


# Evaluation has no chance in it: where training draws, all second experts are used.
SECOND_CHOICES = {
  'all': SecondChoice(_always, _always),
  'none': SecondChoice(_never, _never),
  'threshold': SecondChoice(_above, _above),
  'random': SecondChoice(_by_chance, _always),
}


@gin.configurable(module='routing')
class TopN(TokenChoiceRouter):
  """Each token goes to its n best experts, whose gates are normalized to sum to one.

  First choices stand in the queues before second ones, and so on.
  Source: the released `top_n`; for n = 2 see `Top2`.
  """

  kernel_name = 'top_n_gating'

  def __init__(
    self,
    n=3,
    second_policy='random',
    second_threshold=0.5,
    balance_loss=losses.switch_balance,
    balance_loss_coef=1e-2,
    second_balance_loss_coef=0.0,
    z_loss_coef=0.0,
  ):
    """
    Args:
      n: experts of a token
      second_policy: which tokens use the experts after the first: all, none, threshold (gate above
        second_threshold) or random (with probability gate / second_threshold in training, all in evaluation)
      second_threshold: of that policy
      balance_loss: `losses.switch_balance` or `losses.gshard_balance`
      balance_loss_coef: of the balance of first choices
      second_balance_loss_coef: of the balance of second choices
      z_loss_coef: of the router z-loss
    """
    super().__init__(balance_loss_coef, z_loss_coef, balance_loss)
    if n < 1:
      raise UserError(f'n={n}: a token goes to at least one expert.')
    if second_policy not in SECOND_CHOICES:
      raise UserError(
        f'second_policy={second_policy!r} is unknown. Use one of {", ".join(SECOND_CHOICES)}.'
        f'{did_you_mean(second_policy, SECOND_CHOICES)}'
      )
    if second_threshold <= 0:
      raise UserError(f'second_threshold={second_threshold} must be positive. GShard has 0.5.')
    self._n = n
    self._second = SECOND_CHOICES[second_policy]
    self._second_threshold = second_threshold
    self._second_balance_loss_coef = not_negative('second_balance_loss_coef', second_balance_loss_coef)

  def check(self, num_experts):
    if self._n > num_experts:
      raise UserError(
        f'{type(self).__name__} sends a token to n={self._n} experts and there are num_experts={num_experts}. '
        f'Use n={num_experts} or fewer, or more experts.'
      )

  @property
  def loss_coefs(self):
    return {**super().loss_coefs, 'second_balance': self._second_balance_loss_coef}

  def route(self, tokens, setting):
    logits = gates.logits(mtf.cast(tokens.x, setting.dtype), setting, self.kernel_name)
    probabilities = gates.probabilities(logits, setting.experts)
    experts = gates.best_k(probabilities, self._n, setting.experts)
    weights = [gates.gate_of(probabilities, expert, setting.experts) for expert in experts]
    if self._n > 1:
      weights = gates.normalized(weights)
    choices, counts = self._stand_in_line(experts, weights, tokens, setting)
    more = {}
    if self._second_balance_loss_coef and self._n > 1:
      more['second_balance'] = self._second_balance(experts[0], counts, probabilities, tokens, setting)
    return self._record(tokens, setting, logits, probabilities, choices, counts[0], counts[-1], more)

  def _stand_in_line(self, experts, weights, tokens, setting):
    """-> choices, and the length of the queues after each of them, <int32>[O, G, E]"""
    used = self._second.in_training if setting.train else self._second.in_evaluation
    length = slots.empty(experts[0], setting.experts)
    choices, counts = [], []
    for rank, (expert, gate) in enumerate(zip(experts, weights, strict=True)):
      expert = gates.only_where(tokens.real, expert)
      place, length = slots.queue(expert, length)
      if rank > 0:
        expert = gates.only_where(mtf.to_float(used(gate, self._second_threshold)), expert)
      choices.append(Choice(expert, place, gate))
      counts.append(length)
    return choices, counts

  def _second_balance(self, first, counts, probabilities, tokens, setting):
    """The balance loss of second choices: their share, times the probabilities without the first choice."""
    rest = probabilities * (1.0 - mtf.one_hot(first, setting.experts, dtype=probabilities.dtype))
    rest /= mtf.reduce_sum(rest, reduced_dim=setting.experts) + 1e-9
    return self._balance_loss(counts[1] - counts[0], rest, tokens.share)


@gin.configurable(module='routing')
class Top2(TopN):
  """Each token goes to its two best experts; the second one by chance, the likelier the higher its gate.

  Source: GShard, arXiv:2006.16668, algorithm 1 (`second_threshold` 0.5 is its uniform(0, 1) < 2 * g2; the released
  layer's default is 0.2). The balance loss is on Switch's scale unless `balance_loss` is `gshard_balance`.
  """

  kernel_name = 'top_2_gating'

  def __init__(
    self,
    second_policy='random',
    second_threshold=0.5,
    balance_loss=losses.switch_balance,
    balance_loss_coef=1e-2,
    second_balance_loss_coef=0.0,
    z_loss_coef=0.0,
  ):
    """Args: see `TopN`."""
    super().__init__(
      2, second_policy, second_threshold, balance_loss, balance_loss_coef, second_balance_loss_coef, z_loss_coef
    )


@gin.configurable(module='routing')
class NoTokenLeftBehind(TokenChoiceRouter):
  """A token whose expert is full tries its next best one, up to `most_tries` experts; its gate is that expert's.

  All tokens try their best expert before any tries its second. Source: arXiv:2101.03961, appendix B.
  The balance loss is over first choices: over all k, it is constant when k is the number of experts.
  """

  kernel_name = 'ntlb_gating'

  def __init__(self, most_tries=4, jitter=1e-2, balance_loss_coef=1e-2, z_loss_coef=0.0):
    """
    Args:
      most_tries: experts a token tries; all of them when there are fewer
      jitter: of the router's input, in training
      balance_loss_coef: alpha of equation 4
      z_loss_coef: of the router z-loss
    """
    super().__init__(balance_loss_coef, z_loss_coef)
    if most_tries < 1:
      raise UserError(f'most_tries={most_tries}: a token tries at least one expert.')
    self._most_tries = most_tries
    self._jitter = jitter

  def route(self, tokens, setting):
    x = mtf.cast(tokens.x, setting.dtype)
    logits = gates.logits(gates.jitter(x, self._jitter) if setting.train else x, setting, self.kernel_name)
    probabilities = gates.probabilities(logits, setting.experts)
    tries = min(self._most_tries, setting.experts.size)
    left, length, first_count = tokens.real, slots.empty(tokens.real, setting.experts), None
    found, place = [], []
    for expert in gates.best_k(probabilities, tries, setting.experts):
      expert = gates.only_where(left, expert)
      where, length = slots.queue(expert, length)
      first_count = length if first_count is None else first_count
      fits = left * mtf.to_float(mtf.less(where, setting.capacity.size))
      kept_expert, kept_place = gates.only_where(fits, expert, where)
      found.append(kept_expert)
      place.append(kept_place)
      left -= fits
    # One of a token's tries has an expert and a place, the others have -1.
    expert, place = functools.reduce(mtf.maximum, found), functools.reduce(mtf.maximum, place)
    gate = gates.gate_of(probabilities, expert, setting.experts)
    choices = [Choice(expert, place, gate)]
    return self._record(tokens, setting, logits, probabilities, choices, first_count, first_count)


def not_negative(name, value):
  """`value`, if it can be the coefficient of a loss."""
  if value < 0:
    raise UserError(f'{name}={value}: a loss coefficient cannot be negative. Use 0 to switch the loss off.')
  return value
