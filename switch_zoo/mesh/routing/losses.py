"""Losses of the router, as free functions. Padding takes part in none of them, and all are computed in float32.

A loss here is not weighted: the layer multiplies each by the router's coefficient for it.
"""

import gin
import mesh_tensorflow as mtf
import tensorflow.compat.v1 as tf


def mean_over_real(values: mtf.Tensor, share: mtf.Tensor) -> mtf.Tensor:
  """Mean over the real tokens of the whole batch. values, share: <float>[O, G, S] -> <float32>[]"""
  return mtf.einsum([mtf.to_float(values), share], output_shape=[])


@gin.configurable(module='routing')
def switch_balance(count: mtf.Tensor, probabilities: mtf.Tensor, share: mtf.Tensor) -> mtf.Tensor:
  """E * sum_e f_e * P_e: 1 when every expert gets the same share, E when one gets all.

  f_e is the share of a group's tokens whose first choice is e, and is not differentiated; P_e is the mean probability
  of e; both over the real tokens of the group. The average over groups is weighted by their real tokens. (The released
  layer counts f before it masks the padding, and divides P by all tokens.)
  Source: arXiv:2101.03961, equations 4 to 6, without alpha.

  Args:
    count: <int32>[O, G, E], real tokens that chose each expert first
    probabilities: <float>[O, G, S, E]
    share: <float32>[O, G, S], see `Tokens`
  Returns:
    <float32>[]
  """
  # `share` divides by the tokens of the batch: one product gives P and the average over groups.
  f = mtf.slicewise(normalized, [count], output_dtype=tf.float32, splittable_dims=count.shape[:2], grad_function=0)
  return probabilities.shape.dims[-1].size * mtf.einsum([mtf.to_float(probabilities), f, share], output_shape=[])


def normalized(count: tf.Tensor) -> tf.Tensor:
  """Counts as shares of their sum along the last axis, on one mesh slice. <int32>[..., E] -> <float32>[..., E]"""
  count = tf.to_float(count)
  return count / tf.maximum(tf.reduce_sum(count, -1, keepdims=True), 1.0)


@gin.configurable(module='routing')
def gshard_balance(count: mtf.Tensor, probabilities: mtf.Tensor, share: mtf.Tensor) -> mtf.Tensor:
  """(1/E) * sum_e (c_e / S) * m_e: 1 / E**2 when balanced, so it needs E**2 times the coefficient of `switch_balance`.

  Source: GShard, arXiv:2006.16668, algorithm 1, line l_aux. Arguments as `switch_balance`. -> <float32>[]
  """
  return switch_balance(count, probabilities, share) * (1.0 / probabilities.shape.dims[-1].size ** 2)


def router_z(logits: mtf.Tensor, share: mtf.Tensor) -> mtf.Tensor:
  """Mean over the real tokens of logsumexp(logits)**2, which keeps logits small.

  Source: ST-MoE, arXiv:2202.08906, equation 5. <float>[O, G, S, E], <float32>[O, G, S] -> <float32>[]
  """
  log_z = mtf.reduce_logsumexp(mtf.to_float(logits), logits.shape.dims[-1])
  return mean_over_real(mtf.square(log_z), share)


def squared_variation(per_expert: mtf.Tensor) -> mtf.Tensor:
  """The squared coefficient of variation, (standard deviation / mean)**2. <float32>[E] -> <float32>[]"""
  dim = per_expert.shape.dims[-1]
  mean = mtf.reduce_mean(per_expert, reduced_dim=dim)
  variance = mtf.reduce_mean(mtf.square(per_expert - mean), reduced_dim=dim)
  return variance / mtf.maximum(mtf.square(mean), 1e-10)


def importance(gates: mtf.Tensor, real: mtf.Tensor) -> mtf.Tensor:
  """CV(sum over the batch of the gates)**2: all experts should get the same weight.

  Source: arXiv:1701.06538, equations 6 and 7. <float>[O, G, S, E], <float32>[O, G, S] -> <float32>[]
  """
  return squared_variation(mtf.einsum([mtf.to_float(gates), real], gates.shape.dims[-1:]))


def load(clean: mtf.Tensor, noisy: mtf.Tensor, deviation: mtf.Tensor, k: int, real: mtf.Tensor) -> mtf.Tensor:
  """CV(smooth load)**2: all experts should get the same number of tokens, in a form that has a gradient.

  The smooth load of expert i is the sum over tokens of the probability that i stays among the k best when only its own
  noise is drawn again: Phi((clean_i - threshold_i) / deviation_i), where threshold_i is the k-th best of the others.
  Source: arXiv:1701.06538, appendix A, equations 8 to 11.

  Args:
    clean: <float32>[O, G, S, E], logits without noise
    noisy: <float32>[O, G, S, E], logits with noise
    deviation: <float32>[O, G, S, E], of the noise
    k: experts kept, below E
    real: <float32>[O, G, S]
  Returns:
    <float32>[]
  """
  threshold = mtf.cwise(lambda h: _best_of_others(h, k), [noisy], name='best_of_others')
  chance = mtf.cwise(lambda z: 0.5 * (1.0 + tf.math.erf(z * 0.5**0.5)), [(clean - threshold) / deviation], name='phi')
  return importance(chance, real)


def _best_of_others(scores: tf.Tensor, k: int) -> tf.Tensor:
  """The k-th best of the other experts' scores: the (k+1)-th of all for the k best, the k-th for the rest."""
  top = tf.math.top_k(scores, k + 1).values
  return tf.where_v2(
    scores > top[..., k:],
    tf.broadcast_to(top[..., k:], scores.shape),
    tf.broadcast_to(top[..., k - 1 : k], scores.shape),
  )
