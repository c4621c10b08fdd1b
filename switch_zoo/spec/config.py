"""ModelConfig: a model's sizes, its layers and where they come from, and the figures that follow from them.

>>> from switch_zoo.spec.zoo import load_config
>>> config = load_config('switch_base_8')
>>> f'{config.num_parameters:,}'
'619,339,008'
>>> config.encoder_sparse_layers
(1, 3, 5, 7, 9, 11)
"""

import dataclasses
import functools
import math
import types
from collections.abc import Mapping
from typing import Any

from switch_zoo.spec.shape import ModelShape
from switch_zoo.spec.sublayers import ROUTER_AXIS
from switch_zoo.spec.variables import variables_of

# Matrices with one of these axes are embedding tables, the logits (counted separately) and routers.
UNCOUNTED_AXES = {'vocab', 'buckets', ROUTER_AXIS}


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelConfig(ModelShape):
  """One model: its shape, its gin file, and what the file says about the model."""

  name: str
  path: str = dataclasses.field(compare=False)
  # From the comment that opens the file: what it is, the paper and table, and what differs from them.
  title: str = dataclasses.field(default='', compare=False)
  source: str = dataclasses.field(default='', compare=False)
  departures: str = dataclasses.field(default='', compare=False)
  # Field -> 'file, line 3', for the fields a gin file binds.
  places: Mapping[str, str] = dataclasses.field(default_factory=dict, compare=False, repr=False)

  def __post_init__(self) -> None:
    object.__setattr__(self, 'places', types.MappingProxyType(dict(self.places)))

  @functools.cached_property
  def variables(self) -> Mapping[str, Mapping[str, int]]:
    """Every trainable Mesh-TensorFlow variable: name -> {axis: size}, axes in order."""
    return types.MappingProxyType(variables_of(self))

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
    """Weights used for one token: all of them except those of the experts it is not sent to. All routers count."""
    idle = self.num_experts - self.experts_per_token
    return self.num_parameters - (self.num_expert_parameters // self.num_experts * idle if self.num_experts else 0)

  def flops_per_sequence(self, inputs: int = 512, targets: int = 114) -> int:
    """Floating-point operations of a forward pass over one sequence; a multiply and an add are two.

    Each weight used for a token in attention and feed-forward layers counts as two operations per token of the stack,
    and each weight of the logits as two per target. Attention scores and the sum they weight count as 4 x heads x d_kv
    per pair of positions. Routers, norms, softmax, the embedding look-up and unused expert slots count as nothing. The
    keys and values of the decoder's attention over the inputs count once per target, not once per input. The Switch
    paper does not say how it counts; this reproduces every row of its Table 9 to within 6 percent.

    Args:
      inputs: tokens the encoder reads
      targets: tokens the decoder reads and predicts
    Raises:
      ValueError: a negative number of tokens
    """
    if min(inputs, targets) < 0:
      raise ValueError(f'inputs={inputs} and targets={targets} are numbers of tokens: neither may be negative.')
    weights = 2 * (self._matrix_weights('encoder/') * inputs + self._matrix_weights('decoder/') * targets)
    logits = 2 * self.target_vocab_size * self.d_model * targets
    pairs = self.num_encoder_layers * inputs**2 + self.num_decoder_layers * (targets**2 + inputs * targets)
    return weights + logits + 4 * self.num_heads * self.d_kv * pairs

  def _matrix_weights(self, stack: str) -> int:
    """Weights of the attention and feed-forward layers of a stack that are used for one token."""
    total = 0
    for name, shape in self.variables.items():
      if name.startswith(stack) and len(shape) > 1 and not UNCOUNTED_AXES & shape.keys():
        size = math.prod(shape.values())
        total += size // self.num_experts * self.experts_per_token if 'experts' in shape else size
    return total

  def as_dict(self) -> dict[str, Any]:
    """All fields and the figures that follow from them, as values that JSON can hold."""
    fields: dict[str, Any] = {'name': self.name, 'path': self.path}
    fields |= {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
    fields['places'] = dict(self.places)
    derived = (
      'encoder_sparse_layers',
      'decoder_sparse_layers',
      'num_parameters',
      'num_expert_parameters',
      'num_active_parameters',
    )
    fields |= {name: getattr(self, name) for name in derived}
    fields['flops_per_sequence'] = self.flops_per_sequence()
    return fields
