"""The Switch feed-forward layer: many feed-forward networks, of which each token uses one (or a few).

Source: Switch Transformers, arXiv:2101.03961, sections 2.1, 2.4 and 5.
"""
import gin
import mesh_tensorflow as mtf
import tensorflow.compat.v1 as tf
from mesh_tensorflow.transformer import transformer

from switch_zoo.errors import UserError, did_you_mean
from switch_zoo.exchange import Exchange, mesh_size_of

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
      num_experts=gin.REQUIRED,
      hidden_size=gin.REQUIRED,
      activation='relu',
      expert_dropout_rate=0.0,
      router=None,
      dispatch=None,
      group_size=1024,
      capacity_factor_train=1.25,
      capacity_factor_eval=2.0,
      capacity_factor_decode=None,
      min_expert_capacity=4,
      precision='selective',
      init_scale=0.1,
  ):
    """Args:
      num_experts: E
      hidden_size: H
      activation: relu, or a list such as ['gelu', 'linear'], whose products are the hidden layer (GEGLU)
      expert_dropout_rate: of the hidden layer inside experts; arXiv:2101.03961, section 2.4
      router, dispatch, group_size, capacity_factor_train, capacity_factor_eval, capacity_factor_decode,
        min_expert_capacity, precision, init_scale: see `exchange.Exchange`
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

  def call(self, context, x, losses=None):
    """Sends each token through its expert; a token that found no room comes back as zeros (the residual remains).

    Args:
      context: transformer.Context
      x: <activation>[batch..., length, M], or without length when decoding
      losses: unused, part of the released interface
    Returns:
      <activation>, shaped as x
    """
    tokens, bring_back = self._exchange.send(context, x)
    hidden = expert_hidden(self._exchange, context, tokens, self._hidden_dim, self._activation)
    hidden = mtf.dropout(hidden, is_training=context.train, rate=self._expert_dropout_rate)
    return bring_back(expert_product(self._exchange, context, hidden, context.model.model_dim, 'wo'))


def expert_hidden(exchange, context, tokens, hidden_dim, activation):
  """Each expert's hidden layer, variables `wi`. <float>[E, O, G, C, M] -> <float>[E, O, G, C, H]"""
  check_divides(context.model, hidden_dim, 'hidden_size')
  return mtf.layers.dense_product(
      tokens,
      reduced_dims=tokens.shape.dims[-1:],
      new_dims=[hidden_dim],
      activation_functions=activation,
      name='wi',
      expert_dims=[exchange.experts_dim],
      use_bias=False,
      variable_dtype=exchange.variable_dtype(context),
      kernel_initializer=exchange.initializer,
  )


def expert_product(exchange, context, x, new_dim, name):
  """Each expert's matrix `name`. <float>[E, O, G, C, H] -> <float>[E, O, G, C, new_dim]"""
  return mtf.layers.dense(
      x,
      new_dim,
      reduced_dims=x.shape.dims[-1:],
      expert_dims=[exchange.experts_dim],
      use_bias=False,
      variable_dtype=exchange.variable_dtype(context),
      kernel_initializer=exchange.initializer,
      name=name,
  )


def relu(x):
  """mtf.relu with one operation for its gradient in place of four. <float>[...] -> same shape"""

  def gradient(op, dy):
    backward = mtf.cwise(
        lambda g, y: tf.raw_ops.ReluGrad(gradients=g, features=y), [dy, op.outputs[0]], grad_function=0)
    return [backward]

  return mtf.cwise(tf.nn.relu, [x], grad_function=gradient, name='relu')


def checked_activation(activation):
  """`activation` as a list of names or functions of mtf.Tensor.

  Raises:
    UserError: a name is unknown
  """
  functions = list(activation) if isinstance(activation, (list, tuple)) else [activation]
  for name in functions:
    if not callable(name) and name not in ACTIVATIONS:
      raise UserError(f'activation={name!r} is unknown. Use one of {", ".join(ACTIVATIONS)}.'
                      f'{did_you_mean(str(name), ACTIVATIONS)}')
  return [relu if name == 'relu' else name for name in functions]


def check_divides(model, dim, name):
  """Raises UserError if the model's layout cuts `dim`, known to the user as `name`, into unequal parts."""
  mesh_size = mesh_size_of(model, dim)
  if dim.size % mesh_size:
    raise UserError(
        f'{name}={dim.size} does not divide over the {mesh_size} slices of the mesh axis that the layout gives to '
        f'"{dim.name}". Use a multiple of {mesh_size}, or a layout with a smaller axis.')
