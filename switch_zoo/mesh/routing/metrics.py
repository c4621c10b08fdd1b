"""What a router did, as tensors. One vector for all experts; nothing is written here, and no gradient flows back."""

import mesh_tensorflow as mtf
import tensorflow.compat.v1 as tf

from switch_zoo.mesh.routing import losses
from switch_zoo.mesh.routing.record import ExpertsChoose, TokensChoose


def load(count: mtf.Tensor) -> mtf.Tensor:
  """Share of the choices each expert was given, before capacity: sums to 1. <int32>[O, G, E] -> <float32>[E]"""
  total = mtf.reduce_sum(count, output_shape=count.shape.dims[-1:])
  return mtf.slicewise(losses.normalized, [total], output_dtype=tf.float32, splittable_dims=[], grad_function=0)


def entropy(probabilities: mtf.Tensor, share: mtf.Tensor) -> mtf.Tensor:
  """Mean entropy of the router's distribution, in nats: log(E) when it is uniform.

  <float>[O, G, S, E], <float32>[O, G, S] -> <float32>[]
  """
  per_token = mtf.slicewise(
    _entropy,
    [probabilities],
    output_shape=share.shape,
    output_dtype=tf.float32,
    splittable_dims=share.shape,
    grad_function=0,
    name='entropy',
  )
  return losses.mean_over_real(per_token, share)


def _entropy(p: tf.Tensor) -> tf.Tensor:
  p = tf.to_float(p)
  return -tf.reduce_sum(tf.math.xlogy(p, p), -1)


def summary(
  decision: TokensChoose | ExpertsChoose,
  count: mtf.Tensor,
  probabilities: mtf.Tensor,
  gate: mtf.Tensor,
  share: mtf.Tensor,
) -> dict[str, mtf.Tensor]:
  """The four metrics every router reports.

  Args:
    decision: which tokens have slots
    count: <int32>[O, G, E], tokens that chose each expert, or that it chose
    probabilities: <float>[O, G, S, E]
    gate: <float>[O, G, S], of a token's first choice
    share: <float32>[O, G, S], see `Tokens`
  Returns:
    load <float32>[E], and dropped (the share of the real tokens that no expert took), entropy and mean_gate <float32>[]
  """
  return {
    'load': load(count),
    'dropped': losses.mean_over_real(decision.missed(), share),
    'entropy': entropy(probabilities, share),
    'mean_gate': losses.mean_over_real(gate, share),
  }
