"""One table of what each variable is called in every format, and how it lies there.

Mesh-TensorFlow's name is ours; Keras' is the same with `vars/` before its last part. The table has one row for each
variable of a sublayer, of a stack and of the model. Hugging Face keeps a matrix as [outputs, inputs], all others as
[inputs, outputs], and it has one tensor for each expert where the others have one with a first axis of experts.
Sources: switch_zoo/spec/variables.py; transformers' modeling_switch_transformers.py and modeling_t5.py; T5X with
flaxformer (flaxformer/architectures/moe and t5), whose `switch_classic` checkpoints are released.
"""

import functools
import re
from collections.abc import Iterator
from typing import NamedTuple

from switch_zoo.errors import UserError
from switch_zoo.spec.config import ModelConfig
from switch_zoo.spec.sublayers import DENSE, EXPERTS

MESH, KERAS, HUGGING_FACE, T5X = 'mesh', 'keras', 'hf', 't5x'
TITLES = {MESH: 'Mesh-TensorFlow', KERAS: 'Keras', HUGGING_FACE: 'Hugging Face', T5X: 'T5X'}
# The scope of the feed-forward layer of Hugging Face's classes: in a Switch Transformer, in T5.
SWITCH_DENSE, T5_DENSE = 'mlp', 'DenseReluDense'

# What stands in braces, as a regular expression. {self} is the encoder's or the decoder's own attention in T5X; {ff}
# the place of the feed-forward layer among a layer's sublayers in Hugging Face.
PARTS = {
    'stack': r'(?P<stack>encoder|decoder)', 'block': r'(?P<block>\d{3,})', 'sublayer': r'(?P<sublayer>\d{3,})',
    'layer': r'(?P<layer>\d+)', 'expert': r'(?P<expert>\d+)', 'ff': r'(?:1|2)',
    'dense': rf'(?:{SWITCH_DENSE}|{T5_DENSE})',
    'self': r'(?:self_attention|attention)',
}  # fmt: skip


class Row(NamedTuple):
  """One variable. None: the format has no place for it.

  sublayer: its sublayer; '' for the variables of a stack or of the model
  transposed: its axes are exchanged in Hugging Face
  """

  sublayer: str
  mesh: str
  hugging_face: str | None
  t5x: str | None
  transposed: bool = False


def _rows() -> Iterator[Row]:
  yield Row('', 'shared/embedding', 'shared.weight', 'token_embedder/embedding')
  yield Row('', 'encoder/embedding', None, None)
  yield Row('', 'decoder/embedding', None, None)
  yield Row('', 'decoder/logits/kernel', 'lm_head.weight', 'decoder/logits_dense/kernel', True)
  yield Row('', '{stack}/rms_norm/scale', '{stack}.final_layer_norm.weight', '{stack}/{stack}_norm/scale')

  mesh, hugging_face, t5x = (
    '{stack}/block_{block}/layer_{sublayer}/',
    '{stack}.block.{layer}.layer.',
    '{stack}/layers_{layer}/',
  )
  for sublayer, number, attention, norm in (
    ('SelfAttention', '0', '{self}', 'pre_{self}_layer_norm'),
    ('EncDecAttention', '1', 'encoder_decoder_attention', 'pre_cross_attention_layer_norm'),
  ):
    yield Row(sublayer, f'{mesh}rms_norm/scale', f'{hugging_face}{number}.layer_norm.weight', f'{t5x}{norm}/scale')
    for short, long in (('q', 'query'), ('k', 'key'), ('v', 'value'), ('o', 'out')):
      of_hugging_face = f'{hugging_face}{number}.{sublayer}.{short}.weight'
      yield Row(sublayer, f'{mesh}{sublayer}/{short}', of_hugging_face, f'{t5x}{attention}/{long}/kernel', True)
  yield Row(
    'SelfAttention',
    f'{mesh}SelfAttention/relative_attention_bias',
    f'{hugging_face}0.SelfAttention.relative_attention_bias.weight',
    '{stack}/relpos_bias/rel_embedding',
    True,
  )

  for sublayer in (DENSE, EXPERTS):
    yield Row(
      sublayer, f'{mesh}rms_norm/scale', f'{hugging_face}{{ff}}.layer_norm.weight', f'{t5x}pre_mlp_layer_norm/scale'
    )
  for kernel in ('wi', 'wi_0', 'wi_1', 'wo'):
    dense, expert = f'{{ff}}.{{dense}}.{kernel}.weight', f'{{ff}}.mlp.experts.expert_{{expert}}.{kernel}.weight'
    yield Row(DENSE, f'{mesh}{DENSE}/{kernel}/kernel', hugging_face + dense, f'{t5x}mlp/{kernel}/kernel', True)
    yield Row(
      EXPERTS, f'{mesh}{EXPERTS}/{kernel}/kernel', hugging_face + expert, f'{t5x}mlp/expert/{kernel}/kernel', True
    )
  router = f'{hugging_face}{{ff}}.mlp.router.classifier.weight', f'{t5x}mlp/router/router_weights/w/kernel'
  yield Row(EXPERTS, f'{mesh}{EXPERTS}/switch_gating/kernel', *router, True)
  # Hugging Face's class has top-1 routing only.
  yield Row(EXPERTS, f'{mesh}{EXPERTS}/top_2_gating/kernel', None, router[1])


TABLE = tuple(_rows())


class Place(NamedTuple):
  """Where in a model a tensor belongs. block and sublayer: as in Mesh-TensorFlow; layer: counted through the stack."""

  row: Row
  stack: str = ''
  layer: int | None = None
  block: int | None = None
  sublayer: int | None = None
  expert: int | None = None


class Location(NamedTuple):
  """How to find a variable, or one expert of it, in a checkpoint.

  name: of the tensor; index: its entry along the first axis, None for all; transposed: its axes are exchanged
  """

  name: str
  index: int | None
  transposed: bool


class Names:
  """The names of a model's variables in one format.

  Args:
    config: the model
    kind: MESH, KERAS, HUGGING_FACE or T5X
  Raises:
    UserError: the format has no place for a variable of the model
  """

  def __init__(self, config: ModelConfig, kind: str):
    self.config = config
    self.kind = kind
    self._places = dict(places(config))
    for variable in config.variables:
      self.locate(variable, 0)

  def locate(self, variable: str, expert: int | None = None) -> Location:
    """The place of a variable, or of one expert's part of it.

    Without an expert it is that of all of them, or of the first in a format with a tensor for each.
    """
    stacked = 'experts' in self.config.variables[variable]
    index = expert if stacked else None
    if self.kind == MESH:
      return Location(variable, index, False)
    if self.kind == KERAS:
      return Location(keras_name(variable), index, False)
    template, place = self._template(variable), self._places[variable]
    dense = SWITCH_DENSE if self.config.num_experts else T5_DENSE
    of_encoder = place.stack == 'encoder'
    name = template.format(
        stack=place.stack, layer=place.layer, expert=index or 0, dense=dense, ff=1 if of_encoder else 2,
        self='attention' if of_encoder else 'self_attention',
    )  # fmt: skip
    if self.kind == T5X:
      return Location(name, index, False)
    return Location(name, None, place.row.transposed)

  def tensors(self) -> dict[str, tuple[int, ...]]:
    """Name -> shape of every tensor of the model in this format."""
    result = {}
    for variable, axes in self.config.variables.items():
      experts = self.config.num_experts if 'experts' in axes and self.kind == HUGGING_FACE else 1
      for expert in range(experts):
        location = self.locate(variable, expert)
        shape = tuple(axes.values())[1 if self.kind == HUGGING_FACE and 'experts' in axes else 0 :]
        result[location.name] = shape[::-1] if location.transposed else shape
    return result

  def _template(self, variable):
    place = self._places.get(variable)
    template = place and (place.row.hugging_face if self.kind == HUGGING_FACE else place.row.t5x)
    if template is None:
      raise UserError(
        f'{TITLES[self.kind]} has no place for {variable} of this model ({self.config.name}): {_reason(variable)}. '
        'Convert it to mesh or keras.'
      )
    return template


def keras_name(variable: str) -> str:
  """Path of a variable in Keras' file of weights.

  >>> keras_name('shared/embedding')
  'shared/vars/embedding'
  """
  layer, _, name = variable.rpartition('/')
  return f'{layer}/vars/{name}'


def mesh_name(path: str) -> str:
  """The variable at a path of Keras' file; the inverse of `keras_name`."""
  layer, _, name = path.rpartition('/')
  return f'{layer.removesuffix("/vars")}/{name}'


def parse(kind: str, name: str) -> Place | None:
  """Which variable of which layer a tensor's name means; None for a name the table does not have."""
  if kind == KERAS:
    kind, name = MESH, mesh_name(name)
  for row, pattern in _patterns(kind):
    found = pattern.fullmatch(name)
    if found:
      parts = found.groupdict()
      number = lambda part: int(parts[part]) if parts.get(part) else None  # noqa: B023 - used at once
      return Place(row, parts.get('stack') or '', *map(number, ('layer', 'block', 'sublayer', 'expert')))
  return None


@functools.cache
def _patterns(kind):
  """(row, pattern) of every row a format has; of rows with the same name there (norms) the first is found."""
  column = {MESH: 'mesh', HUGGING_FACE: 'hugging_face', T5X: 't5x'}[kind]
  patterns = []
  for row in TABLE:
    template = getattr(row, column)
    if template is not None:
      pattern = re.escape(template).replace(r'\{', '{').replace(r'\}', '}')
      # A part that stands twice has to be the same twice.
      pattern = pattern.replace('{stack}', PARTS['stack'], 1).replace('{stack}', '(?P=stack)')
      for part, expression in PARTS.items():
        pattern = pattern.replace(f'{{{part}}}', expression)
      patterns.append((row, re.compile(pattern)))
  return patterns


def places(config) -> Iterator[tuple[str, Place]]:
  """(variable, place) of a model, of all variables its sublayers could have."""
  for row in TABLE:
    if not row.sublayer:
      for stack in ('encoder', 'decoder') if '{stack}' in row.mesh else ('',):
        yield row.mesh.format(stack=stack), Place(row, stack)
  for stack, block, count in (
    ('encoder', config.encoder_block, config.num_encoder_blocks),
    ('decoder', config.decoder_block, config.num_decoder_blocks),
  ):
    layer = -1
    for number in range(count):
      for index, sublayer in enumerate(block):
        layer += sublayer == 'SelfAttention'
        for row in TABLE:
          if row.sublayer == sublayer:
            variable = row.mesh.format(stack=stack, block=f'{number:03d}', sublayer=f'{index:03d}')
            yield variable, Place(row, stack, layer, number, index)


def _reason(variable):
  if variable.endswith('/embedding'):
    return 'encoder and decoder have an embedding each, and it knows one for both'
  if f'/{EXPERTS}/' in variable:
    return 'it routes by top-1 only'
  return 'the table in switch_zoo/checkpoints/names.py has no name for it'
