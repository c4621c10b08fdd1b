"""Sends tokens to experts and back: groups, capacity, routing, the exchange across the mesh.

What experts do with their tokens is up to the layer: `experts.SwitchFeedForward`, `attention.SwitchSelfAttention`.
Letters and dimension names: `switch_zoo.mesh.routing`.
"""

from collections.abc import Callable
from typing import NamedTuple

import gin
import mesh_tensorflow as mtf
import tensorflow.compat.v1 as tf
from mesh_tensorflow.transformer import transformer
from tensorflow.compat.v1.estimator import ModeKeys

from switch_zoo.errors import UserError, did_you_mean
from switch_zoo.mesh import dispatch as dispatch_lib
from switch_zoo.mesh import observe, stacks
from switch_zoo.mesh.routing import expert_choice, noisy_top_k  # noqa: F401  imported so that gin knows the routers
from switch_zoo.mesh.routing.record import RouterSetting, Routing, Tokens
from switch_zoo.mesh.routing.router_base import Router
from switch_zoo.mesh.routing.routers import Top1
from switch_zoo.spec import capacity


class Precision(NamedTuple):
  """dtypes of the router and of the experts; None is the dtype of the activations."""

  router: tf.DType | None
  experts: tf.DType | None


# The rows of arXiv:2101.03961, Table 2. The router alone in float32 is as good as everything in float32 (section 2.4).
PRECISIONS = {
  'selective': Precision(tf.float32, None),
  'float32': Precision(tf.float32, tf.float32),
  'bfloat16': Precision(tf.bfloat16, tf.bfloat16),
}


class _Dims(NamedTuple):
  """Shapes of one call, without their last dimension.

  tokens: as the router sees them
  unsplit: slots while the mesh cuts the tokens
  split: slots while the mesh cuts the experts
  """

  tokens: list[mtf.Dimension]
  unsplit: list[mtf.Dimension]
  split: list[mtf.Dimension]


@gin.configurable(module='experts')
class Exchange:
  """The settings of routing, and the transport to the experts and back."""

  def __init__(
    self,
    num_experts: int = gin.REQUIRED,
    router: Router | None = None,
    dispatch: dispatch_lib.Dispatch | None = None,
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
      router: in gin for instance @routing.Top2(); by default Top1
      dispatch: in gin @dispatch.Einsum() or @dispatch.Gather(); by default the faster one for the machine
      group_size: tokens routed together at most; fewer when a mesh slice holds fewer
      capacity_factor_train, capacity_factor_eval: slots per expert = factor * tokens / experts of a group
      capacity_factor_decode: the same for one-token steps; None: room for all tokens, so that decoding drops none
      min_expert_capacity: slots an expert has at least, if the group has that many tokens
      precision: selective, float32 or bfloat16
      init_scale: of the kernels' truncated normal with variance init_scale / fan-in; arXiv:2101.03961, section 2.4
    Raises:
      UserError: a value that is out of range, or a router that cannot serve this many experts
    """
    self._router = Top1() if router is None else router
    self._dispatch = dispatch
    self._num_experts = num_experts
    self._group_size = group_size
    self._factors: dict[str, float | None] = {
      'train': capacity_factor_train,
      'eval': capacity_factor_eval,
      'decode': capacity_factor_decode,
    }
    self._min_expert_capacity = min_expert_capacity
    self._check(precision)
    self._precision = PRECISIONS[precision]
    self.initializer = mtf.layers.VarianceScalingInitializer(scale=init_scale)

  def _check(self, precision: str) -> None:
    if not isinstance(self._router, Router):
      raise UserError(
        f'router={self._router!r} is not a router. Give an object, in gin with parentheses: router = @routing.Top1()'
      )
    for name in ('num_experts', 'group_size', 'min_expert_capacity'):
      value = getattr(self, f'_{name}')
      if not isinstance(value, int) or value < 1:
        raise UserError(f'{name}={value!r} must be a whole number of at least 1.')
    for phase, factor in self._factors.items():
      if factor is not None and factor <= 0:
        raise UserError(
          f'capacity_factor_{phase}={factor}: experts would have no room for tokens. Use a positive factor; '
          f'1.0 is just enough for perfectly balanced experts, 1.25 (training) and 2.0 (evaluation) are usual.'
        )
    if precision not in PRECISIONS:
      raise UserError(
        f'precision={precision!r} is unknown. Use one of {", ".join(PRECISIONS)}.{did_you_mean(precision, PRECISIONS)}'
      )
    self._router.check(self._num_experts)

  @property
  def experts_dim(self) -> mtf.Dimension:
    """E as the experts' weights name it; layouts cut it over the mesh."""
    return mtf.Dimension('experts', self._num_experts)

  def variable_dtype(self, context: transformer.Context) -> mtf.VariableDType:
    """For the experts' kernels."""
    return _read_as(context.variable_dtype, self._precision.experts)

  def send(self, context: transformer.Context, x: mtf.Tensor) -> tuple[mtf.Tensor, Callable[[mtf.Tensor], mtf.Tensor]]:
    """Routes the tokens of x, adds the router's losses to the context, and carries the tokens to their experts.

    Args:
      context: of the layer's call
      x: <activation>[batch..., length, M], or [batch..., M] for one token of each sequence
    Returns:
      <experts' dtype>[E, O, G, C, M], and a function that carries <experts' dtype>[E, O, G, C, N] back to
      <activation>[batch..., length, N]
    Raises:
      UserError: the layer cannot run in this model, or its tokens cannot be cut into groups
    """
    _check_model(context, self._router)
    dims = self._dims(context, x)
    model_dim = x.shape.dims[-1]
    dtype = self._precision.experts or x.dtype
    real = _real(context, x.shape.dims[:-1], dims.tokens)
    tokens = Tokens(mtf.reshape(mtf.cast(x, dtype), dims.tokens + [model_dim]), real, _share(real))
    routing = self._router.route(tokens, self._router_setting(context, dims, x.dtype))
    self._report(context, routing)
    dispatch = self._dispatch or dispatch_lib.default()
    sent = dispatch.dispatch(routing, tokens.x, dims.unsplit + [model_dim])

    def bring_back(y: mtf.Tensor) -> mtf.Tensor:
      new_dim = y.shape.dims[-1]
      y = dispatch.combine(routing, _recut(y, dims.unsplit), dims.tokens + [new_dim])
      return mtf.cast(mtf.reshape(y, x.shape.dims[:-1] + [new_dim]), x.dtype)

    return _recut(sent, dims.split), bring_back

  def _dims(self, context: transformer.Context, x: mtf.Tensor) -> _Dims:
    batch_dims = x.shape.dims[:-1]
    if batch_dims[0].name == 'outer_batch':
      outer, batch_dims = batch_dims[0], batch_dims[1:]
    else:
      outer = mtf.Dimension('outer_batch', 1)
    groups = self._groups(context, mtf.Shape(batch_dims).size, stacks.num_slices(context.model, batch_dims[0]))
    groups_dim = mtf.Dimension(batch_dims[0].name, groups.number)
    slots_dim = mtf.Dimension('expert_capacity', groups.slots)
    return _Dims(
      tokens=[outer, groups_dim, mtf.Dimension('group', groups.size)],
      unsplit=[mtf.Dimension('expert_unsplit', self._num_experts), outer, groups_dim, slots_dim],
      split=[self.experts_dim, outer, mtf.Dimension('batch_unsplit', groups.number), slots_dim],
    )

  def _groups(self, context: transformer.Context, num_tokens: int, mesh_size: int) -> capacity.Groups:
    number, size = capacity.split_into_groups(num_tokens, self._group_size, mesh_size)
    factor = self._factors[{ModeKeys.TRAIN: 'train', 'incremental': 'decode'}.get(context.mode, 'eval')]
    if factor is None:
      return capacity.Groups(number, size, slots=size)
    slots = capacity.expert_capacity(size, self._num_experts, factor, self._min_expert_capacity)
    return capacity.Groups(number, size, slots)

  def _router_setting(self, context: transformer.Context, dims: _Dims, activation_dtype: tf.DType) -> RouterSetting:
    dtype = self._precision.router or activation_dtype
    return RouterSetting(
      experts=dims.unsplit[0],
      capacity=dims.unsplit[-1],
      train=context.train,
      dtype=dtype,
      variable_dtype=_read_as(context.variable_dtype, dtype),
      initializer=self.initializer,
    )

  def _report(self, context: transformer.Context, routing: Routing) -> None:
    """Weighs the losses, adds them to the context, and exports what happened; see `observe`."""
    share = 1.0 / (context.num_microbatches or 1)
    weighted = {name: loss * (self._router.loss_coefs[name] * share) for name, loss in routing.losses.items()}
    if context.losses is not None and weighted:
      context.losses.append(mtf.add_n(list(weighted.values())))
    if context.mode in (ModeKeys.TRAIN, ModeKeys.EVAL):
      scope = tf.get_variable_scope().name
      for name, value in routing.metrics.items():
        observe.export(f'{scope}/{name}', value)
      for name, value in weighted.items():
        observe.export(f'{scope}/loss/{name}', value, summed=True)


def _recut(x: mtf.Tensor, dims: list[mtf.Dimension]) -> mtf.Tensor:
  """Changes what the mesh cuts: tokens or experts. `dims` are the new dimensions, without the last.

  The step through d_model_split changes nothing on one slice, but where the layout cuts it over the model axis, each
  core of that axis sends only its part of M, and the parts are joined after the exchange.
  """
  last = x.shape.dims[-1]
  x = mtf.reshape(x, dims + [mtf.Dimension('d_model_split', last.size)])
  return mtf.reshape(x, dims + [last])


def _real(context: transformer.Context, batch_dims: list[mtf.Dimension], token_dims: list[mtf.Dimension]) -> mtf.Tensor:
  """1 for tokens, 0 for padding (sequence id 0). -> <float32>[O, G, S]"""
  ids = context.sequence_id
  if not isinstance(ids, mtf.Tensor):  # both None and 1 mean that there is no padding
    return mtf.ones(context.mesh, token_dims, dtype=tf.float32)
  real = mtf.cwise(lambda i: tf.to_float(tf.not_equal(i, 0)), [ids], output_dtype=tf.float32, grad_function=0)
  return mtf.reshape(mtf.broadcast(real, mtf.Shape(batch_dims)), token_dims)


def _share(real: mtf.Tensor) -> mtf.Tensor:
  """1/n for each of the n real tokens of the batch. <float32>[O, G, S] -> same shape"""
  return real * mtf.cwise(lambda n: 1.0 / tf.maximum(n, 1.0), [mtf.reduce_sum(real)], grad_function=0)


def _read_as(variable_dtype: mtf.VariableDType, dtype: tf.DType | None) -> mtf.VariableDType:
  """The same variable, read as `dtype`: a kernel cast from bfloat16 to float32 would have lost its digits already."""
  if dtype is None:
    return variable_dtype
  return mtf.VariableDType(variable_dtype.master_dtype, variable_dtype.slice_dtype, dtype)


def _check_model(context: transformer.Context, router: Router) -> None:
  model = context.model
  if model.ensemble_dim:
    raise UserError(f'ensemble={model.ensemble_dim.size}: experts do not run in an ensemble. Set ensemble to None.')
  if router.sees_future and model.autoregressive:
    raise UserError(
      f'router {type(router).__name__} looks at the whole group to route a token, so in the decoder '
      f'"{model.name}" it would see the tokens to be predicted. Use it in encoders only, and @routing.Top1() in the '
      f'decoder.'
    )
  if context.losses is not None and context.activation_dtype != tf.float32 and _has_released_loss(model):
    raise UserError(
      f'The decoder "{model.name}" has activations in {context.activation_dtype.name} and no loss_fn, so its '
      f'cross-entropy would be summed in that dtype, but the losses of routers are float32. Bind '
      f'transformer.Unitransformer.loss_fn = @loss.cross_entropy.'
    )


def _has_released_loss(model: transformer.Unitransformer) -> bool:
  return model.autoregressive and model._loss_fn is None  # pylint: disable=protected-access
