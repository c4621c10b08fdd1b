"""The Switch feed-forward layer: many feed-forward networks, of which each token uses one or a few.

Source: Switch Transformers, arXiv:2101.03961, sections 2.1, 2.4 and 5.
"""

import functools
from collections.abc import Callable, Sequence

import gin
import mesh_tensorflow as mtf
import tensorflow.compat.v1 as tf
from mesh_tensorflow.transformer import transformer

from switch_zoo.errors import UserError, did_you_mean
from switch_zoo.mesh.dispatch import Dispatch
from switch_zoo.mesh.exchange import Exchange
from switch_zoo.mesh.routing.router_base import Router
from switch_zoo.spec import capacity
from switch_zoo.spec.shape import DROPOUT_RATE

ActivationFunction = Callable[[mtf.Tensor], mtf.Tensor]
Activation = str | ActivationFunction
Activations = Activation | list[Activation] | tuple[Activation, ...]
ACTIVATIONS = ('relu', 'gelu', 'swish', 'sigmoid', 'tanh', 'elu', 'selu', 'softplus', 'squared_relu', 'linear')


@gin.configurable(module='experts')
class SwitchFeedForward(transformer.TransformerLayer):
  """A sparse layer in place of DenseReluDense, with the variables of the released MoE1D:

  MoE1D/<router>/kernel   [M, E]       e.g. switch_gating
  MoE1D/wi/kernel         [E, M, H]    wi_0 and wi_1 with two activations (GEGLU)
  MoE1D/wo/kernel         [E, H, M]
  """

  scope_name = 'MoE1D'

  def __init__(
    self,
    num_experts: int = gin.REQUIRED,
    hidden_size: int = gin.REQUIRED,
    activation: Activations = 'relu',
    expert_dropout_rate: float = DROPOUT_RATE,
    router: Router | None = None,
    dispatch: Dispatch | None = None,
    group_size: int = capacity.GROUP_SIZE,
    capacity_factor_train: float = capacity.FACTOR_TRAIN,
    capacity_factor_eval: float = capacity.FACTOR_EVAL,
    capacity_factor_decode: float | None = None,
    min_expert_capacity: int = capacity.MIN_CAPACITY,
    precision: str = 'selective',
    init_scale: float = 0.1,
  ) -> None:
    """
    Args:
      num_experts: E
      hidden_size: H
      activation: relu, or a list such as ['gelu', 'linear'], whose products are the hidden layer (GEGLU)
      expert_dropout_rate: of the hidden layer inside experts; arXiv:2101.03961, section 2.4
      router, dispatch, group_size, capacity_factor_train, capacity_factor_eval, capacity_factor_decode,
        min_expert_capacity, precision, init_scale: see `exchange.Exchange`
    Raises:
      UserError: a value that is out of range or unknown
    """
    self._exchange = Exchange(
      num_experts=num_experts,
      router=router,
      dispatch=dispatch,
      group_size=group_size,
      capacity_factor_train=capacity_factor_train,
      capacity_factor_eval=capacity_factor_eval,
      capacity_factor_decode=capacity_factor_decode,
      min_expert_capacity=min_expert_capacity,
      precision=precision,
      init_scale=init_scale,
    )
    self._hidden_dim = mtf.Dimension('expert_hidden', hidden_size)
    self._activation = checked_activation(activation)
    if not 0.0 <= expert_dropout_rate < 1.0:
      raise UserError(f'expert_dropout_rate={expert_dropout_rate} must be at least 0 and below 1.')
    self._expert_dropout_rate = expert_dropout_rate

  def call(self, context: transformer.Context, x: mtf.Tensor, losses: None = None) -> mtf.Tensor:
    """Sends each token through its experts; one without a slot comes back as zeros, and only the residual carries it.

    Args:
      context: of this call
      x: <activation>[batch..., length, M], or without length when decoding
      losses: unused, part of the released interface
    Returns:
      <activation>, shaped as x
    """
    tokens, bring_back = self._exchange.send(context, x)
    hidden = expert_hidden(self._exchange, context, tokens, self._hidden_dim, self._activation)
    hidden = mtf.dropout(hidden, is_training=context.train, rate=self._expert_dropout_rate)
    return bring_back(expert_product(self._exchange, context, hidden, tokens.shape.dims, 'wo'))


def expert_hidden(
  exchange: Exchange,
  context: transformer.Context,
  tokens: mtf.Tensor,
  hidden_dim: mtf.Dimension,
  activation: Sequence[ActivationFunction],
) -> mtf.Tensor:
  """Each expert's hidden layer, variables `wi`, or `wi_0`, `wi_1`, ... <float>[E, O, G, C, M] -> <float>[E, H, O, G, C]

  H comes before the slots because the matrix kernels of CPUs are up to twice as fast that way.
  """
  names = ['wi'] if len(activation) == 1 else [f'wi_{i}' for i in range(len(activation))]
  experts_dim, *slot_dims = tokens.shape.dims[:-1]
  factors = [
    function(expert_product(exchange, context, tokens, [experts_dim, hidden_dim, *slot_dims], name))
    for function, name in zip(activation, names, strict=True)
  ]
  return functools.reduce(mtf.multiply, factors)


def expert_product(
  exchange: Exchange, context: transformer.Context, x: mtf.Tensor, output_dims: Sequence[mtf.Dimension], name: str
) -> mtf.Tensor:
  """x times each expert's matrix `name`, whose output dimension is the one of `output_dims` that x does not have.

  Args:
    exchange: of the layer
    context: of the layer's call
    x: <float>[E, ...]
    output_dims: of the result
    name: of the variable's scope
  Returns:
    <float>[output_dims]
  """
  kernel = mtf.layers.get_dense_kernel_weights(
    x,
    new_dims=[d for d in output_dims if d not in x.shape.dims],
    reduced_dims=[d for d in x.shape.dims if d not in output_dims],
    expert_dims=[exchange.experts_dim],
    kernel_initializer=exchange.initializer,
    name=name,
    variable_dtype=exchange.variable_dtype(context),
  )
  return _product(x, kernel, mtf.Shape(output_dims))


class _ProductOperation(mtf.EinsumOperation):
  """An einsum of two tensors whose gradients are such products too."""

  def gradient(self, grad_ys: list[mtf.Tensor]) -> list[mtf.Tensor]:
    x, y = self.inputs
    return [_product(grad_ys[0], y, x.shape), _product(grad_ys[0], x, y.shape)]


def _product(x: mtf.Tensor, y: mtf.Tensor, output_shape: mtf.Shape) -> mtf.Tensor:
  """The einsum of x and y, in the order in which a batched matrix product gives `output_shape` without a transpose.

  The operand with the first dimension that is not shared comes first: TensorFlow's einsum transposes its operands for
  free, but its result at the cost of a copy.
  """
  first = next(d for d in output_shape.dims if (d in x.shape.dims) != (d in y.shape.dims))
  return _ProductOperation([x, y] if first in x.shape.dims else [y, x], output_shape).outputs[0]


def relu(x: mtf.Tensor) -> mtf.Tensor:
  """mtf.relu whose gradient is one operation instead of four. <float>[...] -> same shape"""

  def gradient(op: mtf.Operation, dy: mtf.Tensor) -> list[mtf.Tensor]:
    backward = mtf.cwise(
      lambda g, y: tf.raw_ops.ReluGrad(gradients=g, features=y), [dy, op.outputs[0]], grad_function=0
    )
    return [backward]

  return mtf.cwise(tf.nn.relu, [x], grad_function=gradient, name='relu')


def checked_activation(activation: Activations) -> list[ActivationFunction]:
  """`activation`, one name or function or several of them, as a list of functions.

  Raises:
    UserError: a name is unknown
  """
  activations = list(activation) if isinstance(activation, (list, tuple)) else [activation]
  for name in activations:
    if not callable(name) and name not in ACTIVATIONS:
      raise UserError(
        f'activation={name!r} is unknown. Use one of {", ".join(ACTIVATIONS)}.{did_you_mean(str(name), ACTIVATIONS)}'
      )
  own: dict[str, ActivationFunction] = {'relu': relu, 'linear': lambda x: x}
  return [f if callable(f) else own.get(f) or getattr(mtf, f) for f in activations]
