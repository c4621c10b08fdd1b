"""Routers in which tokens choose: top-1 (Switch), top-2 (GShard), top-n, no-token-left-behind.

A router is an object that gin builds. It composes the pieces of this package and returns a `Routing` record; the
layer never asks which router it has.
"""
import gin
import mesh_tensorflow as mtf

from switch_zoo.errors import UserError
from switch_zoo.routing import gates, losses, metrics, slots
from switch_zoo.routing.record import Choice, Routing, TokensChoose


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
    self._balance_loss_coef = _not_negative('balance_loss_coef', balance_loss_coef)
    self._z_loss_coef = _not_negative('z_loss_coef', z_loss_coef)
    self._balance_loss = balance_loss

  @property
  def loss_coefs(self):
    return {'balance': self._balance_loss_coef, 'router_z': self._z_loss_coef}

  def _record(self, tokens, setting, logits, probabilities, choices, first_count, count):
    """Adds losses and metrics to the choices. first_count, count: <int32>[O, G, E], first and all choices."""
    decision = TokensChoose(choices, setting.experts, setting.capacity)
    computed = {}
    if self._balance_loss_coef:
      computed['balance'] = self._balance_loss(first_count, probabilities, tokens.real)
    if self._z_loss_coef:
      computed['router_z'] = losses.router_z(logits, tokens.real)
    measured = metrics.summary(decision, count, probabilities, choices[0].gate, tokens.real)
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
    """Args:
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
    probabilities = mtf.softmax(logits, setting.experts)
    expert = gates.best(policy.of_logits(logits, self._strength), setting.experts)
    gate = gates.gate_of(probabilities, expert, setting.experts)
    expert = gates.only_real(expert, tokens.real)
    priority = gate if self._batch_prioritized else None
    place, count = slots.queue(expert, slots.empty(expert, setting.experts), priority)
    return self._record(tokens, setting, logits, probabilities, [Choice(expert, place, gate)], count, count)


def _not_negative(name, value):
  if value < 0:
    raise UserError(f'{name}={value}: a loss coefficient cannot be negative. Use 0 to switch the loss off.')
  return value
