"""What all routers have in common.

A router is an object that gin builds. It composes the pieces of this package and returns a `Routing` record; the
layer never asks which router it has.
"""

from collections.abc import Callable, Mapping, Sequence

import mesh_tensorflow as mtf

from switch_zoo.errors import UserError
from switch_zoo.mesh.routing import losses, metrics
from switch_zoo.mesh.routing.record import Choice, RouterSetting, Routing, Tokens, TokensChoose

# Of count, probabilities and share, as `losses.switch_balance`.
BalanceLoss = Callable[[mtf.Tensor, mtf.Tensor, mtf.Tensor], mtf.Tensor]


class Router:
  """What the layer expects of a router: how it routes, and the coefficient of each of its losses.

  kernel_name: scope of the gating kernel, as in checkpoints of the released layer; '' where there is none
  noise_kernel_name: scope of the kernel of learned noise; '' where there is none
  sees_future: a token's route may depend on later tokens of its sequence; refused in a decoder
  """

  kernel_name: str = 'gating'
  noise_kernel_name: str = ''
  sees_future: bool = False

  def check(self, num_experts: int) -> None:
    """Raises UserError if this router cannot serve this many experts; called when the layer is built."""

  @property
  def loss_coefs(self) -> Mapping[str, float]:
    """Name of a loss -> its coefficient. A loss with coefficient 0 need not be computed."""
    return {}

  def route(self, tokens: Tokens, setting: RouterSetting) -> Routing:
    """Sends each token of each group to experts, or to none."""
    raise NotImplementedError


class TokenChoiceRouter(Router):
  """Logits, probabilities, experts in order of preference, queues; a subclass chooses experts and gates."""

  def __init__(
    self, balance_loss_coef: float, z_loss_coef: float, balance_loss: BalanceLoss = losses.switch_balance
  ) -> None:
    self._balance_loss_coef = not_negative('balance_loss_coef', balance_loss_coef)
    self._z_loss_coef = not_negative('z_loss_coef', z_loss_coef)
    self._balance_loss = balance_loss

  @property
  def loss_coefs(self) -> Mapping[str, float]:
    return {'balance': self._balance_loss_coef, 'router_z': self._z_loss_coef}

  def _record(
    self,
    tokens: Tokens,
    setting: RouterSetting,
    logits: mtf.Tensor,
    probabilities: mtf.Tensor,
    choices: Sequence[Choice],
    first_count: mtf.Tensor,
    count: mtf.Tensor,
    more_losses: Mapping[str, mtf.Tensor] | None = None,
  ) -> Routing:
    """Adds losses and metrics to the choices. first_count, count: <int32>[O, G, E], first and all choices."""
    decision = TokensChoose(choices, setting.experts, setting.capacity)
    computed = dict(more_losses or {})
    if self._balance_loss_coef:
      computed['balance'] = self._balance_loss(first_count, probabilities, tokens.share)
    if self._z_loss_coef:
      computed['router_z'] = losses.router_z(logits, tokens.share)
    measured = metrics.summary(decision, count, probabilities, choices[0].gate, tokens.share)
    return Routing(decision, computed, measured, tokens.x.dtype)


def not_negative(name: str, value: float) -> float:
  """`value`, the loss coefficient that gin knows as `name`.

  Raises:
    UserError: it is negative
  """
  if value < 0:
    raise UserError(f'{name}={value}: a loss coefficient cannot be negative. Use 0 to switch the loss off.')
  return value
