"""From the bindings of gin files to the fields of a ModelConfig.

What counts is what the run will use: the parameters of the layers, in the scope of each stack, rather than macros that
happen to have the right name. A value that is missing or of the wrong kind is an error that names the file and line.
"""

import os
import re
from collections.abc import Iterable, Sequence
from typing import Any

from switch_zoo import number_format
from switch_zoo.errors import UserError, did_you_mean, shortened, shown
from switch_zoo.spec import capacity, gin_files, own_modules, routers, shape, sublayers
from switch_zoo.spec.bindings import BindingReader, as_kind
from switch_zoo.spec.routers import RouterSpec

# The released layer with experts.
RELEASED_EXPERTS = 'MoE1D'
# Layer in a gin file -> scope of its variables. Both layers with experts use the released layer's variable names.
SUBLAYERS = {
  'SelfAttention': sublayers.SELF_ATTENTION,
  'EncDecAttention': sublayers.ENC_DEC_ATTENTION,
  'DenseReluDense': sublayers.DENSE,
  RELEASED_EXPERTS: sublayers.EXPERTS,
  'SwitchFeedForward': sublayers.EXPERTS,
}
# Parameters of a layer with experts that need no binding.
DEFAULTS = {
  'min_expert_capacity': capacity.MIN_CAPACITY,
  'group_size': capacity.GROUP_SIZE,
  'capacity_factor_train': capacity.FACTOR_TRAIN,
  'capacity_factor_eval': capacity.FACTOR_EVAL,
}
# Keys in the comment that opens a model file, written '# Source: ...' and continued on lines that begin '#   '.
HEADER_KEYS = ('Source', 'Departures', 'Parameters')


def read(files: Sequence[str], parameters: Iterable[str] = ()) -> dict[str, Any]:
  """The fields of the ModelConfig described by a model file, with other files and parameters on top.

  Raises:
    UserError: with the file and line of the mistake
  """
  bound = gin_files.read(files, parameters)
  bound.check()
  return read_bound(bound)


def read_bound(bound: gin_files.GinFiles) -> dict[str, Any]:
  """Like `read`, for gin files that have been read and checked; the first of them is the model file.

  Raises:
    UserError: with the file and line of the mistake
  """
  path = bound.files[0]
  reader = BindingReader(bound, path)
  fields = _fields(reader)
  header = parse_header(bound.texts[path])
  return fields | {
    'name': os.path.splitext(os.path.basename(path))[0],
    'path': os.path.abspath(path),
    'title': header.get('Title', ''),
    'source': header.get('Source', ''),
    'departures': header.get('Departures', ''),
    'places': reader.places,
  }


def parse_header(text: str) -> dict[str, str]:
  """The comment that opens the text of a model file: those of 'Title', 'Source', 'Departures', 'Parameters' it has."""
  header, key = {}, 'Title'
  for line in text.splitlines():
    if not line.startswith('#'):
      break
    content = line[1:].strip()
    head = re.match(r'(\w+): ', content)
    if head and head[1] in HEADER_KEYS:
      key, content = head[1], content[head.end() :]
    header[key] = f'{header[key]} {content}' if key in header else content
  return header


def _fields(reader: BindingReader) -> dict[str, Any]:
  fields = {
    'd_model': reader.get('d_model', int, 'Unitransformer', 'd_model'),
    'd_ff': reader.get('d_ff', int, 'DenseReluDense', 'hidden_size'),
    'd_kv': reader.get('d_kv', int, 'SelfAttention', 'key_value_size'),
    'num_heads': reader.get('num_heads', int, 'SelfAttention', 'num_heads'),
    'ff_activation': reader.get('ff_activation', tuple, 'DenseReluDense', 'activation', default=('relu',)),
    **_vocabulary(reader, 'vocab_size'),
    **_vocabulary(reader, 'target_vocab_size'),
    **({'end_id': reader.macro('end_id', int)} if 'end_id' in reader.files.bindings else {}),
    'tied_embeddings': reader.get(
      'tied_embeddings', bool, 'Unitransformer', 'shared_embedding_and_softmax_weights', 'decoder'
    ),
    'shared_embedding': reader.get('shared_embedding', bool, 'Bitransformer', 'shared_embedding', default=True),
    'relative_attention_num_buckets': _buckets(reader),
    'dropout_rate': reader.get('dropout_rate', float, 'sublayer_dropout', 'dropout_rate', default=shape.DROPOUT_RATE),
    'activation_dtype': _activation_dtype(reader),
  }
  expert_layers = set()
  for stack in ('encoder', 'decoder'):
    names = _layers(reader, stack)
    block = tuple(SUBLAYERS[name] for name in names)
    fields[f'{stack}_block'] = block
    fields[f'num_{stack}_layers'] = _num_blocks(reader, stack) * sublayers.layers_per_block(block)
    expert_layers |= {name for name in names if SUBLAYERS[name] == sublayers.EXPERTS}
  if len(expert_layers) > 1:
    raise UserError(f'{reader.path} uses {" and ".join(sorted(expert_layers))} in one model: use one of them.')
  for layer in expert_layers:
    fields |= _expert_fields(reader, layer)
  return fields


def _vocabulary(reader: BindingReader, macro: str) -> dict[str, int]:
  """The rows of a vocabulary's embedding and, if they are fewer, its ids. A file gives the ids, or the rows."""
  num_ids = reader.macro(macro, int)
  rows = sublayers.padded_vocabulary(num_ids)
  return {macro: rows, f'unpadded_{macro}': num_ids if num_ids < rows else 0}


def _activation_dtype(reader: BindingReader) -> str:
  setting = reader.get('activation_dtype', str, 'get_variable_dtype', 'activation_dtype')
  if setting not in number_format.SETTINGS:
    raise UserError(
      f'{reader.places["activation_dtype"]}: activation_dtype is {shown(setting)}. Use one of '
      f'{", ".join(number_format.SETTINGS)}.{did_you_mean(setting, number_format.SETTINGS)}'
    )
  return setting


def _expert_fields(reader: BindingReader, layer: str) -> dict[str, Any]:
  released = layer == RELEASED_EXPERTS
  router = _router(reader, layer)
  _check_activation(reader, layer)
  dropout = 'dropout_rate' if released else 'expert_dropout_rate'
  fields = {
    'num_experts': reader.get('num_experts', int, layer, 'num_experts'),
    'expert_d_ff': reader.get('expert_d_ff', int, layer, 'hidden_size'),
    'router': router.name,
    'router_kernels': router.kernels,
    'experts_per_token': router.experts_per_token,
    'balance_loss_coef': reader.macro('balance_loss_coef', float),
    'expert_dropout_rate': reader.get('expert_dropout_rate', float, layer, dropout, default=shape.DROPOUT_RATE),
  }
  if 'expert_capacity' in reader.files.bindings:
    fields['expert_capacity'] = reader.macro('expert_capacity', int)
  for parameter, default in DEFAULTS.items():
    fields[parameter] = reader.get(parameter, type(default), layer, parameter, default=default)
  return fields


def _router(reader: BindingReader, layer: str) -> RouterSpec:
  """The router of a layer with experts.

  Raises:
    UserError: switch_zoo does not know how many experts that router gives a token
  """
  value, place = reader.raw(layer, 'moe_gating' if layer == RELEASED_EXPERTS else 'router')
  name = value.name.split('.')[-1] if isinstance(value, gin_files.Reference) else str(value)
  if name not in routers.CLASSES and name not in routers.RELEASED:
    own_modules.import_own(reader.files.imports)
  known = {**routers.CLASSES, **routers.RELEASED}
  if name not in known:
    hint = did_you_mean(name, known) or f' Known routers: {", ".join(known)}.'
    raise UserError(
      f'{place}: "{shortened(name)}" is not a router switch_zoo can describe.{hint} A router of your own is '
      'added by switch_zoo.spec.routers.add, in the module that the gin file imports.'
    )
  reader.places['router'] = place
  router = known[name]
  if router.parameter:
    chosen = reader.get('experts_per_token', int, name, router.parameter, default=router.experts_per_token)
    router = router._replace(experts_per_token=chosen)
  return router


def _check_activation(reader: BindingReader, layer: str) -> None:
  """Rejects experts whose activation differs from that of the dense layers: ModelConfig has one field for both."""
  dense, place = reader.raw('DenseReluDense', 'activation')
  experts, _ = reader.raw(layer, 'activation')
  if dense != experts:
    raise UserError(
      f'{place}: the dense layers use {shown(dense)}, the experts use {shown(experts)}. Both must use the same.'
    )


def _layers(reader: BindingReader, stack: str) -> list[str]:
  """Names of the layers of one block of a stack, in order."""
  layers, place = reader.raw('make_layer_stack', 'layers', stack)
  reader.places[f'{stack}_block'] = place
  names = []
  for layer in as_kind(list, layers, f'{stack}/make_layer_stack.layers', place):
    if not isinstance(layer, gin_files.Reference):
      raise UserError(
        f'{place}: a layer of the {stack} is {shown(layer)}. A layer is @module.Layer, without arguments.'
      )
    name = layer.name.split('.')[-1]
    if name not in SUBLAYERS:
      hint = did_you_mean(name, SUBLAYERS) or f' Known layers: {", ".join(SUBLAYERS)}.'
      raise UserError(f'{place}: "{layer.name}" is not a layer switch_zoo can describe.{hint}')
    names.append(name)
  if 'SelfAttention' not in names:
    raise UserError(f'{place}: the {stack} has no SelfAttention. Every layer begins with one.')
  return names


def _num_blocks(reader: BindingReader, stack: str) -> int:
  """Blocks in a stack: a number, or what @stacks.num_blocks() computes from layers and layers per block."""
  blocks, place = reader.raw('make_layer_stack', 'num_layers', stack)
  field = f'num_{stack}_layers'
  if not isinstance(blocks, gin_files.Reference):
    reader.places[field] = place
    return as_kind(int, blocks, f'{stack}/make_layer_stack.num_layers', place)
  scope, _, name = blocks.name.rpartition('/')
  if name.split('.')[-1] != 'num_blocks':
    raise UserError(f'{place}: the number of blocks is @{blocks.name}(). Use @{stack}/stacks.num_blocks() or a number.')
  layers = reader.get(field, int, 'num_blocks', 'num_layers', scope)
  per_block = reader.get('layers_per_block', int, 'num_blocks', 'layers_per_block', scope)
  del reader.places['layers_per_block']
  if layers % per_block:
    raise UserError(
      f'{reader.places[field]}: {layers} layers in the {stack} do not divide into blocks of {per_block}. '
      f'Use {layers - layers % per_block or per_block} or {layers + per_block - layers % per_block}.'
    )
  return layers // per_block


def _buckets(reader: BindingReader) -> int:
  """Buckets of the relative positions that a stack's self-attention layers share; 0 without relative positions."""
  kind, place = reader.raw('SelfAttention', 'relative_attention_type')
  if kind not in (None, 'bias_shared'):
    raise UserError(f'{place}: relative_attention_type is {shown(kind)}. It must be "bias_shared" or None.')
  name = 'relative_attention_num_buckets'
  buckets = reader.get(name, int, 'SelfAttention', name, default=shape.RELATIVE_BUCKETS)
  return buckets if kind else 0
