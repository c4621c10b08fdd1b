"""Expert choice: experts choose tokens."""

from collections.abc import Mapping

import gin
import mesh_tensorflow as mtf
import tensorflow.compat.v1 as tf

from switch_zoo.mesh.routing import gates, losses, metrics
from switch_zoo.mesh.routing.record import ExpertsChoose, RouterSetting, Routing, Tokens
from switch_zoo.mesh.routing.router_base import Router, not_negative


@gin.configurable(module='routing')
class ExpertChoice(Router):
  """Each expert takes as many tokens of the group as it has slots: those that give it the highest probability.

  Experts are balanced by construction, so there is no balance loss; a token may get any number of experts, even none.
  Source: Expert Choice, arXiv:2202.09368, section 3.2: softmax over experts, and gates that are not normalized. (The
  released `expert_selection` has softmax over tokens, and divides by the number of experts a token got.)
  """

  kernel_name = 'expert_selection_gating'
  sees_future = True

  def __init__(self, z_loss_coef: float = 0.0) -> None:
    """
    Args:
      z_loss_coef: of the router z-loss
    Raises:
      UserError: it is negative
    """
    self._z_loss_coef = not_negative('z_loss_coef', z_loss_coef)

  @property
  def loss_coefs(self) -> Mapping[str, float]:
    return {'router_z': self._z_loss_coef}

  def route(self, tokens: Tokens, setting: RouterSetting) -> Routing:
    logits = gates.logits(mtf.cast(tokens.x, setting.dtype), setting, self.kernel_name)
    probabilities = gates.probabilities(logits, setting.experts)
    token = _highest(mtf.to_float(probabilities), tokens.real, setting)
    gate = mtf.einsum(
      [mtf.to_float(probabilities), mtf.one_hot(token, tokens.real.shape.dims[-1])], output_shape=token.shape
    )
    decision = ExpertsChoose(token, gate, tokens.real.shape.dims[-1])
    computed = {'router_z': losses.router_z(logits, tokens.share)} if self._z_loss_coef else {}
    return Routing(decision, computed, _metrics(decision, probabilities, tokens.share), tokens.x.dtype)


def _highest(probabilities: mtf.Tensor, real: mtf.Tensor, setting: RouterSetting) -> mtf.Tensor:
  """The tokens each expert takes, best first, the earlier of equal ones; -1 where only padding is left.

  <float32>[O, G, S, E], <float32>[O, G, S] -> <int32>[O, G, E, C]
  """

  def pick(p: tf.Tensor, real_slice: tf.Tensor) -> tf.Tensor:
    score = tf.where_v2(real_slice[..., None] > 0, p, -1)
    value, token = tf.math.top_k(tf.transpose(score, [0, 1, 3, 2]), setting.capacity.size)
    return tf.where_v2(value >= 0, token, -1)

  group_dims = real.shape.dims[:2]
  return mtf.slicewise(
    pick,
    [mtf.stop_gradient(probabilities), real],
    output_shape=mtf.Shape([*group_dims, setting.experts, setting.capacity]),
    output_dtype=tf.int32,
    splittable_dims=group_dims,
    grad_function=0,
    name='highest',
  )


def _metrics(decision: ExpertsChoose, probabilities: mtf.Tensor, share: mtf.Tensor) -> dict[str, mtf.Tensor]:
  """Like `metrics.summary`; the mean gate is over the slots that hold a token."""
  taken = mtf.to_float(mtf.greater_equal(decision.token, 0))
  slots = mtf.maximum(mtf.reduce_sum(taken), 1.0)
  return {
    'load': metrics.load(mtf.to_int32(mtf.reduce_sum(taken, output_shape=taken.shape.dims[:3]))),
    'dropped': losses.mean_over_real(decision.missed(), share),
    'entropy': metrics.entropy(probabilities, share),
    'mean_gate': mtf.reduce_sum(decision.gate * taken) / slots,
  }
