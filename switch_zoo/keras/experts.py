"""The Switch feed-forward layer in Keras.

In training, an expert has the slots of the capacity factor and all experts are computed in one product, as in
Mesh-TensorFlow. Otherwise tokens are sorted by expert, and a loop over the experts that have any multiplies rows by
that expert's matrices in place; no token is dropped unless `capacity_factor` or
`expert_capacity` is set.

N tokens (B x T)  G groups  S tokens of a group  M d_model  E experts  H d_ff  C slots  K choices
"""

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf
from tensorflow import keras

from switch_zoo.errors import UserError
from switch_zoo.keras import routing
from switch_zoo.keras.layers import Kernel, Layer, activated, add_inward_kernels, checked_activation
from switch_zoo.keras.shapes import static_size
from switch_zoo.keras.sparse import NO_EXPERT, by_expert
from switch_zoo.spec import capacity
from switch_zoo.spec.shape import DROPOUT_RATE


class RouterKernel(Kernel):
  """The gating kernel. Computes in float32 whatever the model's dtype is: arXiv:2101.03961, section 2.4."""

  def __init__(self, shape: Sequence[int], stddev: float, jitter: float = 0.0, **kwargs: Any) -> None:
    """
    Args:
      shape: (M, E)
      stddev: of its initial values
      jitter: in training the input is multiplied by uniform(1 - jitter, 1 + jitter); appendix C
      **kwargs: of keras.layers.Layer
    """
    super().__init__(shape, stddev, **{**kwargs, 'dtype': 'float32'})
    self.jitter = jitter

  def get_config(self) -> dict[str, Any]:
    return {**super().get_config(), 'jitter': self.jitter}

  def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
    """Probabilities. <float>[..., M] -> <float32>[..., E]"""
    if training and self.jitter:
      x *= tf.random.uniform(tf.shape(x), 1.0 - self.jitter, 1.0 + self.jitter)
    return tf.nn.softmax(super().call(x))


class SwitchFeedForward(Layer):
  """Many feed-forward networks, of which a token uses one or a few. Source: arXiv:2101.03961, section 2."""

  def __init__(
    self,
    d_model: int,
    d_ff: int,
    num_experts: int,
    activation: str | Sequence[str] = ('relu',),
    router: str = 'top1',
    router_kernel: str = 'switch_gating',
    experts_per_token: int = 1,
    jitter: float = 0.01,
    balance_loss_coef: float = 0.01,
    expert_dropout_rate: float = DROPOUT_RATE,
    capacity_factor_train: float = capacity.FACTOR_TRAIN,
    capacity_factor: float | None = None,
    expert_capacity: int | None = None,
    min_expert_capacity: int = capacity.MIN_CAPACITY,
    group_size: int = capacity.GROUP_SIZE,
    **kwargs: Any,
  ) -> None:
    """
    Args:
      d_model, d_ff, num_experts: M, H and E
      activation: names; the hidden layer is the product of one projection for each
      router: top1, top2 or top_n
      router_kernel: name of the gating kernel's scope
      experts_per_token: K
      jitter: of the router's input in training, for top1
      balance_loss_coef: alpha of equation 4; the loss is added in training
      expert_dropout_rate: of the hidden layer, in training
      capacity_factor_train: slots = factor x tokens of a group / experts
      capacity_factor: the same outside training; None: room for all
      expert_capacity: slots for one sequence, in training and outside, in place of the factors: what transformers has;
        None: the factors count
      min_expert_capacity: the minimum number of slots of an expert
      group_size: the maximum number of tokens routed together where slots are limited
      **kwargs: of keras.layers.Layer
    Raises:
      UserError: an activation or the router is unknown
    """
    super().__init__(**kwargs)
    arguments = {name: value for name, value in locals().items() if name not in ('self', 'kwargs', '__class__')}
    self._own_config = {**arguments, 'activation': checked_activation(activation)}
    self.activation = self._own_config['activation']
    self.num_experts, self.balance_loss_coef, self.group_size = num_experts, balance_loss_coef, group_size
    self.capacity_factors = {True: capacity_factor_train, False: capacity_factor}
    self.min_expert_capacity, self.router_kernel = min_expert_capacity, router_kernel
    self.expert_capacity = expert_capacity
    self.choice = routing.TopK.named(router, experts_per_token)
    # Called with probabilities and choices in each call, for those who want to see them; None: nobody does.
    self.watch: Callable[[tf.Tensor, routing.Choices], None] | None = None
    gating = RouterKernel((d_model, num_experts), expert_stddev(d_model), jitter if router == 'top1' else 0.0)
    setattr(self, router_kernel, gating)
    self.inward = add_inward_kernels(self, (num_experts, d_model, d_ff), expert_stddev(d_model), self.activation)
    self.wo = Kernel((num_experts, d_ff, d_model), expert_stddev(d_ff), name='wo')
    self.dropout = keras.layers.Dropout(expert_dropout_rate)

  def get_config(self) -> dict[str, Any]:
    return {**super().get_config(), **self._own_config}

  def call(self, x: tf.Tensor, real: tf.Tensor, training: bool = False) -> tf.Tensor:
    """
    Args:
      x: <float>[B, T, M]
      real: <bool>[B, T], False for padding, which goes to no expert and comes back as zeros
      training: whether slots are those of training, and the balance loss is added
    Returns:
      <float>[B, T, M]; zeros for a token that did not fit into its expert's slots
    Raises:
      UserError: slots are limited and the batch or length is unknown when the graph is made
    """
    shape = tf.shape(x)
    groups, slots = self._groups_and_slots(x, bool(training))
    tokens = tf.reshape(x, [*groups, x.shape[-1]])
    real = tf.reshape(real, groups)
    probabilities = getattr(self, self.router_kernel)(tokens, training=training)
    choices = self.choice.choose(probabilities, real, training)
    if self.watch is not None:
      self.watch(probabilities, choices)
    if training and self.balance_loss_coef:
      loss = routing.balance_loss(choices.first_count, probabilities, real)
      self.add_loss(self.balance_loss_coef * loss)
    if training and slots is not None:
      return tf.reshape(self._all_experts(tokens, choices, slots), shape)
    return tf.reshape(self._chosen_experts(tokens, choices, slots), shape)

  def _groups_and_slots(self, x: tf.Tensor, training: bool) -> tuple[tuple[Any, Any], int | None]:
    """How tokens are grouped, (groups, tokens of each), and the slots of an expert in each group; None: all."""
    shape, factor = tf.shape(x), self.capacity_factors[training]
    if self.expert_capacity is not None:
      # A sequence is a group. The product of all slots in training needs sizes that are known.
      if not training:
        return (shape[0], shape[1]), self.expert_capacity
      batch, length = self._sizes(x)
      return (batch, length), min(self.expert_capacity, length)
    if factor is None:
      return (1, shape[0] * shape[1]), None
    batch, length = self._sizes(x)
    groups = capacity.split_into_groups(batch * length, self.group_size)
    return groups, capacity.expert_capacity(groups[1], self.num_experts, factor, self.min_expert_capacity)

  def _sizes(self, x: tf.Tensor) -> tuple[int, int]:
    """Batch and length, which limited slots need to be known when the graph is made."""
    if None in x.shape[:2]:
      raise UserError(
        f'Experts with limited slots need a fixed batch and length, and got {tuple(x.shape[:2])}. Train on batches '
        'of one shape (tf.data: batch(..., drop_remainder=True)), or leave capacity_factor=None outside training.'
      )
    return static_size(x, 0), static_size(x, 1)

  def _all_experts(self, tokens: tf.Tensor, choices: routing.Choices, slots: int) -> tf.Tensor:
    """Every expert's slots in one product. <float>[G, S, M] -> same shape"""
    groups, size, d_model = (static_size(tokens, axis) for axis in range(3))
    used = tf.not_equal(choices.expert, NO_EXPERT) & (choices.position < slots)
    group = tf.range(groups)[:, None, None]
    num_slots = self.num_experts * groups * slots
    # What is not used goes to one more slot behind all others.
    slot = tf.where(used, (choices.expert * groups + group) * slots + choices.position, num_slots)
    owner = _invert(slot, num_slots + 1, groups * size)
    rows = tf.concat([tf.reshape(tokens, [-1, d_model]), tf.zeros([1, d_model], tokens.dtype)], 0)
    packed = tf.reshape(tf.gather(rows, owner[:-1]), [self.num_experts, groups * slots, d_model])
    y = tf.reshape(self._experts(packed, lambda kernel: kernel, training=True), [-1, d_model])
    y = tf.gather(tf.concat([y, tf.zeros([1, d_model], y.dtype)], 0), slot)  # Shape: [G, S, K, M]
    return tf.reduce_sum(y * tf.expand_dims(tf.cast(choices.gate, y.dtype), -1), 2)

  def _chosen_experts(self, tokens: tf.Tensor, choices: routing.Choices, slots: int | None) -> tf.Tensor:
    """Only experts that have tokens. <float>[G, S, M] -> same shape"""
    expert = choices.expert
    if slots is not None:
      expert = tf.where(choices.position < slots, expert, NO_EXPERT)
    k, d_model = self.choice.k, tokens.shape[-1]
    rows = tf.repeat(tf.reshape(tokens, [-1, d_model]), k, axis=0)
    y = by_expert(rows, tf.reshape(expert, [-1]), lambda x, one: self._experts(x, lambda kernel: kernel[one]))
    y = tf.reshape(y, [-1, k, d_model]) * tf.cast(tf.reshape(choices.gate, [-1, k, 1]), y.dtype)
    return tf.reshape(tf.reduce_sum(y, 1), tf.shape(tokens))

  def _experts(self, x: tf.Tensor, part: Callable[[tf.Tensor], tf.Tensor], training: bool = False) -> tf.Tensor:
    """The feed-forward network of all experts, or of the one that `part` takes from a kernel.

    <float>[E, R, M] or [R, M] -> same shape
    """
    factors = [tf.matmul(x, part(tf.convert_to_tensor(getattr(self, name).kernel))) for name in self.inward]
    hidden = self.dropout(activated(factors, self.activation), training=training)
    return tf.matmul(hidden, part(tf.convert_to_tensor(self.wo.kernel)))


def expert_stddev(fan_in: int) -> float:
  """Of an expert's initial values: a tenth of the usual variance. Source: arXiv:2101.03961, section 2.4."""
  return (0.1 / fan_in) ** 0.5


def _invert(slot: tf.Tensor, num_slots: int, no_row: int) -> tf.Tensor:
  """Which row owns each slot. <int32>[G, S, K] -> <int32>[num_slots], `no_row` where it is empty."""
  groups, size, k = (static_size(slot, axis) for axis in range(3))
  row = tf.repeat(tf.range(groups * size), k)
  return tf.tensor_scatter_nd_update(tf.fill([num_slots], no_row), tf.reshape(slot, [-1, 1]), row)
