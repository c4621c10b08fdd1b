"""Other models from a checkpoint's weights: some of the experts, a dense model's layers as experts, a dense twin."""

import dataclasses
import zlib
from collections.abc import Sequence

import numpy as np

from switch_zoo.checkpoints import anatomy, model_gin, names
from switch_zoo.checkpoints.weights import Weights
from switch_zoo.errors import UserError
from switch_zoo.spec.sublayers import DENSE, EXPERTS

# Of a new router's kernel; switch_zoo.mesh.routing starts one so, as the released models do.
ROUTER_STDDEV = 0.02
FRESH, MEAN = 'fresh', 'mean'
# How far a truncated normal distribution reaches, in standard deviations of the one it is cut from.
CUT = 2.0


class Selected(Weights):
  """A Switch Transformer with some of the experts of another, in every layer the same.

  Raises:
    UserError: a dense model, an expert it does not have, one asked for twice
  """

  def __init__(self, weights: Weights, experts: Sequence[int]):
    config = weights.config
    if not config.num_experts:
      raise UserError(f'--experts chooses among experts, and {config.name} is dense. Leave it out.')
    wrong = [expert for expert in experts if not 0 <= expert < config.num_experts]
    if wrong or not experts or len(set(experts)) < len(experts):
      raise UserError(
        f'--experts={",".join(map(str, experts))}: give different numbers from 0 to {config.num_experts - 1}, the '
        f'experts of {config.name}.'
      )
    if len(experts) < config.experts_per_token:
      raise UserError(
        f'--experts={",".join(map(str, experts))} leaves fewer than the {config.experts_per_token} experts a token '
        'goes to.'
      )
    self.config = dataclasses.replace(config, num_experts=len(experts))
    self.notes = [*weights.notes, f'Experts {", ".join(map(str, experts))} of {config.num_experts} were kept.']
    self._weights = weights
    self._experts = list(experts)
    self._routers = [f'/{EXPERTS}/{scope}/kernel' for scope in config.router_kernels]

  def dtype(self, variable):
    return self._weights.dtype(variable)

  def read(self, variable, expert=None):
    if expert is not None:
      return self._weights.read(variable, self._experts[expert])
    array = self._weights.read(variable)
    return array[:, self._experts] if variable.endswith(tuple(self._routers)) else array


class Upcycled(Weights):
  """A Switch Transformer whose experts are copies of a dense model's feed-forward layers, in every other layer.

  The routers are new: normal with a standard deviation of 0.02, from a seed. Source: Sparse Upcycling,
  arXiv:2212.05055, section 2; there too every other layer is the one with experts.

  Raises:
    UserError: a model that has experts, or an odd number of layers
  """

  def __init__(self, weights: Weights, num_experts: int, seed: int = 0):
    dense = weights.config
    if dense.num_experts:
      raise UserError(f'--upcycle makes experts of a dense model, and {dense.name} has {dense.num_experts} already.')
    odd = [f'{getattr(dense, f"num_{stack}_layers")} in the {stack}' for stack in ('encoder', 'decoder')
           if getattr(dense, f'num_{stack}_layers') % 2]  # fmt: skip
    if odd:
      raise UserError(
        f'--upcycle puts experts into every other layer, and {dense.name} has {" and ".join(odd)}: an odd number.'
      )
    if num_experts < 1:
      raise UserError(f'--upcycle={num_experts}: the number of experts is at least 1.')
    self.config = _rebuilt(dense, (DENSE, EXPERTS), {'num_experts': num_experts}, 'top1')
    self.notes = [
      *weights.notes,
      f'Each expert is a copy of the dense layer it takes the place of; routers: seed {seed}.',
    ]
    self._weights = weights
    self._sources = _by_layer(self.config, dense)
    self._seed = seed

  def dtype(self, variable):
    source = self._sources.get(variable)
    return self._weights.dtype(source) if source else np.dtype(np.float32)

  def read(self, variable, expert=None):
    if variable in self._sources:
      return self._weights.read(self._sources[variable])
    shape = tuple(self.config.variables[variable].values())
    return _generator(variable, self._seed).normal(0, ROUTER_STDDEV, shape).astype(np.float32)


class DenseTwin(Weights):
  """The dense twin of a Switch Transformer: its weights outside of the experts. Distillation starts from it.

  The layers that had experts get either fresh weights, as T5 starts them (`fresh`: what the Switch paper does,
  arXiv:2101.03961, section 4.2, "non-expert weights"), or the mean of the experts (`mean`).

  Raises:
    UserError: a dense model, or experts of another size than the dense layers
  """

  def __init__(self, weights: Weights, way: str, seed: int = 0):
    sparse = weights.config
    if not sparse.num_experts:
      raise UserError(f'--dense-from takes a model with experts, and {sparse.name} is dense already.')
    if way not in (FRESH, MEAN):
      raise UserError(f'--dense-from={way}: the feed-forward layers in the place of experts are "{FRESH}" or "{MEAN}".')
    if sparse.expert_d_ff != sparse.d_ff:
      raise UserError(
        f'The experts of {sparse.name} have a hidden size of {sparse.expert_d_ff}, its dense layers of '
        f'{sparse.d_ff}: it has no dense twin.'
      )
    self.config = _rebuilt(sparse, (DENSE,), {}, '')
    layers = len(sparse.encoder_sparse_layers) + len(sparse.decoder_sparse_layers)
    what = 'have fresh weights' if way == FRESH else f'are the mean of the {sparse.num_experts} experts'
    self.notes = [
      *weights.notes,
      f'{layers} feed-forward layers {what}; everything else is the weights of {sparse.name}.',
    ]
    self._weights = weights
    self._sources = _by_layer(self.config, sparse)
    self._way, self._seed = way, seed

  def dtype(self, variable):
    return self._weights.dtype(self._sources[variable])

  def read(self, variable, expert=None):
    source = self._sources[variable]
    if f'/{EXPERTS}/' not in source:
      return self._weights.read(source)
    if self._way == FRESH:
      shape = tuple(self.config.variables[variable].values())
      return _truncated_normal(_generator(variable, self._seed), shape, shape[0] ** -0.5).astype(self.dtype(variable))
    experts = self._weights.config.num_experts
    total = sum(self._weights.read(source, expert).astype(np.float64) for expert in range(experts))
    return (total / experts).astype(self.dtype(variable))


def _rebuilt(config, feed_forward, changed, router):
  """The model with other feed-forward layers in its blocks; `changed`: settings it gets."""
  blocks = {}
  for stack in ('encoder', 'decoder'):
    attention = ('SelfAttention',) if stack == 'encoder' else ('SelfAttention', 'EncDecAttention')
    blocks[stack] = tuple(sublayer for kind in feed_forward for sublayer in (*attention, kind))
  settings = {
    k: v for k, v in model_gin.describe(config).settings.items() if k not in model_gin.EXPERT_OPTIONS
  } | changed
  settings.pop('expert_d_ff', None)
  description = model_gin.Description(blocks, settings, router)
  return model_gin.load(model_gin.text(config.title or config.name, config.source or config.name, description))


def _by_layer(config, other):
  """Variable of a model -> that of the same layer in another, whose feed-forward layers are of the other kind."""
  there = {_key(name, place): name for name, place in names.places(other) if name in other.variables}
  found = {}
  for name, place in names.places(config):
    if name in config.variables and _key(name, place) in there:
      found[name] = there[_key(name, place)]
  return found


def _key(name, place):
  """What a variable is, whichever block it is in and whether its layer has experts."""
  sublayer = DENSE if place.row.sublayer == EXPERTS else place.row.sublayer
  return place.stack, place.layer, sublayer, anatomy.last(place.row) if place.row.sublayer else name


def _generator(variable, seed):
  return np.random.default_rng([seed, zlib.crc32(variable.encode())])


def _truncated_normal(generator, shape, stddev):
  """Normal numbers, drawn anew beyond two standard deviations."""
  values = generator.standard_normal(shape)
  while (far := np.abs(values) > CUT).any():
    values[far] = generator.standard_normal(int(far.sum()))
  return values * stddev
