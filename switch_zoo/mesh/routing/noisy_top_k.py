"""Noisy top-k of the first sparsely-gated layer, with its own two losses."""

import gin
import mesh_tensorflow as mtf
import tensorflow.compat.v1 as tf

from switch_zoo.errors import UserError
from switch_zoo.mesh.routing import gates, losses, metrics, slots
from switch_zoo.mesh.routing.record import Choice, Routing, TokensChoose
from switch_zoo.mesh.routing.routers import Router, not_negative


@gin.configurable(module='routing')
class NoisyTopK(Router):
  """k experts by logits with learned noise; the gates are a softmax over the k kept logits.

  Source: Outrageously Large Neural Networks, arXiv:1701.06538, section 2.1 (equations 3 to 5) and appendix A
  (importance and load losses; both kernels start at zero). The noise, and the load loss that is built on it, are for
  training only. Beyond the paper: experts have a capacity, first choices before second ones.
  """

  kernel_name = 'noisy_top_k_gating'
  noise_kernel_name = 'noisy_top_k_noise'

  def __init__(self, k=4, importance_loss_coef=0.1, load_loss_coef=0.1, z_loss_coef=0.0):
    """
    Args:
      k: experts of a token, fewer than there are experts
      importance_loss_coef: w_importance of equation 7
      load_loss_coef: w_load of equation 11
      z_loss_coef: of the router z-loss
    """
    if k < 1:
      raise UserError(f'k={k}: a token goes to at least one expert.')
    self._k = k
    self._coefs = {
      'importance': not_negative('importance_loss_coef', importance_loss_coef),
      'load': not_negative('load_loss_coef', load_loss_coef),
      'router_z': not_negative('z_loss_coef', z_loss_coef),
    }

  def check(self, num_experts):
    if self._k >= num_experts:
      raise UserError(
        f'NoisyTopK keeps k={self._k} of num_experts={num_experts} experts; it compares the kept ones with the '
        f'next best, so k must be smaller. Use k={num_experts - 1} or fewer, or more experts.'
      )

  @property
  def loss_coefs(self):
    return self._coefs

  def route(self, tokens, setting):
    x = mtf.cast(tokens.x, setting.dtype)
    zeros = tf.zeros_initializer()
    clean = mtf.to_float(gates.logits(x, setting, self.kernel_name, zeros))
    deviation = mtf.softplus(mtf.to_float(gates.logits(x, setting, self.noise_kernel_name, zeros)))
    noise = mtf.random_normal(clean.mesh, clean.shape) if setting.train else None
    noisy = clean + noise * deviation if setting.train else clean
    experts = gates.best_k(noisy, self._k, setting.experts)
    kept = mtf.add_n([mtf.one_hot(expert, setting.experts) for expert in experts])
    probabilities = gates.probabilities(noisy + (kept - 1.0) * 1e9, setting.experts)
    choices, count = self._stand_in_line(experts, probabilities, tokens, setting)
    return self._record(tokens, setting, clean, noisy, deviation, probabilities, choices, count)

  def _stand_in_line(self, experts, probabilities, tokens, setting):
    length, choices = slots.empty(experts[0], setting.experts), []
    for expert in experts:
      gate = gates.gate_of(probabilities, expert, setting.experts)
      expert = gates.only_where(tokens.real, expert)
      place, length = slots.queue(expert, length)
      choices.append(Choice(expert, place, gate))
    return choices, length

  def _record(self, tokens, setting, clean, noisy, deviation, probabilities, choices, count):
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
