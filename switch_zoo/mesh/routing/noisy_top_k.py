"""Noisy top-k of the first sparsely-gated layer, with its own two losses."""

from collections.abc import Mapping, Sequence

import gin
import mesh_tensorflow as mtf
import tensorflow.compat.v1 as tf

from switch_zoo.errors import UserError
from switch_zoo.mesh.routing import gates, losses, metrics, slots
from switch_zoo.mesh.routing.record import Choice, RouterSetting, Routing, Tokens, TokensChoose
from switch_zoo.mesh.routing.router_base import Router, not_negative


@gin.configurable(module='routing')
class NoisyTopK(Router):
  """Each token goes to the k experts with the best noisy logits; the gates are a softmax over those k logits.

  Source: Outrageously Large Neural Networks, arXiv:1701.06538, section 2.1 (equations 3 to 5) and appendix A
  (importance and load losses; both kernels start at zero). The noise, and the load loss that is built on it, are for
  training only. Beyond the paper: experts have a capacity, and first choices come before second ones.
  """

  kernel_name = 'noisy_top_k_gating'
  noise_kernel_name = 'noisy_top_k_noise'

  def __init__(
    self,
    k: int = 4,
    importance_loss_coef: float = 0.1,
    load_loss_coef: float = 0.1,
    z_loss_coef: float = 0.0,
  ) -> None:
    """
    Args:
      k: experts of a token, fewer than there are experts
      importance_loss_coef: w_importance of equation 7
      load_loss_coef: w_load of equation 11
      z_loss_coef: of the router z-loss
    Raises:
      UserError: k is below one, or a coefficient is negative
    """
    if k < 1:
      raise UserError(f'k={k}: a token goes to at least one expert.')
    self._k = k
    self._coefs = {
      'importance': not_negative('importance_loss_coef', importance_loss_coef),
      'load': not_negative('load_loss_coef', load_loss_coef),
      'router_z': not_negative('z_loss_coef', z_loss_coef),
    }

  def check(self, num_experts: int) -> None:
    """Raises UserError unless there are more than k experts."""
    if self._k >= num_experts:
      raise UserError(
        f'NoisyTopK keeps k={self._k} of num_experts={num_experts} experts; it compares the kept ones with the '
        f'next best, so k must be smaller. Use k={num_experts - 1} or fewer, or more experts.'
      )

  @property
  def loss_coefs(self) -> Mapping[str, float]:
    return self._coefs

  def route(self, tokens: Tokens, setting: RouterSetting) -> Routing:
    x = mtf.cast(tokens.x, setting.dtype)
    zeros = tf.zeros_initializer()
    clean = mtf.to_float(gates.logits(x, setting, self.kernel_name, zeros))
    deviation = mtf.softplus(mtf.to_float(gates.logits(x, setting, self.noise_kernel_name, zeros)))
    noisy = clean
    if setting.train:
      noisy = clean + mtf.random_normal(clean.mesh, clean.shape) * deviation
    experts = gates.best_k(noisy, self._k, setting.experts)
    kept = mtf.add_n([mtf.one_hot(expert, setting.experts) for expert in experts])
    probabilities = gates.probabilities(noisy + (kept - 1.0) * 1e9, setting.experts)
    choices, count = self._enqueue(experts, probabilities, tokens, setting)
    return self._record(tokens, setting, clean, noisy, deviation, probabilities, choices, count)

  def _enqueue(
    self, experts: Sequence[mtf.Tensor], probabilities: mtf.Tensor, tokens: Tokens, setting: RouterSetting
  ) -> tuple[list[Choice], mtf.Tensor]:
    """-> choices, and the length of the queues after all of them, <int32>[O, G, E]"""
    length, choices = slots.empty(experts[0], setting.experts), []
    for expert in experts:
      gate = gates.gate_of(probabilities, expert, setting.experts)
      expert = gates.only_where(tokens.real, expert)
      place, length = slots.queue(expert, length)
      choices.append(Choice(expert, place, gate))
    return choices, length

  def _record(
    self,
    tokens: Tokens,
    setting: RouterSetting,
    clean: mtf.Tensor,
    noisy: mtf.Tensor,
    deviation: mtf.Tensor,
    probabilities: mtf.Tensor,
    choices: Sequence[Choice],
    count: mtf.Tensor,
  ) -> Routing:
    """Adds losses and metrics to the choices. clean, noisy, deviation, probabilities: <float32>[O, G, S, E]"""
    computed = {}
    if self._coefs['importance']:
      computed['importance'] = losses.importance(probabilities, tokens.real)
    if self._coefs['load'] and setting.train:
      computed['load'] = losses.load(clean, noisy, deviation, self._k, tokens.real)
    if self._coefs['router_z']:
      computed['router_z'] = losses.router_z(clean, tokens.share)
    decision = TokensChoose(choices, setting.experts, setting.capacity)
    measured = metrics.summary(decision, count, probabilities, choices[0].gate, tokens.share)
    return Routing(decision, computed, measured, tokens.x.dtype)
