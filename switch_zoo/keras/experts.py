"""The Switch feed-forward layer in Keras: a token's experts are computed, and no others.

In training, experts have the slots of the capacity factor and all are computed in one product, as in Mesh-TensorFlow.
Otherwise tokens are sorted by expert, and a loop over the experts that have any multiplies rows by that expert's
matrices in place; nobody is dropped unless `capacity_factor` says so.

N tokens (B x T)  G groups  S tokens of a group  M d_model  E experts  H d_ff  C slots  K choices
"""

import tensorflow as tf
from tensorflow import keras

from switch_zoo.errors import UserError
from switch_zoo.keras import routing
from switch_zoo.keras.layers import Kernel, Layer, activated, checked_activation, inward_kernels
from switch_zoo.keras.sparse import NOBODY, by_expert
from switch_zoo.spec import capacity
from switch_zoo.spec.shape import DROPOUT_RATE


class Router(Kernel):
  """The gating kernel. Computes in float32 whatever the model's dtype is: arXiv:2101.03961, section 2.4."""

  def __init__(self, shape, stddev, jitter=0.0, **kwargs):
    """
    Args:
      shape: (M, E)
      stddev: of the first values
      jitter: in training the input is multiplied by uniform(1 - jitter, 1 + jitter); appendix C
    """
    super().__init__(shape, stddev, **{**kwargs, 'dtype': 'float32'})
    self.jitter = jitter

  def get_config(self):
    return {**super().get_config(), 'jitter': self.jitter}

  def call(self, x, training=False):
    """Probabilities. <float>[..., M] -> <float32>[..., E]"""
    if training and self.jitter:
      x *= tf.random.uniform(tf.shape(x), 1.0 - self.jitter, 1.0 + self.jitter)
    return tf.nn.softmax(super().call(x))


class SwitchFeedForward(Layer):
  """Many feed-forward networks, of which a token uses one or a few. Source: arXiv:2101.03961, section 2."""

  def __init__(
    self,
    d_model,
    d_ff,
    num_experts,
    activation=('relu',),
    router='top1',
    router_kernel='switch_gating',
    experts_per_token=1,
    jitter=0.01,
    balance_loss_coef=0.01,
    expert_dropout_rate=DROPOUT_RATE,
    capacity_factor_train=capacity.FACTOR_TRAIN,
    capacity_factor=None,
    min_expert_capacity=capacity.MIN_CAPACITY,
    group_size=capacity.GROUP_SIZE,
    **kwargs,
  ):
    """
    Args:
      d_model, d_ff, num_experts: M, H and E
      activation: names; the product of several is the hidden layer
      router: top1, top2 or top_n
      router_kernel: name of the gating kernel's scope
      experts_per_token: K
      jitter: of the router's input in training, for top1
      balance_loss_coef: alpha of equation 4; the loss is added in training
      expert_dropout_rate: of the hidden layer, in training
      capacity_factor_train: slots = factor x tokens of a group / experts
      capacity_factor: the same outside training; None: room for all
      min_expert_capacity: slots an expert has at least
      group_size: most tokens routed together where slots are limited
    Raises:
      UserError: the router is not one of those
    """
    super().__init__(**kwargs)
    own = {name: value for name, value in locals().items() if name not in ('self', 'kwargs', '__class__')}
    self._own_config = {**own, 'activation': checked_activation(activation)}
    self.activation = self._own_config['activation']
    self.num_experts, self.balance_loss_coef, self.group_size = num_experts, balance_loss_coef, group_size
    self.capacity_factors = {True: capacity_factor_train, False: capacity_factor}
    self.min_expert_capacity, self.router_kernel = min_expert_capacity, router_kernel
    self.choice = routing.TopK.of(router, experts_per_token)
    gating = Router((d_model, num_experts), expert_stddev(d_model), jitter if router == 'top1' else 0.0)
    setattr(self, router_kernel, gating)
    self.inward = inward_kernels(self, (num_experts, d_model, d_ff), expert_stddev(d_model), self.activation)
    self.wo = Kernel((num_experts, d_ff, d_model), expert_stddev(d_ff), name='wo')
    self.dropout = keras.layers.Dropout(expert_dropout_rate)

  def get_config(self):
    return {**super().get_config(), **self._own_config}

  def call(self, x, real, training=False):
    """
    Args:
      x: <float>[B, T, M]
      real: <bool>[B, T], False for padding, which goes to no expert and comes back as zeros
      training: bool
    Returns:
      <float>[B, T, M]; zeros for a token that found no room
    """
    shape = tf.shape(x)
    limited = self.capacity_factors[bool(training)] is not None
    groups = self._groups(x) if limited else (1, shape[0] * shape[1])
    tokens = tf.reshape(x, [*groups, x.shape[-1]])
    real = tf.reshape(real, groups)
    probabilities = getattr(self, self.router_kernel)(tokens, training=training)
    choices = self.choice.choose(probabilities, real, training)
    if training and self.balance_loss_coef:
      loss = routing.balance_loss(choices.first_count, probabilities, real)
      self.add_loss(self.balance_loss_coef * loss)
    slots = self._slots(groups[1], training) if limited else None
    combine = self._all_experts if training else self._chosen_experts
    return tf.reshape(combine(tokens, choices, slots), shape)

  def _groups(self, x):
    """How tokens are cut where slots are limited: needs sizes that are known when the graph is made."""
    if None in x.shape[:2]:
      raise UserError(
        f'Experts with limited slots need a fixed batch and length, and got {tuple(x.shape[:2])}. Train on batches '
        'of one shape (tf.data: batch(..., drop_remainder=True)), or leave capacity_factor=None outside training.'
      )
    return capacity.split_into_groups(x.shape[0] * x.shape[1], self.group_size)

  def _slots(self, group_size, training):
    factor = self.capacity_factors[bool(training)]
    return capacity.expert_capacity(group_size, self.num_experts, factor, self.min_expert_capacity)

  def _all_experts(self, tokens, choices, slots):
    """Every expert's slots in one product. <float>[G, S, M] -> same shape"""
    groups, size, d_model = tokens.shape
    used = tf.not_equal(choices.expert, NOBODY) & (choices.place < slots)
    group = tf.range(groups)[:, None, None]
    nowhere = self.num_experts * groups * slots
    slot = tf.where(used, (choices.expert * groups + group) * slots + choices.place, nowhere)
    owner = _invert(slot, nowhere + 1, groups * size)
    rows = tf.concat([tf.reshape(tokens, [-1, d_model]), tf.zeros([1, d_model], tokens.dtype)], 0)
    packed = tf.reshape(tf.gather(rows, owner[:-1]), [self.num_experts, groups * slots, d_model])
    y = tf.reshape(self._experts(packed, lambda kernel: kernel, training=True), [-1, d_model])
    y = tf.gather(tf.concat([y, tf.zeros([1, d_model], y.dtype)], 0), slot)  # Shape: [G, S, K, M]
    return tf.reduce_sum(y * tf.cast(choices.gate, y.dtype)[..., None], 2)

  def _chosen_experts(self, tokens, choices, slots):
    """Only experts that have tokens. <float>[G, S, M] -> same shape"""
    expert = choices.expert
    if slots is not None:
      expert = tf.where(choices.place < slots, expert, NOBODY)
    k, d_model = self.choice.k, tokens.shape[-1]
    rows = tf.repeat(tf.reshape(tokens, [-1, d_model]), k, axis=0)
    y = by_expert(rows, tf.reshape(expert, [-1]), lambda x, one: self._experts(x, lambda kernel: kernel[one]))
    y = tf.reshape(y, [-1, k, d_model]) * tf.cast(tf.reshape(choices.gate, [-1, k, 1]), y.dtype)
    return tf.reshape(tf.reduce_sum(y, 1), tf.shape(tokens))

  def _experts(self, x, part, training=False):
    """The feed-forward network of all experts, or of the one that `part` takes from a kernel."""
    factors = [tf.matmul(x, part(tf.convert_to_tensor(getattr(self, name).kernel))) for name in self.inward]
    hidden = self.dropout(activated(factors, self.activation), training=training)
    return tf.matmul(hidden, part(tf.convert_to_tensor(self.wo.kernel)))


def expert_stddev(fan_in: int) -> float:
  """Of the first values of an expert: a tenth of the usual variance. Source: arXiv:2101.03961, section 2.4."""
  return (0.1 / fan_in) ** 0.5


def _invert(slot, num_slots, nobody):
  """Which row owns each slot. <int32>[G, S, K] -> <int32>[num_slots], `nobody` where it is empty."""
  groups, size, k = slot.shape
  row = tf.repeat(tf.range(groups * size), k)
  return tf.tensor_scatter_nd_update(tf.fill([num_slots], nobody), tf.reshape(slot, [-1, 1]), row)
