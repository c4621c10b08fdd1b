"""Other models from a checkpoint's weights: some of the experts, a dense model's layers as experts, a dense twin."""

import dataclasses
import zlib
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np

from switch_zoo.checkpoints import model_gin, names
from switch_zoo.checkpoints.names import ModelPlace
from switch_zoo.checkpoints.weights import ModelWeights
from switch_zoo.errors import UserError
from switch_zoo.spec.config import ModelConfig
from switch_zoo.spec.sublayers import DENSE, EXPERTS, block_of

# A new router starts as our layers start one, with a truncated normal of variance ROUTER_INIT_SCALE / d_model before it
# is cut: init_scale of switch_zoo/mesh/exchange.py. Source: arXiv:2101.03961, section 2.4.
ROUTER_INIT_SCALE = 0.1
FRESH, MEAN = 'fresh', 'mean'
# Where a truncated normal distribution is cut, in standard deviations of the uncut one: as tf.truncated_normal does.
CUT = 2.0


class SelectedExperts(ModelWeights):
  """A Switch Transformer with some of the experts of another, the same ones in every layer.

  Raises:
    UserError: a dense model, an expert it does not have, one given twice, too few for the router
  """

  def __init__(self, weights: ModelWeights, experts: Sequence[int]):
    config = weights.config
    _check_experts(config, experts)
    self.config = dataclasses.replace(config, num_experts=len(experts))
    self.notes = [*weights.notes, f'Experts {_numbers(experts, ", ")} of {config.num_experts} were kept.']
    self._weights = weights
    self._experts = list(experts)
    self._routers = tuple(f'/{EXPERTS}/{scope}/kernel' for scope in config.router_kernels)

  def dtype(self, variable: str) -> np.dtype:
    return self._weights.dtype(variable)

  def read(self, variable: str, expert: int | None = None) -> np.ndarray:
    if expert is not None:
      return self._weights.read(variable, self._experts[expert])
    array = self._weights.read(variable)
    return array[:, self._experts] if variable.endswith(self._routers) else array


class Upcycled(ModelWeights):
  """A Switch Transformer whose experts are copies of a dense model's feed-forward layers, in every other layer.

  Source: Sparse Upcycling, arXiv:2212.05055, section 2; there too every other layer has the experts. The routers
  are new, drawn from a seed. Here they depart from the paper, which uses a normal distribution of standard deviation
  0.02: they start as in a model trained from scratch (see ROUTER_INIT_SCALE; at d_model 768 that is 0.011 before the
  cut), so that fine-tuning meets the routers its layers and their settings were made for.

  Raises:
    UserError: a model that has experts, or an odd number of layers
  """

  def __init__(self, weights: ModelWeights, num_experts: int, seed: int = 0):
    dense = weights.config
    _check_upcycling(dense, num_experts)
    self.config = _rebuilt(dense, (DENSE, EXPERTS), {'num_experts': num_experts}, 'top1')
    self.notes = [
      *weights.notes,
      'Each expert is a copy of the dense layer it replaces. The routers are new: truncated normal, variance '
      f'{ROUTER_INIT_SCALE} / d_model before the cut, seed {seed}.',
    ]
    self._weights = weights
    self._sources = _by_layer(self.config, dense)
    self._seed = seed

  def dtype(self, variable: str) -> np.dtype:
    source = self._sources.get(variable)
    return self._weights.dtype(source) if source else np.dtype(np.float32)

  def read(self, variable: str, expert: int | None = None) -> np.ndarray:
    if variable in self._sources:
      return self._weights.read(self._sources[variable])
    d_model, num_experts = self.config.variables[variable].values()
    stddev = (ROUTER_INIT_SCALE / d_model) ** 0.5
    return _truncated_normal(variable, self._seed, (d_model, num_experts), stddev).astype(np.float32)


class DenseTwin(ModelWeights):
  """The dense twin of a Switch Transformer: its weights outside the experts. Distillation starts from it.

  The layers that had experts get either fresh weights, as T5 starts them ('fresh': what the Switch paper does,
  arXiv:2101.03961, section 4.2, "non-expert weights"), or the mean of the experts ('mean').

  Raises:
    UserError: a dense model, experts of another size than the dense layers, or neither 'fresh' nor 'mean'
  """

  def __init__(self, weights: ModelWeights, replacement: str, seed: int = 0):
    sparse = weights.config
    _check_twin(sparse, replacement)
    self.config = _rebuilt(sparse, (DENSE,), {}, '')
    layers = len(sparse.encoder_sparse_layers) + len(sparse.decoder_sparse_layers)
    what = 'have fresh weights' if replacement == FRESH else f'are the mean of the {sparse.num_experts} experts'
    self.notes = [
      *weights.notes,
      f'{layers} feed-forward layers {what}; everything else is the weights of {sparse.name}.',
    ]
    self._weights = weights
    self._sources = _by_layer(self.config, sparse)
    self._replacement, self._seed = replacement, seed

  def dtype(self, variable: str) -> np.dtype:
    return self._weights.dtype(self._sources[variable])

  def read(self, variable: str, expert: int | None = None) -> np.ndarray:
    source = self._sources[variable]
    if f'/{EXPERTS}/' not in source:
      return self._weights.read(source)
    value = self._fresh(variable) if self._replacement == FRESH else self._mean(source)
    return value.astype(self.dtype(variable))

  def _fresh(self, variable: str) -> np.ndarray:
    """Truncated normal, variance 1 / fan-in before the cut. -> <float64>[fan-in, fan-out]"""
    shape = tuple(self.config.variables[variable].values())
    return _truncated_normal(variable, self._seed, shape, shape[0] ** -0.5)

  def _mean(self, source: str) -> np.ndarray:
    """-> <float64>[axes of one expert]"""
    axes = self._weights.config.variables[source]
    total = np.zeros(tuple(axes.values())[1:])
    for expert in range(axes['experts']):
      total += self._weights.read(source, expert).astype(np.float64)
    return total / axes['experts']


def _check_experts(config: ModelConfig, experts: Sequence[int]) -> None:
  if not config.num_experts:
    raise UserError(f'--experts chooses among experts, but {config.name} is dense. Leave it out.')
  unknown = [expert for expert in experts if not 0 <= expert < config.num_experts]
  if unknown or not experts or len(set(experts)) < len(experts):
    raise UserError(
      f'--experts={_numbers(experts)}: give different numbers from 0 to {config.num_experts - 1}, the experts of '
      f'{config.name}.'
    )
  if len(experts) < config.experts_per_token:
    raise UserError(
      f'--experts={_numbers(experts)} are too few: each token goes to {config.experts_per_token} experts. Give more.'
    )


def _check_upcycling(dense: ModelConfig, num_experts: int) -> None:
  if dense.num_experts:
    raise UserError(
      f'--upcycle makes experts from a dense model, but {dense.name} has {dense.num_experts} already. Leave it out.'
    )
  layers = {'encoder': dense.num_encoder_layers, 'decoder': dense.num_decoder_layers}
  odd = [f'{number} in the {stack}' for stack, number in layers.items() if number % 2]
  if odd:
    raise UserError(
      f'--upcycle puts experts into every other layer, but {dense.name} has an odd number: {" and ".join(odd)}.'
    )
  if num_experts < 1:
    raise UserError(f'--upcycle={num_experts}: the number of experts must be at least 1.')


def _check_twin(sparse: ModelConfig, replacement: str) -> None:
  if not sparse.num_experts:
    raise UserError(f'--dense-from takes a model with experts, but {sparse.name} is dense already. Leave it out.')
  if replacement not in (FRESH, MEAN):
    raise UserError(
      f'--dense-from={replacement}: the feed-forward layers that replace experts are "{FRESH}" or "{MEAN}".'
    )
  if sparse.expert_d_ff != sparse.d_ff:
    raise UserError(
      f'The experts of {sparse.name} have a hidden size of {sparse.expert_d_ff}, its dense layers one of '
      f'{sparse.d_ff}: it has no dense twin.'
    )


def _numbers(experts: Sequence[int], separator: str = ',') -> str:
  return separator.join(map(str, experts))


def _rebuilt(config: ModelConfig, feed_forward: Sequence[str], changes: Mapping[str, Any], router: str) -> ModelConfig:
  """The model with other feed-forward sublayers in its blocks; `changes`: settings it gets."""
  blocks = {stack: block_of(stack, feed_forward) for stack in ('encoder', 'decoder')}
  dropped = (*model_gin.EXPERT_OPTIONS, 'expert_d_ff')
  settings = {name: value for name, value in model_gin.describe(config).settings.items() if name not in dropped}
  description = model_gin.ModelDescription(blocks, {**settings, **changes}, router)
  return model_gin.load(
    model_gin.text(config.title or config.name, config.source or config.name, description), config.name
  )


def _by_layer(config: ModelConfig, other: ModelConfig) -> dict[str, str]:
  """Variable of a model -> that of the same layer in another, whose feed-forward layers are of the other kind."""
  variables = {_identity(name, place): name for name, place in names.model_places(other) if name in other.variables}
  own = {name: _identity(name, place) for name, place in names.model_places(config) if name in config.variables}
  return {name: variables[identity] for name, identity in own.items() if identity in variables}


def _identity(name: str, place: ModelPlace) -> Hashable:
  """What a variable is, whichever block it is in and whether its layer has experts."""
  sublayer = DENSE if place.row.sublayer == EXPERTS else place.row.sublayer
  return place.stack, place.layer, sublayer, place.row.name_in_sublayer if place.row.sublayer else name


def _truncated_normal(variable: str, seed: int, shape: tuple[int, ...], stddev: float) -> np.ndarray:
  """Normal numbers, drawn again beyond two standard deviations; `stddev` is that of the uncut ones. <float64>[shape]"""
  generator = np.random.default_rng([seed, zlib.crc32(variable.encode())])
  values = generator.standard_normal(shape)
  while (far := np.abs(values) > CUT).any():
    values[far] = generator.standard_normal(int(far.sum()))
  return values * stddev
