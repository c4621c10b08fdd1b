"""Which experts a token goes to, for the Keras model: the decisions of `switch_zoo.mesh.routing`.

G groups  S tokens of a group  E experts  K choices of a token
"""

from typing import NamedTuple

import tensorflow as tf

from switch_zoo.errors import UserError, did_you_mean
from switch_zoo.keras.shapes import static_size
from switch_zoo.keras.sparse import NO_EXPERT


class Choices(NamedTuple):
  """Where tokens go.

  expert: <int32>[G, S, K]  NO_EXPERT for padding and for choices that are not used
  gate:   <float32>[G, S, K]
  first_count: <int32>[G, E]  real tokens of a group that chose each expert first
  position: <int32>[G, S, K]  in the expert's queue, from 0; all first choices come before the second ones
  """

  expert: tf.Tensor
  gate: tf.Tensor
  first_count: tf.Tensor
  position: tf.Tensor


class TopK(NamedTuple):
  """Each token goes to its k best experts.

  k: 1: the gate is the probability (arXiv:2101.03961, equation 2). More: the gates of a token sum to one (GShard,
    arXiv:2006.16668, algorithm 1)
  by_chance: in training, a choice after the first is used with probability 2 x its gate (GShard)
  """

  k: int
  by_chance: bool

  @classmethod
  def named(cls, router: str, k: int) -> 'TopK':
    """The router that a ModelConfig gives by name.

    Args:
      router: ModelConfig.router
      k: experts of a token
    Raises:
      UserError: the Keras model does not have it
    """
    if router not in BY_CHANCE:
      hint = did_you_mean(router, BY_CHANCE) or f' Known are {", ".join(BY_CHANCE)}.'
      raise UserError(f'The Keras model has no router "{router}"; it runs in Mesh-TensorFlow only.{hint}')
    return cls(k, BY_CHANCE[router])

  def best(self, probabilities: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """The experts of each token and their gates. <float32>[..., E] -> <int32>[..., K] and <float32>[..., K]"""
    gate, expert = tf.math.top_k(probabilities, self.k)
    if self.k > 1:
      gate /= tf.reduce_sum(gate, -1, keepdims=True) + 1e-9
    return expert, gate

  def choose(self, probabilities: tf.Tensor, real: tf.Tensor, training: bool) -> Choices:
    """
    Args:
      probabilities: <float32>[G, S, E]
      real: <bool>[G, S], False for padding
      training: whether choices after the first may be skipped
    """
    expert, gate = self.best(probabilities)
    expert = tf.where(tf.expand_dims(real, -1), expert, NO_EXPERT)
    position, first_count = queue(expert, static_size(probabilities, -1))
    if training and self.by_chance:
      used = tf.random.uniform(tf.shape(gate)) * 0.5 < gate
      first = tf.less(tf.range(self.k), 1)
      expert = tf.where(used | first, expert, NO_EXPERT)
    return Choices(expert, gate, first_count, position)


def queue(expert: tf.Tensor, num_experts: int) -> tuple[tf.Tensor, tf.Tensor]:
  """Positions in the experts' queues: tokens in order, all first choices before the second ones.

  Args:
    expert: <int32>[G, S, K]
    num_experts: E
  Returns:
    positions, <int32>[G, S, K], and the length of the queues after the first choices, <int32>[G, E]
  """
  positions, lengths = [], [tf.constant(0)]
  for choice in tf.unstack(expert, axis=-1):
    chosen = tf.one_hot(choice, num_experts, dtype=tf.int32)  # Shape: [G, S, E]
    before = tf.cumsum(chosen, axis=1, exclusive=True) + lengths[-1]
    positions.append(tf.reduce_sum(before * chosen, -1))
    lengths.append(lengths[-1] + tf.reduce_sum(chosen, 1, keepdims=True))
  return tf.stack(positions, -1), lengths[1][:, 0]


def balance_loss(first_count: tf.Tensor, probabilities: tf.Tensor, real: tf.Tensor) -> tf.Tensor:
  """E * sum_e f_e * P_e per group, groups weighted by their real tokens; 1 when balanced.

  Source: arXiv:2101.03961, equations 4 to 6, without alpha; f has no gradient.

  Args:
    first_count: <int32>[G, E]
    probabilities: <float32>[G, S, E]
    real: <bool>[G, S]
  Returns:
    <float32>[]
  """
  real = tf.cast(real, tf.float32)
  count = tf.cast(first_count, tf.float32)
  f = count / tf.maximum(tf.reduce_sum(count, -1, keepdims=True), 1.0)
  total = tf.einsum('gse,ge,gs->', probabilities, tf.stop_gradient(f), real)
  return probabilities.shape[-1] * total / tf.maximum(tf.reduce_sum(real), 1.0)


# Name in ModelConfig.router -> whether later choices are by chance in training. The other routers see the whole batch
# or carry noise of their own, and are trained in Mesh-TensorFlow only.
BY_CHANCE = {'top1': False, 'top2': True, 'top_n': True}
