"""The `model.gin` beside converted weights: `switch_zoo.load_config` and `t5_mesh_transformer --gin_file` read it."""

import os
import tempfile
from typing import Any, NamedTuple

from switch_zoo.spec import routers
from switch_zoo.spec.config import ModelConfig
from switch_zoo.spec.shape import RELATIVE_BUCKETS
from switch_zoo.spec.sublayers import DENSE, EXPERTS
from switch_zoo.spec.zoo import load_config

FILE = 'model.gin'
# Layer -> how a gin file names it.
LAYERS = {
  'SelfAttention': 'transformer_layers.SelfAttention',
  'EncDecAttention': 'transformer_layers.EncDecAttention',
  DENSE: 'transformer_layers.DenseReluDense',
  EXPERTS: 'experts.SwitchFeedForward',
}
SIZES = ('d_model', 'd_ff', 'd_kv', 'num_heads', 'num_encoder_layers', 'num_decoder_layers', 'vocab_size')
# Fields of a ModelConfig that are macros of the same name, and have a default in the architecture files.
OPTIONS = (
  'target_vocab_size',
  'shared_embedding',
  'ff_activation',
  'tied_embeddings',
  'dropout_rate',
  'activation_dtype',
)
EXPERT_OPTIONS = (
    'num_experts', 'capacity_factor_train', 'capacity_factor_eval', 'min_expert_capacity', 'group_size',
    'balance_loss_coef', 'expert_dropout_rate',
)  # fmt: skip
BUCKETS = 'relative_attention_num_buckets'


class Description(NamedTuple):
  """What a model file says.

  blocks: stack -> sublayers of a block
  settings: fields of a ModelConfig that it sets; the others keep the defaults of the architecture files
  router: of ModelConfig; '' in a dense model
  experts_per_token: for the routers that leave it open
  """

  blocks: dict[str, tuple[str, ...]]
  settings: dict[str, Any]
  router: str = ''
  experts_per_token: int = 0


def describe(config: ModelConfig) -> Description:
  """Everything a ModelConfig says."""
  fields = (*SIZES, *OPTIONS, BUCKETS, *((*EXPERT_OPTIONS, 'expert_d_ff') if config.num_experts else ()))
  blocks = {'encoder': config.encoder_block, 'decoder': config.decoder_block}
  settings = {field: getattr(config, field) for field in fields}
  return Description(blocks, settings, config.router, config.experts_per_token)


def text(title: str, source: str, description: Description, departures: str = '') -> str:
  """The file: a head that `switch_zoo describe` shows, the architecture, the sizes."""
  lines = [f'# {title}', f'# Source: {source}', *([f'# Departures: {departures}'] if departures else [])]
  lines += [*_architecture(description), '']
  settings = description.settings
  fields = [*SIZES, *OPTIONS, *(EXPERT_OPTIONS if description.router else ())]
  lines += [f'{field} = {_literal(settings[field])}' for field in fields if field in settings]
  if settings.get(BUCKETS, RELATIVE_BUCKETS) != RELATIVE_BUCKETS:
    lines.append(f'transformer_layers.SelfAttention.{BUCKETS} = {settings[BUCKETS]}')
  if settings.get('expert_d_ff', settings['d_ff']) != settings['d_ff']:
    lines.append(f'experts.SwitchFeedForward.hidden_size = {settings["expert_d_ff"]}')
  return '\n'.join(lines) + '\n'


def load(content: str) -> ModelConfig:
  """The ModelConfig of a file's text.

  Raises:
    UserError: it is no model
  """
  with tempfile.TemporaryDirectory() as folder:
    path = os.path.join(folder, FILE)
    with open(path, 'w', encoding='utf-8') as file:
      file.write(content)
    return load_config(path)


def _architecture(description):
  """Includes, and layers that no file of ours has."""
  yield "include 'architectures/t5_encdec.gin'"
  blocks = description.blocks
  known = _known_architecture(blocks)
  if description.router:
    yield f"include 'architectures/{known or 'switch_experts'}.gin'"
  if description.router == 'top2':
    yield "include 'architectures/top2.gin'"
  elif description.router not in ('', 'top1'):
    yield from _router(description)
  if known is None:
    for stack, block in blocks.items():
      yield f'{stack}/stacks.num_blocks.layers_per_block = {block.count("SelfAttention")}'
      yield f'{stack}/transformer.make_layer_stack.layers = ['
      yield from (f'    @{LAYERS[sublayer]},' for sublayer in block)
      yield ']'


def _known_architecture(blocks):
  """The architecture file with these blocks: '' for the dense one, None for none."""
  for name, pattern in (('', (DENSE,)), ('switch_encdec', (DENSE, EXPERTS)), ('switch_all_encdec', (EXPERTS,))):
    encoder = tuple(sublayer for ff in pattern for sublayer in ('SelfAttention', ff))
    decoder = tuple(sublayer for ff in pattern for sublayer in ('SelfAttention', 'EncDecAttention', ff))
    if blocks == {'encoder': encoder, 'decoder': decoder}:
      return name
  return None


def _router(description):
  """A router without an architecture file of its own."""
  name = routers.class_of(description.router)
  router = routers.CLASSES[name]
  yield f'router = @routing.{name}()'
  if router.parameter:
    yield f'routing.{name}.{router.parameter} = {description.experts_per_token}'


def _literal(value):
  """As gin reads it. A single activation stands without a list."""
  if isinstance(value, tuple):
    return repr(value[0] if len(value) == 1 else list(value))
  return repr(value)
