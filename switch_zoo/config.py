"""ModelConfig: a model's sizes, its layers and where they come from, read from its gin file without TensorFlow.

>>> config = load_config('switch_base_8')
>>> f'{config.num_parameters:,}'
'619,339,008'
>>> config.encoder_sparse_layers
(1, 3, 5, 7, 9, 11)
"""
import dataclasses
import functools
import math
import os
import re
import types
from collections.abc import Iterable, Mapping
from typing import Any

from switch_zoo import gin_files
from switch_zoo.errors import UserError, did_you_mean

ATTENTION = ('SelfAttention', 'EncDecAttention')
DENSE = 'DenseReluDense'
EXPERTS = 'MoE1D'
# Of an embedding or a logits matrix; Mesh-TensorFlow pads a task's vocabulary to it.
VOCAB_DIVISOR = 128
# The axis a router's kernel has in place of `experts`: every core chooses among all experts.
ROUTER_AXIS = 'expert_unsplit'
# Matrices with these are tables, the logits (counted apart) and routers.
UNCOUNTED_AXES = {'vocab', 'buckets', ROUTER_AXIS}


@dataclasses.dataclass(frozen=True)
class ModelConfig:
  """One model: an encoder and a decoder of repeated blocks of sublayers.

  Layers are counted from 0; a layer is a self-attention and all that follows up to the next. A sublayer is named by
  the scope of its variables: SelfAttention, EncDecAttention, DenseReluDense, MoE1D (the layer with experts).
  """

  name: str
  path: str = dataclasses.field(compare=False)

  d_model: int
  d_ff: int
  d_kv: int
  num_heads: int
  num_encoder_layers: int
  num_decoder_layers: int
  # The sublayers of one block, in order; the stack repeats the block.
  encoder_block: tuple[str, ...]
  decoder_block: tuple[str, ...]
  # One function: relu. Two: a gated layer, whose product of both goes on; GEGLU is gelu and linear.
  ff_activation: tuple[str, ...]
  # Rows of the embeddings, padded to a multiple of 128.
  vocab_size: int
  target_vocab_size: int
  # Whether the logits use the decoder's embedding, and whether encoder and decoder have one together.
  tied_embeddings: bool
  shared_embedding: bool
  relative_attention_num_buckets: int
  dropout_rate: float
  activation_dtype: str

  # 0 in a dense model, where nothing below has a meaning.
  num_experts: int = 0
  expert_d_ff: int = 0
  # What chooses a token's experts (top1, top2, ...), the scopes of its kernels, and how many it chooses.
  router: str = ''
  router_kernels: tuple[str, ...] = ()
  experts_per_token: int = 0
  capacity_factor_train: float = 0.0
  capacity_factor_eval: float = 0.0
  min_expert_capacity: int = 0
  group_size: int = 0
  balance_loss_coef: float = 0.0
  expert_dropout_rate: float = 0.0

  # The comment at the head of the file: what it is, paper and table, what differs from it.
  title: str = dataclasses.field(default='', compare=False)
  source: str = dataclasses.field(default='', compare=False)
  departures: str = dataclasses.field(default='', compare=False)
  # Field -> 'file, line 3', for the fields a gin file binds.
  places: Mapping[str, str] = dataclasses.field(default_factory=dict, compare=False, repr=False)

  def __post_init__(self):
    object.__setattr__(self, 'places', types.MappingProxyType(dict(self.places)))

  @property
  def gated(self) -> bool:
    """True when the feed-forward layers multiply two projections (GEGLU)."""
    return len(self.ff_activation) > 1

  @property
  def encoder_sparse_layers(self) -> tuple[int, ...]:
    """Encoder layers with experts, counted from 0."""
    return _sparse_layers(self.encoder_block, self.num_encoder_layers)

  @property
  def decoder_sparse_layers(self) -> tuple[int, ...]:
    """Decoder layers with experts, counted from 0."""
    return _sparse_layers(self.decoder_block, self.num_decoder_layers)

  @property
  def num_encoder_blocks(self) -> int:
    """How often the encoder repeats its block."""
    return self.num_encoder_layers // self.encoder_block.count('SelfAttention')

  @property
  def num_decoder_blocks(self) -> int:
    """How often the decoder repeats its block."""
    return self.num_decoder_layers // self.decoder_block.count('SelfAttention')

  @functools.cached_property
  def variables(self) -> Mapping[str, Mapping[str, int]]:
    """Every trainable Mesh-TensorFlow variable: name -> {axis: size}, axes in order."""
    from switch_zoo import variables

    return types.MappingProxyType(variables.of(self))

  @functools.cached_property
  def num_parameters(self) -> int:
    """Trainable weights."""
    return sum(math.prod(shape.values()) for shape in self.variables.values())

  @functools.cached_property
  def num_expert_parameters(self) -> int:
    """Trainable weights inside experts; routers are not counted."""
    return sum(math.prod(shape.values()) for shape in self.variables.values() if 'experts' in shape)

  @property
  def num_active_parameters(self) -> int:
    """Weights a token meets: all of them but those of the experts it is not sent to. All routers count."""
    idle = self.num_experts - self.experts_per_token
    return self.num_parameters - (self.num_expert_parameters // self.num_experts * idle if self.num_experts else 0)

  def flops_per_sequence(self, inputs: int = 512, targets: int = 114) -> int:
    """Floating-point operations of a forward pass over one sequence; a multiply and an add are two.

    Every weight a token meets in attention and feed-forward layers counts two for each token of the stack, the logits'
    matrix two for each target; attention scores and their use count 4 x heads x d_kv for each pair of positions.
    Nothing is counted for routers, norms, softmax, the embedding look-up and unused expert slots; the keys and values
    of the decoder's attention over the inputs count for each target, not for each input. The Switch paper does not say
    how it counts; this way gives every row of its Table 9 within 6 percent.

    Args:
      inputs: tokens the encoder reads
      targets: tokens the decoder reads and predicts
    Raises:
      ValueError: a negative number of tokens
    """
    if min(inputs, targets) < 0:
      raise ValueError(f'inputs={inputs} and targets={targets} are numbers of tokens: give 0 or more of each.')
    weights = 2 * (self._matrix_weights('encoder/') * inputs + self._matrix_weights('decoder/') * targets)
    logits = 2 * self.target_vocab_size * self.d_model * targets
    pairs = self.num_encoder_layers * inputs**2 + self.num_decoder_layers * (targets**2 + inputs * targets)
    return weights + logits + 4 * self.num_heads * self.d_kv * pairs

  def _matrix_weights(self, stack):
    """Weights of attention and feed-forward layers that a token of a stack meets."""
    total = 0
    for name, shape in self.variables.items():
      if name.startswith(stack) and len(shape) > 1 and not UNCOUNTED_AXES & shape.keys():
        size = math.prod(shape.values())
        total += size // self.num_experts * self.experts_per_token if 'experts' in shape else size
    return total

  def as_dict(self) -> dict[str, Any]:
    """All fields and the figures that follow from them, as JSON can hold them."""
    fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
    fields['places'] = dict(self.places)
    derived = ('encoder_sparse_layers', 'decoder_sparse_layers', 'num_parameters', 'num_expert_parameters',
               'num_active_parameters')
    fields |= {name: getattr(self, name) for name in derived}
    fields['flops_per_sequence'] = self.flops_per_sequence()
    return fields


def list_models() -> list[str]:
  """Names of the models that come with switch_zoo: families together, small ones first."""
  folder = gin_files.configs_folder() / 'models'
  return sorted((path.stem for path in folder.glob('*.gin')), key=_natural)


def load_config(model: str, parameters: Iterable[str] = ()) -> ModelConfig:
  """Reads a model's configuration.

  Args:
    model: a name of `list_models`, or the path of a gin file
    parameters: bindings laid over the file, in gin's syntax: 'num_experts = 4'
  Raises:
    UserError: an unknown name (with the closest ones), or a file that cannot be read as a model: file, line and rule
  """
  return load_configs([model_file(model)], parameters)


def load_configs(files: Iterable[str], parameters: Iterable[str] = ()) -> ModelConfig:
  """Like `load_config` for a model file with others laid over it; name, title and source are the first one's."""
  from switch_zoo import config_reader

  model, *others = files
  files = [model_file(model), *others]
  return ModelConfig(**config_reader.read(files, parameters))


def model_file(model: str) -> str:
  """The gin file of a model: a name of `list_models`, a file below our gin folder, or any path, which is given back.

  Raises:
    UserError: there is neither
  """
  if os.path.isfile(model):
    return model
  for name in (model, f'models/{model}.gin'):
    path = gin_files.configs_folder() / name
    if path.is_file():
      return str(path)
  known = list_models()
  hint = did_you_mean(model, known) or f' The models are: {", ".join(known)}.'
  raise UserError(f'There is no model and no gin file "{model}".{hint}')


def _sparse_layers(block, num_layers):
  sparse, layer = [], -1
  for sublayer in block:
    layer += sublayer == 'SelfAttention'
    if sublayer == EXPERTS:
      sparse.append(layer)
  per_block = layer + 1
  return tuple(first + layer for first in range(0, num_layers, per_block) for layer in sparse)


def _natural(name):
  """Sorts numbers inside names as numbers: switch_base_16 comes after switch_base_8."""
  return [int(part) if part.isdigit() else part for part in re.split(r'(\d+)', name)]
