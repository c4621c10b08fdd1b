"""What a router did, as data. One vector for all experts; nothing is written here."""
import mesh_tensorflow as mtf

from switch_zoo.routing import losses


def load(count):
  """Share of the choices each expert was given, before capacity: sums to 1. <int32>[O, G, E] -> <float32>[E]"""
  total = mtf.reduce_sum(mtf.to_float(count), output_shape=count.shape.dims[-1:])
  return total / mtf.maximum(mtf.reduce_sum(total), 1.0)


def entropy(probabilities, real):
  """Mean entropy of the router's distribution, in nats: log(E) when it knows nothing. -> <float32>[]"""
  p = mtf.to_float(probabilities)
  per_token = mtf.reduce_sum(-p * mtf.log(p + 1e-9), reduced_dim=p.shape.dims[-1])
  return losses.mean_over_real(per_token, real)


def dropped(kept, real):
  """Share of the real tokens that no expert took. <float32>[O, G, S] twice -> <float32>[]"""
  return losses.mean_over_real(1.0 - kept, real)


def summary(decision, count, probabilities, gate, real):
  """The four metrics every router reports.

  Args:
    decision: TokensChoose or ExpertsChoose
    count: <int32>[O, G, E], tokens that chose each expert, or that it chose
    probabilities: <float>[O, G, S, E]
    gate: <float>[O, G, S], of the first choice
    real: <float32>[O, G, S]
  Returns:
    load <float32>[E], and dropped, entropy and mean_gate <float32>[]
  """
  values = {
      'load': load(count),
      'dropped': dropped(decision.kept(), real),
      'entropy': entropy(probabilities, real),
      'mean_gate': losses.mean_over_real(gate, real),
  }
  return {name: mtf.stop_gradient(value) for name, value in values.items()}
