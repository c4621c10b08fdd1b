"""From the bindings of gin files to the fields of a ModelConfig.

What counts is what the run will use: the parameters of the layers, in the scope of each stack, and not macros that
happen to have the right name. A value that is missing or of the wrong kind is refused with its file and line.
"""

import os
import re
from collections.abc import Iterable, Sequence
from typing import Any

from switch_zoo.errors import UserError, did_you_mean
from switch_zoo.spec import capacity, gin_files, routers, shape, sublayers
from switch_zoo.spec.routers import RouterSpec

# The released layer with experts.
RELEASED_EXPERTS = 'MoE1D'
# Layer in a gin file -> scope of its variables. Both layers with experts keep the variables of the released one.
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
# A key at the head of a model file, and lines that go on: '# Source: ...', '#   ...'.
HEADER_KEYS = ('Source', 'Departures', 'Parameters')


def read(files: Sequence[str], parameters: Iterable[str] = ()) -> dict[str, Any]:
  """The fields of the ModelConfig that a model file, and files and parameters laid over it, describe.

  Raises:
    UserError: with file and line
  """
  bound = gin_files.read(files, parameters)
  bound.check()
  return read_bound(bound)


def read_bound(bound: gin_files.GinFiles) -> dict[str, Any]:
  """The fields of the ModelConfig that gin files describe which have been read; name and header are the first one's.

  Raises:
    UserError: with file and line
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


def read_header(path: str) -> dict[str, str]:
  """The comment that opens a model file: 'Title', 'Source', 'Departures', 'Parameters', as far as they stand there."""
  with open(path, encoding='utf-8') as file:
    return parse_header(file.read())


def parse_header(text: str) -> dict[str, str]:
  """Like `read_header`, from the text of the file."""
  header, key = {}, 'Title'
  for line in text.splitlines():
    if not line.startswith('#'):
      break
    text = line[1:].strip()
    head = re.match(r'(\w+): ', text)
    if head and head[1] in HEADER_KEYS:
      key, text = head[1], text[head.end() :]
    header[key] = f'{header[key]} {text}' if key in header else text
  return header


class BindingReader:
  """Finds bindings whatever modules a file writes before a configurable's name, and notes where they stand."""

  def __init__(self, files: gin_files.GinFiles, path: str):
    self.files = files
    self.path = path
    self.places: dict[str, str] = {}
    self._keys: dict[tuple[str, str, str], str] = {}
    for key in files.bindings:
      scope, _, name = key.rpartition('/')
      if '.' in name:
        *_, configurable, parameter = name.split('.')
        self._keys[scope, configurable, parameter] = key

  def key(self, configurable: str, parameter: str, scope: str = '') -> str | None:
    """The binding a call inside `scope` gets: that of the scope, else the general one, else None."""
    found = self._keys.get((scope, configurable, parameter))
    return found or self._keys.get(('', configurable, parameter))

  def raw(self, configurable: str, parameter: str, scope: str = '') -> tuple[Any, str]:
    """Value, macros replaced by theirs, and place of a parameter that has to be bound.

    Raises:
      UserError: nothing binds it
    """
    key = self.key(configurable, parameter, scope)
    if key is None:
      raise UserError(f'{self.path} is not a model: neither it nor its includes set {configurable}.{parameter}.')
    return self.files.value(key), self.place(key)

  def place(self, key: str) -> str:
    """Where the value behind a chain of macros stands."""
    binding, seen = self.files.bindings[key], set()
    while isinstance(binding.value, gin_files.Macro) and binding.value.name not in seen:
      seen.add(binding.value.name)
      binding = self.files.bindings[binding.value.name]
    return binding.place

  def get(self, field: str, kind: type, configurable: str, parameter: str, scope: str = '', default: Any = None) -> Any:
    """The value of a parameter as `kind`, its place noted as that of `field`.

    Raises:
      UserError: nothing binds it and there is no default, or it is of another kind
    """
    if default is not None and self.key(configurable, parameter, scope) is None:
      return default
    value, self.places[field] = self.raw(configurable, parameter, scope)
    return _of_kind(kind, value, f'{configurable}.{parameter}', self.places[field])

  def macro(self, name: str, kind: type) -> Any:
    """The value of a macro that is a field of the same name.

    Raises:
      UserError: no file defines it, or it is of another kind
    """
    if name not in self.files.bindings:
      raise UserError(f'{self.path} is not a model: neither it nor its includes set {name}.')
    self.places[name] = self.place(name)
    return _of_kind(kind, self.files.value(name), name, self.places[name])


def _fields(reader: BindingReader) -> dict[str, Any]:
  fields = {
    'd_model': reader.get('d_model', int, 'Unitransformer', 'd_model'),
    'd_ff': reader.get('d_ff', int, 'DenseReluDense', 'hidden_size'),
    'd_kv': reader.get('d_kv', int, 'SelfAttention', 'key_value_size'),
    'num_heads': reader.get('num_heads', int, 'SelfAttention', 'num_heads'),
    'ff_activation': reader.get('ff_activation', tuple, 'DenseReluDense', 'activation', default=('relu',)),
    'vocab_size': sublayers.padded_vocabulary(reader.macro('vocab_size', int)),
    'target_vocab_size': sublayers.padded_vocabulary(reader.macro('target_vocab_size', int)),
    'tied_embeddings': reader.get(
      'tied_embeddings', bool, 'Unitransformer', 'shared_embedding_and_softmax_weights', 'decoder'
    ),
    'shared_embedding': reader.get('shared_embedding', bool, 'Bitransformer', 'shared_embedding', default=True),
    'relative_attention_num_buckets': _buckets(reader),
    'dropout_rate': reader.get('dropout_rate', float, 'sublayer_dropout', 'dropout_rate', default=shape.DROPOUT_RATE),
    'activation_dtype': reader.get('activation_dtype', str, 'get_variable_dtype', 'activation_dtype'),
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
  for parameter, default in DEFAULTS.items():
    fields[parameter] = reader.get(parameter, type(default), layer, parameter, default=default)
  return fields


def _router(reader: BindingReader, layer: str) -> RouterSpec:
  """The router of a layer with experts.

  Raises:
    UserError: one whose experts per token are not known here
  """
  value, place = reader.raw(layer, 'moe_gating' if layer == RELEASED_EXPERTS else 'router')
  name = value.name.split('.')[-1] if isinstance(value, gin_files.Reference) else str(value)
  known = {**routers.CLASSES, **routers.RELEASED}
  if name not in known:
    hint = did_you_mean(name, known) or f' Known are {", ".join(known)}.'
    raise UserError(f'{place}: "{name}" is not a router switch_zoo can describe.{hint}')
  reader.places['router'] = place
  router = known[name]
  if router.parameter:
    chosen = reader.get('experts_per_token', int, name, router.parameter, default=router.experts_per_token)
    router = router._replace(experts_per_token=chosen)
  return router


def _check_activation(reader: BindingReader, layer: str) -> None:
  """Refuses experts whose activation differs from the dense layers': ModelConfig has one for both."""
  dense, place = reader.raw('DenseReluDense', 'activation')
  experts, _ = reader.raw(layer, 'activation')
  if dense != experts:
    raise UserError(f'{place}: the dense layers use {dense!r}, the experts {experts!r}. Give both the same.')


def _layers(reader: BindingReader, stack: str) -> list[str]:
  """Names of the layers of one block of a stack, in order."""
  layers, place = reader.raw('make_layer_stack', 'layers', stack)
  reader.places[f'{stack}_block'] = place
  names = []
  for layer in _of_kind(list, layers, f'{stack}/make_layer_stack.layers', place):
    if not isinstance(layer, gin_files.Reference):
      raise UserError(f'{place}: a layer of the {stack} is {layer!r}. A layer is @module.Layer, without arguments.')
    name = layer.name.split('.')[-1]
    if name not in SUBLAYERS:
      hint = did_you_mean(name, SUBLAYERS) or f' Known are {", ".join(SUBLAYERS)}.'
      raise UserError(f'{place}: "{layer.name}" is not a layer switch_zoo can describe.{hint}')
    names.append(name)
  if 'SelfAttention' not in names:
    raise UserError(f'{place}: the {stack} has no SelfAttention. A layer begins with one.')
  return names


def _num_blocks(reader: BindingReader, stack: str) -> int:
  """Blocks in a stack: a number, or what @stacks.num_blocks() will make of layers and layers per block."""
  blocks, place = reader.raw('make_layer_stack', 'num_layers', stack)
  field = f'num_{stack}_layers'
  if not isinstance(blocks, gin_files.Reference):
    reader.places[field] = place
    return _of_kind(int, blocks, f'{stack}/make_layer_stack.num_layers', place)
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
  """Relative-position buckets of the self-attention that a stack shares, 0 where it has none."""
  kind, place = reader.raw('SelfAttention', 'relative_attention_type')
  if kind not in (None, 'bias_shared'):
    raise UserError(f'{place}: relative_attention_type is {kind!r}. switch_zoo describes "bias_shared" and None.')
  name = 'relative_attention_num_buckets'
  buckets = reader.get(name, int, 'SelfAttention', name, default=shape.RELATIVE_BUCKETS)
  return buckets if kind else 0


def _of_kind(kind: type, value: Any, name: str, place: str) -> Any:
  """`value` as `kind`; a whole number has to be positive, and an activation may be one name or several."""
  if kind is tuple and isinstance(value, str):
    value = [value]
  types, rule, words = _KINDS[kind]
  if not isinstance(value, types) or not rule(value):
    raise UserError(f'{place}: {name} is {value!r}, and must be {words}.')
  return value if kind is list else kind(value)


# Kind -> the types a value of it may have, what must hold, and how a message calls it.
_KINDS = {
  int: (int, lambda value: value is not True and value > 0, 'a whole number above 0'),
  float: ((int, float), lambda value: not isinstance(value, bool), 'a number'),
  bool: (bool, lambda value: True, 'True or False'),
  str: (str, lambda value: True, 'text in quotes'),
  list: (list, lambda value: True, 'a list of layers'),
  tuple: (
    (list, tuple),
    lambda value: value and all(isinstance(item, str) for item in value),
    'the name of an activation, or a list of them',
  ),
}
