"""What a router reads and believes: noise on its input, logits, probabilities, choices."""

from collections.abc import Callable
from typing import NamedTuple

import mesh_tensorflow as mtf
import tensorflow.compat.v1 as tf

from switch_zoo.errors import UserError, did_you_mean


class Policy(NamedTuple):
  """How a router explores in training: noise on its input, or on the logits that choose (never on the gate)."""

  of_input: Callable = lambda x, strength: x
  of_logits: Callable = lambda logits, strength: logits


def jitter(x, epsilon):
  """Each component times uniform(1 - epsilon, 1 + epsilon). <float>[O, G, S, M] -> same shape."""
  return mtf.layers.multiplicative_jitter(x, epsilon)


def drop(x, rate):
  """Dropout of the router's input only. <float>[O, G, S, M] -> same shape."""
  return mtf.dropout(x, is_training=True, rate=rate)


def gumbel(logits, temperature):
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
    UserError: there is none
  """
  if name not in POLICIES:
    raise UserError(
      f'policy={name!r} is not a routing policy. Use one of {", ".join(POLICIES)}.{did_you_mean(name, POLICIES)}'
    )
  return POLICIES[name]


def logits(x, setting, kernel_name, initializer=None):
  """Router logits, in the router's dtype. <activation>[O, G, S, M] -> <router dtype>[O, G, S, E]"""
  return mtf.layers.dense(
    x,
    setting.experts,
    reduced_dims=x.shape.dims[-1:],
    use_bias=False,
    variable_dtype=setting.variable_dtype,
    kernel_initializer=initializer or setting.initializer,
    name=kernel_name,
  )


def probabilities(logits, experts_dim):
  """Softmax over the experts, as one operation. <float>[O, G, S, E] -> same shape"""

  def gradient(op, dy):
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


def best(scores, experts_dim):
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


def without(scores, expert, experts_dim):
  """Scores in which `expert` can no longer be the best one. <float>[O, G, S, E], <int32>[O, G, S] -> same shape"""
  return scores + mtf.one_hot(expert, experts_dim, on_value=-1e9, dtype=scores.dtype)


def best_k(scores, k, experts_dim):
  """The k best experts, best first. <float>[O, G, S, E] -> k times <int32>[O, G, S]"""
  scores, found = mtf.stop_gradient(scores), [best(scores, experts_dim)]
  while len(found) < k:
    scores = without(scores, found[-1], experts_dim)
    found.append(best(scores, experts_dim))
  return found


def gate_of(probabilities, expert, experts_dim):
  """The probability of each token's expert. <float>[O, G, S, E], <int32>[O, G, S] -> <float>[O, G, S]"""
  return mtf.gather(probabilities, expert, experts_dim)


def normalized(gates):
  """Gates of one token's choices, scaled to sum to one. K times <float>[O, G, S] -> the same."""
  total = mtf.add_n(gates) + 1e-9
  return [gate / total for gate in gates]


def only_where(wanted, *choice):
  """-1 in place of a choice where `wanted` is not above zero.

  Args:
    wanted: <float32>[O, G, S], such as 1 for real tokens
    *choice: <int32>[O, G, S], an expert, perhaps also its place
  Returns:
    as `choice`; a single one is not in a tuple
  """
  kept = [
    mtf.cwise(lambda w, c: tf.where_v2(w > 0, c, -1), [wanted, c], output_dtype=tf.int32, grad_function=0)
    for c in choice
  ]
  return kept[0] if len(kept) == 1 else tuple(kept)
