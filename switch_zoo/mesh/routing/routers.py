"""Routers in which tokens choose: top-1 (Switch), top-2 (GShard), top-n, no token left behind."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import gin
import mesh_tensorflow as mtf

from switch_zoo.errors import UserError, did_you_mean
from switch_zoo.mesh.routing import gates, losses, slots
from switch_zoo.mesh.routing.record import Choice, RouterSetting, Routing, Tokens
from switch_zoo.mesh.routing.router_base import BalanceLoss, TokenChoiceRouter, not_negative


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
    policy: str = 'input_jitter',
    jitter: float = 1e-2,
    input_dropout: float = 0.1,
    temperature: float = 1.0,
    batch_prioritized: bool = False,
    balance_loss_coef: float = 1e-2,
    z_loss_coef: float = 0.0,
  ) -> None:
    """
    Args:
      policy: how to explore in training: argmax, sample, input_dropout or input_jitter
      jitter, input_dropout, temperature: strength of the noise of that policy
      batch_prioritized: highest gate first when an expert is full
      balance_loss_coef: alpha of equation 4
      z_loss_coef: of the router z-loss; not multiplied by alpha
    Raises:
      UserError: the policy is unknown, or a coefficient is negative
    """
    super().__init__(balance_loss_coef, z_loss_coef)
    self._policy = gates.policy_named(policy)
    self._strength = {'sample': temperature, 'input_dropout': input_dropout}.get(policy, jitter)
    self._batch_prioritized = batch_prioritized

  def route(self, tokens: Tokens, setting: RouterSetting) -> Routing:
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


# Of gates <float32>[O, G, S] and a threshold: <bool>[O, G, S].
GatePredicate = Callable[[mtf.Tensor, float], mtf.Tensor]


class SecondChoice(NamedTuple):
  """Which tokens use their second (third, ...) expert, by its normalized gate; its queue keeps a place either way."""

  in_training: GatePredicate
  in_evaluation: GatePredicate


def _above(gate: mtf.Tensor, threshold: float) -> mtf.Tensor:
  return mtf.greater(gate, threshold)


def _by_chance(gate: mtf.Tensor, threshold: float) -> mtf.Tensor:
  """With probability min(1, gate / threshold); threshold 0.5 is the 2 * g2 of GShard's algorithm 1."""
  return mtf.less(mtf.random_uniform(gate.mesh, gate.shape) * threshold, gate)


def _always(gate: mtf.Tensor, threshold: float) -> mtf.Tensor:
  del threshold
  return mtf.greater_equal(gate, 0.0)


def _never(gate: mtf.Tensor, threshold: float) -> mtf.Tensor:
  del threshold
  return mtf.less(gate, 0.0)


# Evaluation is deterministic: where training draws, all second experts are used.
SECOND_CHOICES = {
  'all': SecondChoice(_always, _always),
  'none': SecondChoice(_never, _never),
  'threshold': SecondChoice(_above, _above),
  'random': SecondChoice(_by_chance, _always),
}


@gin.configurable(module='routing')
class TopN(TokenChoiceRouter):
  """Each token goes to its n best experts, whose gates are normalized to sum to one.

  First choices come before second ones in the queues, and so on.
  Source: the released `top_n`; for n = 2 see `Top2`.
  """

  kernel_name = 'top_n_gating'

  def __init__(
    self,
    n: int = 3,
    second_policy: str = 'random',
    second_threshold: float = 0.5,
    balance_loss: BalanceLoss = losses.switch_balance,
    balance_loss_coef: float = 1e-2,
    second_balance_loss_coef: float = 0.0,
    z_loss_coef: float = 0.0,
  ) -> None:
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
    Raises:
      UserError: a value that is out of range or unknown
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
      raise UserError(f'second_threshold={second_threshold} must be positive. GShard uses 0.5.')
    self._n = n
    self._second = SECOND_CHOICES[second_policy]
    self._second_threshold = second_threshold
    self._second_balance_loss_coef = not_negative('second_balance_loss_coef', second_balance_loss_coef)

  def check(self, num_experts: int) -> None:
    """Raises UserError if there are fewer than n experts."""
    if self._n > num_experts:
      raise UserError(
        f'{type(self).__name__} sends a token to n={self._n} experts, but there are num_experts={num_experts}. '
        f'Use n={num_experts} or fewer, or more experts.'
      )

  @property
  def loss_coefs(self) -> Mapping[str, float]:
    return {**super().loss_coefs, 'second_balance': self._second_balance_loss_coef}

  def route(self, tokens: Tokens, setting: RouterSetting) -> Routing:
    logits = gates.logits(mtf.cast(tokens.x, setting.dtype), setting, self.kernel_name)
    probabilities = gates.probabilities(logits, setting.experts)
    experts = gates.best_k(probabilities, self._n, setting.experts)
    weights = [gates.gate_of(probabilities, expert, setting.experts) for expert in experts]
    if self._n > 1:
      weights = gates.normalized(weights)
    choices, counts = self._enqueue(experts, weights, tokens, setting)
    second_balance = {}
    if self._second_balance_loss_coef and self._n > 1:
      second_balance['second_balance'] = self._second_balance(experts[0], counts, probabilities, tokens, setting)
    return self._record(tokens, setting, logits, probabilities, choices, counts[0], counts[-1], second_balance)

  def _enqueue(
    self, experts: Sequence[mtf.Tensor], weights: Sequence[mtf.Tensor], tokens: Tokens, setting: RouterSetting
  ) -> tuple[list[Choice], list[mtf.Tensor]]:
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

  def _second_balance(
    self,
    first: mtf.Tensor,
    counts: Sequence[mtf.Tensor],
    probabilities: mtf.Tensor,
    tokens: Tokens,
    setting: RouterSetting,
  ) -> mtf.Tensor:
    """The balance loss of second choices: their share, times the probabilities without the first choice."""
    rest = probabilities * (1.0 - mtf.one_hot(first, setting.experts, dtype=probabilities.dtype))
    rest /= mtf.reduce_sum(rest, reduced_dim=setting.experts) + 1e-9
    return self._balance_loss(counts[1] - counts[0], rest, tokens.share)


@gin.configurable(module='routing')
class Top2(TopN):
  """Each token goes to its two best experts; the second is used by chance, more likely the higher its gate.

  Source: GShard, arXiv:2006.16668, algorithm 1 (`second_threshold` 0.5 is its uniform(0, 1) < 2 * g2; the released
  layer's default is 0.2). The balance loss is on Switch's scale unless `balance_loss` is `gshard_balance`.
  """

  kernel_name = 'top_2_gating'

  def __init__(
    self,
    second_policy: str = 'random',
    second_threshold: float = 0.5,
    balance_loss: BalanceLoss = losses.switch_balance,
    balance_loss_coef: float = 1e-2,
    second_balance_loss_coef: float = 0.0,
    z_loss_coef: float = 0.0,
  ) -> None:
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

  def __init__(
    self,
    most_tries: int = 4,
    jitter: float = 1e-2,
    balance_loss_coef: float = 1e-2,
    z_loss_coef: float = 0.0,
  ) -> None:
    """
    Args:
      most_tries: experts a token tries; all of them when there are fewer
      jitter: of the router's input, in training
      balance_loss_coef: alpha of equation 4
      z_loss_coef: of the router z-loss
    Raises:
      UserError: `most_tries` is below one, or a coefficient is negative
    """
    super().__init__(balance_loss_coef, z_loss_coef)
    if most_tries < 1:
      raise UserError(f'most_tries={most_tries}: a token tries at least one expert.')
    self._most_tries = most_tries
    self._jitter = jitter

  def route(self, tokens: Tokens, setting: RouterSetting) -> Routing:
    x = mtf.cast(tokens.x, setting.dtype)
    logits = gates.logits(gates.jitter(x, self._jitter) if setting.train else x, setting, self.kernel_name)
    probabilities = gates.probabilities(logits, setting.experts)
    choice, first_count = self._enqueue(probabilities, tokens, setting)
    return self._record(tokens, setting, logits, probabilities, [choice], first_count, first_count)

  def _enqueue(self, probabilities: mtf.Tensor, tokens: Tokens, setting: RouterSetting) -> tuple[Choice, mtf.Tensor]:
    """-> the choice, and how many tokens chose each expert first, <int32>[O, G, E]"""
    num_tries = min(self._most_tries, setting.experts.size)
    unplaced, length = tokens.real, slots.empty(tokens.real, setting.experts)
    experts, places, lengths = [], [], []
    for expert in gates.best_k(probabilities, num_tries, setting.experts):
      expert = gates.only_where(unplaced, expert)
      place, length = slots.queue(expert, length)
      fits = unplaced * mtf.to_float(mtf.less(place, setting.capacity.size))
      experts.append(gates.only_where(fits, expert))
      places.append(gates.only_where(fits, place))
      lengths.append(length)
      unplaced -= fits
    # One of a token's tries has an expert and a place, the others have -1.
    expert, place = functools.reduce(mtf.maximum, experts), functools.reduce(mtf.maximum, places)
    return Choice(expert, place, gates.gate_of(probabilities, expert, setting.experts)), lengths[0]
