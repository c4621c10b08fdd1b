"""One table of what each variable is called in every format, and how it is stored there.

Mesh-TensorFlow's names are ours; Keras' are the same with `vars/` before the last part. The table has one row for each
variable of a sublayer, of a stack and of the model. Hugging Face stores a matrix as [outputs, inputs], all others as
[inputs, outputs], and it has one tensor per expert where the others have one with a first axis of experts.
Sources: switch_zoo/spec/variables.py; transformers' modeling_switch_transformers.py and modeling_t5.py; T5X with
flaxformer (flaxformer/architectures/moe and t5), whose `switch_classic` checkpoints are released.
"""

import functools
import re
from collections.abc import Iterator
from typing import NamedTuple

from switch_zoo.spec.config import ModelConfig
from switch_zoo.spec.sublayers import ATTENTION, DENSE, ENC_DEC_ATTENTION, EXPERTS, SELF_ATTENTION

MESH, KERAS, HUGGING_FACE, T5X = 'mesh', 'keras', 'hf', 't5x'
TITLES = {MESH: 'Mesh-TensorFlow', KERAS: 'Keras', HUGGING_FACE: 'Hugging Face', T5X: 'T5X'}
# The scope of the feed-forward layer in Hugging Face's classes: in a Switch Transformer, in T5.
SWITCH_DENSE, T5_DENSE = 'mlp', 'DenseReluDense'
# Hugging Face's embedding, and the logits' matrix where it is not the embedding.
SHARED, HEAD = 'shared.weight', 'lm_head.weight'
# Names transformers itself ignores: the embedding again, and a table of old T5 files that no layer uses.
TIED_COPIES = ('encoder.embed_tokens.weight', 'decoder.embed_tokens.weight')
UNUSED = ('decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight',)

# What a training's checkpoint has next to the weights: the step, and the optimizer's slots, with this in their names.
GLOBAL_STEP, SLOT = 'global_step', '_slot_'

# Each placeholder of a template as a regular expression. {self} is the encoder's or the decoder's own attention in T5X;
# {ff} the position of the feed-forward layer among a layer's sublayers in Hugging Face.
PLACEHOLDERS = {
    'stack': r'(?P<stack>encoder|decoder)', 'block': r'(?P<block>\d{3,9})', 'sublayer': r'(?P<sublayer>\d{3,9})',
    'layer': r'(?P<layer>\d{1,9})', 'expert': r'(?P<expert>\d{1,9})', 'ff': r'(?:1|2)',
    'dense': rf'(?:{SWITCH_DENSE}|{T5_DENSE})',
    'self': r'(?:self_attention|attention)',
}  # fmt: skip
MESH_LAYER = '{stack}/block_{block}/layer_{sublayer}/'
HUGGING_FACE_LAYER = '{stack}.block.{layer}.layer.'
T5X_LAYER = '{stack}/layers_{layer}/'
# Attention -> its position among a layer's sublayers in Hugging Face; in T5X its name and that of the norm before it.
ATTENTION_NAMES = {
  SELF_ATTENTION: ('0', '{self}', 'pre_{self}_layer_norm'),
  ENC_DEC_ATTENTION: ('1', 'encoder_decoder_attention', 'pre_cross_attention_layer_norm'),
}


class NameRow(NamedTuple):
  """One variable as a template of each format. None: the format has no place for it.

  sublayer: its sublayer; '' for the variables of a stack or of the model
  transposed: its axes are exchanged in Hugging Face
  """

  sublayer: str
  mesh: str
  hugging_face: str | None
  t5x: str | None
  transposed: bool = False

  @property
  def name_in_sublayer(self) -> str:
    """'wi/kernel' of '{stack}/block_{block}/layer_{sublayer}/MoE1D/wi/kernel'."""
    return self.mesh.rpartition(f'/{self.sublayer}/')[2] if self.sublayer else self.mesh


def _model_rows() -> Iterator[NameRow]:
  """Variables outside of sublayers."""
  yield NameRow('', 'shared/embedding', SHARED, 'token_embedder/embedding')
  yield NameRow('', 'encoder/embedding', None, None)
  yield NameRow('', 'decoder/embedding', None, None)
  yield NameRow('', 'decoder/logits/kernel', HEAD, 'decoder/logits_dense/kernel', True)
  yield NameRow('', '{stack}/rms_norm/scale', '{stack}.final_layer_norm.weight', '{stack}/{stack}_norm/scale')


def _attention_rows(sublayer: str) -> Iterator[NameRow]:
  number, attention, norm = ATTENTION_NAMES[sublayer]
  layer = f'{HUGGING_FACE_LAYER}{number}.'
  yield NameRow(sublayer, f'{MESH_LAYER}rms_norm/scale', f'{layer}layer_norm.weight', f'{T5X_LAYER}{norm}/scale')
  for short, long in (('q', 'query'), ('k', 'key'), ('v', 'value'), ('o', 'out')):
    mesh, hugging_face = f'{MESH_LAYER}{sublayer}/{short}', f'{layer}{sublayer}.{short}.weight'
    yield NameRow(sublayer, mesh, hugging_face, f'{T5X_LAYER}{attention}/{long}/kernel', True)
  if sublayer == SELF_ATTENTION:
    bias = 'relative_attention_bias'
    mesh, hugging_face = f'{MESH_LAYER}{sublayer}/{bias}', f'{layer}{sublayer}.{bias}.weight'
    yield NameRow(sublayer, mesh, hugging_face, '{stack}/relpos_bias/rel_embedding', True)


def _feed_forward_rows(sublayer: str, hugging_face_scope: str, t5x_scope: str) -> Iterator[NameRow]:
  layer = f'{HUGGING_FACE_LAYER}{{ff}}.'
  norm = f'{layer}layer_norm.weight', f'{T5X_LAYER}pre_mlp_layer_norm/scale'
  yield NameRow(sublayer, f'{MESH_LAYER}rms_norm/scale', *norm)
  for kernel in ('wi', 'wi_0', 'wi_1', 'wo'):
    others = f'{layer}{hugging_face_scope}.{kernel}.weight', f'{T5X_LAYER}{t5x_scope}/{kernel}/kernel'
    yield NameRow(sublayer, f'{MESH_LAYER}{sublayer}/{kernel}/kernel', *others, True)


def _router_rows() -> Iterator[NameRow]:
  hugging_face = f'{HUGGING_FACE_LAYER}{{ff}}.mlp.router.classifier.weight'
  t5x = f'{T5X_LAYER}mlp/router/router_weights/w/kernel'
  yield NameRow(EXPERTS, f'{MESH_LAYER}{EXPERTS}/switch_gating/kernel', hugging_face, t5x, True)
  # Hugging Face's class has top-1 routing only.
  yield NameRow(EXPERTS, f'{MESH_LAYER}{EXPERTS}/top_2_gating/kernel', None, t5x)


TABLE = (
  *_model_rows(),
  *(row for sublayer in ATTENTION for row in _attention_rows(sublayer)),
  *_feed_forward_rows(DENSE, '{dense}', 'mlp'),
  *_feed_forward_rows(EXPERTS, 'mlp.experts.expert_{expert}', 'mlp/expert'),
  *_router_rows(),
)


class ModelPlace(NamedTuple):
  """Where in a model a tensor belongs.

  block, sublayer: numbers as in Mesh-TensorFlow's names; layer: counted through the stack
  """

  row: NameRow
  stack: str = ''
  layer: int | None = None
  block: int | None = None
  sublayer: int | None = None
  expert: int | None = None


def keras_name(variable: str) -> str:
  """The path of a variable in Keras' weights file.

  >>> keras_name('shared/embedding')
  'shared/vars/embedding'
  """
  layer, _, name = variable.rpartition('/')
  return f'{layer}/vars/{name}'


def mesh_name(path: str) -> str:
  """The variable at a path of Keras' weights file; the inverse of `keras_name`."""
  layer, _, name = path.rpartition('/')
  return f'{layer.removesuffix("/vars")}/{name}'


def is_training_state(name: str) -> bool:
  """Whether a tensor of a Mesh-TensorFlow checkpoint is the step or a slot of the optimizer."""
  return name == GLOBAL_STEP or SLOT in name


def find_place(column: str, name: str) -> ModelPlace | None:
  """Which variable of which layer a tensor's name stands for; None for a name the table does not have.

  Args:
    column: the field of a NameRow with the format's templates
    name: of the tensor
  """
  for row, pattern in _patterns(column):
    match = pattern.fullmatch(name)
    if match:
      groups = match.groupdict()
      numbers = (int(groups[key]) if groups.get(key) else None for key in ('layer', 'block', 'sublayer', 'expert'))
      return ModelPlace(row, groups.get('stack') or '', *numbers)
  return None


@functools.cache
def _patterns(column: str) -> list[tuple[NameRow, re.Pattern[str]]]:
  """Every row a format has, with its pattern; where several rows have one name (norms), the first of them is used."""
  templates = ((row, getattr(row, column)) for row in TABLE)
  return [(row, _pattern(template)) for row, template in templates if template is not None]


def _pattern(template: str) -> re.Pattern[str]:
  pattern = re.escape(template).replace(r'\{', '{').replace(r'\}', '}')
  # A stack that occurs twice must be the same both times.
  pattern = pattern.replace('{stack}', PLACEHOLDERS['stack'], 1).replace('{stack}', '(?P=stack)')
  for placeholder, expression in PLACEHOLDERS.items():
    pattern = pattern.replace(f'{{{placeholder}}}', expression)
  return re.compile(pattern)


def model_places(config: ModelConfig) -> Iterator[tuple[str, ModelPlace]]:
  """(variable, place) of all variables a model's sublayers could have."""
  for row in TABLE:
    if not row.sublayer:
      for stack in ('encoder', 'decoder') if '{stack}' in row.mesh else ('',):
        yield row.mesh.format(stack=stack), ModelPlace(row, stack)
  yield from _stack_places('encoder', config.encoder_block, config.num_encoder_blocks)
  yield from _stack_places('decoder', config.decoder_block, config.num_decoder_blocks)


def _stack_places(stack: str, block: tuple[str, ...], num_blocks: int) -> Iterator[tuple[str, ModelPlace]]:
  layer = -1
  for number in range(num_blocks):
    for index, sublayer in enumerate(block):
      layer += sublayer == SELF_ATTENTION
      for row in TABLE:
        if row.sublayer == sublayer:
          variable = row.mesh.format(stack=stack, block=f'{number:03d}', sublayer=f'{index:03d}')
          yield variable, ModelPlace(row, stack, layer, number, index)
