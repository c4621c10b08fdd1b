"""The `model.gin` next to converted weights: `switch_zoo.load_config` and `t5_mesh_transformer --gin_file` read it."""

import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from switch_zoo.errors import UserError
from switch_zoo.spec import routers
from switch_zoo.spec.config import ModelConfig
from switch_zoo.spec.shape import RELATIVE_BUCKETS
from switch_zoo.spec.sublayers import DENSE, ENC_DEC_ATTENTION, EXPERTS, SELF_ATTENTION, block_of, layers_per_block
from switch_zoo.spec.token_ids import END
from switch_zoo.spec.zoo import load_config

FILE = 'model.gin'
# Sublayer -> its class in a gin file.
GIN_CLASSES = {
  SELF_ATTENTION: 'transformer_layers.SelfAttention',
  ENC_DEC_ATTENTION: 'transformer_layers.EncDecAttention',
  DENSE: 'transformer_layers.DenseReluDense',
  EXPERTS: 'experts.SwitchFeedForward',
}
# Architecture file -> the feed-forward sublayers of its blocks; '' is the dense one, which all include.
ARCHITECTURES = {'': (DENSE,), 'switch_encdec': (DENSE, EXPERTS), 'switch_all_encdec': (EXPERTS,)}
SIZES = ('d_model', 'd_ff', 'd_kv', 'num_heads', 'num_encoder_layers', 'num_decoder_layers', 'vocab_size')
# Fields of a ModelConfig that are macros of the same name, and have a default in the architecture files.
OPTIONS = (
  'target_vocab_size',
  'shared_embedding',
  'ff_activation',
  'tied_embeddings',
  'dropout_rate',
  'activation_dtype',
  'end_id',
)
EXPERT_OPTIONS = (
    'num_experts', 'capacity_factor_train', 'capacity_factor_eval', 'min_expert_capacity', 'group_size',
    'balance_loss_coef', 'expert_dropout_rate', 'expert_capacity',
)  # fmt: skip
BUCKETS = 'relative_attention_num_buckets'


class ModelDescription(NamedTuple):
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


def describe(config: ModelConfig) -> ModelDescription:
  """Everything a ModelConfig says."""
  fields = (*SIZES, *OPTIONS, BUCKETS, *((*EXPERT_OPTIONS, 'expert_d_ff') if config.num_experts else ()))
  blocks = {'encoder': config.encoder_block, 'decoder': config.decoder_block}
  settings = {field: getattr(config, field) for field in fields}
  # Not the rows: the rows follow from the ids, but the ids do not follow from the rows.
  settings |= {'vocab_size': config.num_ids, 'target_vocab_size': config.num_target_ids}
  # What is as in every model of T5 is left out.
  for field, usual in (('end_id', END), ('expert_capacity', 0)):
    if settings.get(field) == usual:
      del settings[field]
  return ModelDescription(blocks, settings, config.router, config.experts_per_token)


def text(title: str, source: str, description: ModelDescription, departures: str = '') -> str:
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


def load(content: str, origin: str) -> ModelConfig:
  """The ModelConfig of a file's text.

  Args:
    content: the text
    origin: the checkpoint that it describes, for messages: the text is in no file of the user
  Raises:
    UserError: it is not a model
  """
  with tempfile.TemporaryDirectory() as folder:
    path = os.path.join(folder, FILE)
    with open(path, 'w', encoding='utf-8') as file:
      file.write(content)
    try:
      return load_config(path)
    except UserError as error:
      message = re.sub(rf'{re.escape(path)}(, line \d+)?', f'the model of {origin}', str(error))
      raise UserError(message) from error


def _architecture(description: ModelDescription) -> Iterator[str]:
  """Includes, and the layers that none of our architecture files has."""
  yield "include 'architectures/t5_encdec.gin'"
  known = _known_architecture(description.blocks)
  if description.router:
    yield f"include 'architectures/{known or 'switch_experts'}.gin'"
  if description.router == 'top2':
    yield "include 'architectures/top2.gin'"
  elif description.router not in ('', 'top1'):
    yield from _router(description)
  if known is None:
    yield from _layers(description.blocks)


def _known_architecture(blocks: Mapping[str, tuple[str, ...]]) -> str | None:
  """The architecture file with these blocks: '' for the dense one, None if there is no such file."""
  for name, feed_forward in ARCHITECTURES.items():
    if blocks == {stack: block_of(stack, feed_forward) for stack in ('encoder', 'decoder')}:
      return name
  return None


def _layers(blocks: Mapping[str, tuple[str, ...]]) -> Iterator[str]:
  for stack, block in blocks.items():
    yield f'{stack}/stacks.num_blocks.layers_per_block = {layers_per_block(block)}'
    yield f'{stack}/transformer.make_layer_stack.layers = ['
    yield from (f'    @{GIN_CLASSES[sublayer]},' for sublayer in block)
    yield ']'


def _router(description: ModelDescription) -> Iterator[str]:
  """A router that has no architecture file."""
  name = routers.class_of(description.router)
  router = routers.CLASSES[name]
  yield f'router = @routing.{name}()'
  if router.parameter:
    yield f'routing.{name}.{router.parameter} = {description.experts_per_token}'


def _literal(value: Any) -> str:
  """A value as gin reads it. A single activation is written without a list."""
  if isinstance(value, tuple):
    return repr(value[0] if len(value) == 1 else list(value))
  return repr(value)
