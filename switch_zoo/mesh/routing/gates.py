"""From what a router reads to its choices: noise on its input, logits, probabilities, the best experts, gates."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import mesh_tensorflow as mtf
import tensorflow.compat.v1 as tf

from switch_zoo.errors import UserError, did_you_mean
from switch_zoo.mesh.routing.record import RouterSetting

# Of a tensor and a strength: the tensor with noise.
Noise = Callable[[mtf.Tensor, float], mtf.Tensor]


class Policy(NamedTuple):
  """How a router explores in training: noise on its input, or on the logits that choose (never on the gate)."""

  of_input: Noise = lambda x, strength: x
  of_logits: Noise = lambda logits, strength: logits


def jitter(x: mtf.Tensor, epsilon: float) -> mtf.Tensor:
  """Each component times uniform(1 - epsilon, 1 + epsilon). <float>[O, G, S, M] -> same shape."""
  return mtf.layers.multiplicative_jitter(x, epsilon)


def drop(x: mtf.Tensor, rate: float) -> mtf.Tensor:
  """Dropout of the router's input only. <float>[O, G, S, M] -> same shape."""
  return mtf.dropout(x, is_training=True, rate=rate)


def gumbel(logits: mtf.Tensor, temperature: float) -> mtf.Tensor:
  """Logits whose argmax is a sample of softmax(logits / temperature). <float>[O, G, S, E] -> <float32> same shape."""
  noise = mtf.random_uniform(logits.mesh, logits.shape, minval=1e-9, maxval=1.0, dtype=tf.float32)
  return mtf.to_float(logits) - temperature * mtf.log(-mtf.log(noise))


# Source: arXiv:2101.03961, appendix C and Table 11, which found input_jitter best. Evaluation never uses them.
POLICIES = {
  'argmax': Policy(),
  'sample': Policy(of_logits=gumbel),
  'input_dropout': Policy(of_input=drop),
  'input_jitter': Policy(of_input=jitter),
}


def policy_named(name: str) -> Policy:
  """The policy of that name.

  Raises:
    UserError: there is no such policy
  """
  if name not in POLICIES:
    raise UserError(
      f'policy={name!r} is not a routing policy. Use one of {", ".join(POLICIES)}.{did_you_mean(name, POLICIES)}'
    )
  return POLICIES[name]


def logits(x: mtf.Tensor, setting: RouterSetting, kernel_name: str, initializer: Any = None) -> mtf.Tensor:
  """Router logits, in the router's dtype. <router dtype>[O, G, S, M] -> <router dtype>[O, G, S, E]

  The variable `<kernel_name>/kernel` starts from `initializer`, by default that of the setting.
  """
  return mtf.layers.dense(
    x,
    setting.experts,
    reduced_dims=x.shape.dims[-1:],
    use_bias=False,
    variable_dtype=setting.variable_dtype,
    kernel_initializer=initializer or setting.initializer,
    name=kernel_name,
  )


def probabilities(logits: mtf.Tensor, experts_dim: mtf.Dimension) -> mtf.Tensor:
  """Softmax over the experts, as one operation. <float>[O, G, S, E] -> same shape"""

  def gradient(op: mtf.Operation, dy: mtf.Tensor) -> list[mtf.Tensor]:
    backward = mtf.slicewise(
      lambda p, dp: p * (dp - tf.reduce_sum(p * dp, -1, keepdims=True)),
      [op.outputs[0], dy],
      splittable_dims=logits.shape - experts_dim,
      grad_function=0,
      name='softmax_gradient',
    )
    return [backward]

  return mtf.slicewise(
    tf.nn.softmax, [logits], splittable_dims=logits.shape - experts_dim, grad_function=gradient, name='softmax'
  )


def best(scores: mtf.Tensor, experts_dim: mtf.Dimension) -> mtf.Tensor:
  """The expert with the highest score, the first of equal ones. <float>[O, G, S, E] -> <int32>[O, G, S]"""
  return mtf.slicewise(
    lambda s: tf.argmax(s, -1, output_type=tf.int32),
    [scores],
    output_shape=scores.shape - experts_dim,
    output_dtype=tf.int32,
    splittable_dims=scores.shape - experts_dim,
    grad_function=0,
    name='best',
  )


def without(scores: mtf.Tensor, expert: mtf.Tensor, experts_dim: mtf.Dimension) -> mtf.Tensor:
  """Scores in which `expert` can no longer be the best one. <float>[O, G, S, E], <int32>[O, G, S] -> same shape"""
  return scores + mtf.one_hot(expert, experts_dim, on_value=-1e9, dtype=scores.dtype)


def best_k(scores: mtf.Tensor, k: int, experts_dim: mtf.Dimension) -> list[mtf.Tensor]:
  """The k best experts, best first. <float>[O, G, S, E] -> k times <int32>[O, G, S]"""
  scores, experts = mtf.stop_gradient(scores), [best(scores, experts_dim)]
  while len(experts) < k:
    scores = without(scores, experts[-1], experts_dim)
    experts.append(best(scores, experts_dim))
  return experts


def gate_of(probabilities: mtf.Tensor, expert: mtf.Tensor, experts_dim: mtf.Dimension) -> mtf.Tensor:
  """The probability of each token's expert. <float>[O, G, S, E], <int32>[O, G, S] -> <float>[O, G, S]"""
  return mtf.gather(probabilities, expert, experts_dim)


def normalized(gates: Sequence[mtf.Tensor]) -> list[mtf.Tensor]:
  """Gates of one token's choices, scaled to sum to one. K times <float>[O, G, S] -> the same."""
  total = mtf.add_n(gates) + 1e-9
  return [gate / total for gate in gates]


def only_where(condition: mtf.Tensor, choice: mtf.Tensor) -> mtf.Tensor:
  """`choice` where `condition` is above zero, -1 elsewhere.

  Args:
    condition: <float32>[O, G, S], such as 1 for real tokens
    choice: <int32>[O, G, S], an expert or a place
  Returns:
    <int32>[O, G, S]
  """
  return mtf.cwise(lambda w, c: tf.where_v2(w > 0, c, -1), [condition, choice], output_dtype=tf.int32, grad_function=0)
