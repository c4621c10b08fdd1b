"""Configures a run with gin, and explains gin's errors in a user's words."""

import contextlib
import functools
import inspect
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import gin
from gin import config as gin_config
from t5.models import mesh_transformer

from switch_zoo import number_format
from switch_zoo.errors import UserError, did_you_mean
from switch_zoo.number_format import NumberFormat
from switch_zoo.spec import own_modules
from switch_zoo.spec.gin_files import MESH_DEFAULTS, GinFiles

ACTIVATION_DTYPE = 'utils.get_variable_dtype.activation_dtype'
# Modules under the names they had, which the operative_config.gin of an earlier training imports -> today's names.
# An operative_config.gin imports what the gin files of its run imported; `tests/launcher` has one of before the moves.
MOVED = {
  'switch_zoo.attention': 'switch_zoo.mesh.attention',
  'switch_zoo.dispatch': 'switch_zoo.mesh.dispatch',
  'switch_zoo.exchange': 'switch_zoo.mesh.exchange',
  'switch_zoo.experts': 'switch_zoo.mesh.experts',
  'switch_zoo.loss': 'switch_zoo.mesh.loss',
  'switch_zoo.routing': 'switch_zoo.mesh.routing',
  'switch_zoo.routing.expert_choice': 'switch_zoo.mesh.routing.expert_choice',
  'switch_zoo.routing.losses': 'switch_zoo.mesh.routing.losses',
  'switch_zoo.routing.noisy': 'switch_zoo.mesh.routing.noisy_top_k',
  'switch_zoo.routing.routers': 'switch_zoo.mesh.routing.routers',
  'switch_zoo.stacks': 'switch_zoo.mesh.stacks',
  'switch_zoo.tasks.inference': 'switch_zoo.tasks.anli',
  'switch_zoo.tasks.record': 'switch_zoo.tasks.record_cloze',
}


def configure(
  bound: GinFiles, skip_unknown: bool | Sequence[str] = (), fast: NumberFormat = number_format.OF_TPU
) -> str:
  """Binds Mesh-TensorFlow's defaults and everything in `bound`; earlier bindings are cleared.

  gin's own parser reads the files once more: it has no way to take bindings that have been parsed.

  Args:
    bound: gin files and parameters, as `gin_files.read` returns them
    skip_unknown: True, or names of configurables that may be missing
    fast: the format that the machine of the run computes fast in, for activation_dtype = 'auto'
  Returns:
    a sentence for the user about the number format, '' if there is nothing to say
  Raises:
    UserError: a name that does not exist, with the closest ones
  """
  gin.clear_config()
  import_modules(bound.imports)
  skip_unknown = skippable(skip_unknown)
  try:
    with _search_path(bound.folders), _without_search_messages():
      gin.parse_config_file(MESH_DEFAULTS, skip_unknown=skip_unknown)
      gin.parse_config_files_and_bindings(
        bound.files, bound.parameters, skip_unknown=skip_unknown, finalize_config=False
      )
  except (ValueError, AttributeError) as error:
    raise UserError(explain(error)) from error
  return _choose_activation_dtype(fast)


@contextlib.contextmanager
def configured_as(bound: GinFiles, fast: NumberFormat = number_format.OF_TPU) -> Iterator[None]:
  """Within, gin is configured with other files, as for another model; afterwards with what it was before.

  gin has one configuration for the process, which a second model in the same graph would otherwise share.

  Args:
    bound, fast: as in `configure`
  Raises:
    UserError: a name that does not exist
  """
  # pylint: disable=protected-access - gin can clear its configuration, but not put it aside
  parts: tuple[Any, ...] = (
    gin_config._CONFIG,
    gin_config._IMPORTS,
    gin_config._OPERATIVE_CONFIG,
    gin_config._SINGLETONS,
  )
  before, locked = [part.copy() for part in parts], gin_config._CONFIG_IS_LOCKED
  try:
    configure(bound, fast=fast)
    yield
  finally:
    for part, content in zip(parts, before, strict=True):
      part.clear()
      part.update(content)
    gin_config._set_config_is_locked(locked)


def _choose_activation_dtype(fast: NumberFormat) -> str:
  """Binds the dtype that 'auto' comes to, so that operative_config.gin has it; what is set otherwise stays."""
  key, setting = _activation_dtype()
  choice = number_format.choose(setting, fast, 'activation_dtype')
  with gin.unlock_config():
    gin.parse_config(f'{key} = {choice.dtype!r}')
  return choice.note


def mesh_dtype() -> str:
  """The dtype of activations that gin has: of the graph that is built next."""
  return _activation_dtype()[1]


def _activation_dtype() -> tuple[str, str]:
  """What to bind for another dtype of activations, and the present one: a macro, or the parameter itself."""
  key, setting = ACTIVATION_DTYPE, gin.query_parameter(ACTIVATION_DTYPE)
  while isinstance(setting, gin_config.ConfigurableReference):
    # %name is the configurable 'gin.macro' in the scope `name`.
    key = setting.scoped_selector.rpartition('/')[0]
    setting = gin.query_parameter(f'%{key}')
  return key, setting


def import_modules(imports: Mapping[str, str]) -> None:
  """Imports what gin files import: gin itself would silently skip a module that does not exist.

  gin does skip a module that has moved, so it is given the new name as well: the operative_config.gin of this run then
  imports today's modules.

  Args:
    imports: module -> the place that imports it
  Raises:
    UserError: a module cannot be imported
  """
  for module, place in imports.items():
    own_modules.import_module(MOVED.get(module, module), place)
    if module in MOVED:
      with gin.unlock_config():
        gin.parse_config(f'import {MOVED[module]}')


def skippable(names: bool | Sequence[str]) -> bool | list[str]:
  """What gin may skip: `names`, and those that T5 skips because old configurations contain them."""
  return True if names is True else [*mesh_transformer.DEPRECATED_GIN_REFERENCES, *(names or ())]


@contextlib.contextmanager
def _search_path(folders: Sequence[str]) -> Iterator[None]:
  """Within, gin searches `folders` too; a later run in this process does not find the files of an earlier one there."""
  prefixes = gin_config._LOCATION_PREFIXES  # pylint: disable=protected-access - gin can add a folder, but not remove it
  before = len(prefixes)
  prefixes.extend(folders)
  readers = gin_config._FILE_READERS  # pylint: disable=protected-access - gin can add one, but not replace its own
  released = readers[0]
  # gin itself reads files in the machine's encoding, and takes a byte order mark for a name.
  readers[0] = functools.partial(released[0], encoding='utf-8-sig'), released[1]
  try:
    yield
  finally:
    readers[0] = released
    del prefixes[before:]


@contextlib.contextmanager
def _without_search_messages() -> Iterator[None]:
  """Within, gin does not log an error for each folder that it searches before it finds a file."""
  hide = lambda record: not str(record.msg).startswith('Path not found')
  logging.getLogger().addFilter(hide)
  try:
    yield
  finally:
    logging.getLogger().removeFilter(hide)


def explain(error: Exception) -> str:
  """gin's message about an unknown name as one paragraph, with the closest valid names."""
  text = ' '.join(str(error).split())
  unknown = re.search(r"No configurable matching (?:reference )?'@?([^']+?)(?:\(\))?'", text)
  if unknown:
    return f'{_place(text)}gin knows no "{unknown[1]}".{did_you_mean(unknown[1], configurables())}'
  parameter = re.search(r"Configurable '([^']+)' doesn't have a parameter named '([^']+)'", text)
  if parameter:
    valid = parameters_of(parameter[1])
    hint = did_you_mean(parameter[2], valid) or f' It has: {", ".join(valid)}.'
    return f'{_place(text)}{parameter[1]} has no parameter "{parameter[2]}".{hint}'
  return text


def configurables() -> list[str]:
  """Names that a gin file may use: each configurable's own name, alone and with its module's."""
  parts = [name.split('.') for name, _ in _registry().items()]
  return sorted({'.'.join(name[-n:]) for name in parts for n in (1, 2)})


def parameters_of(name: str) -> list[str]:
  """Parameters of a configurable that gin can set."""
  configurable = _registry().get_match(name)
  return [p for p in inspect.signature(configurable.wrapped).parameters if p != 'self']


def _registry() -> Any:
  return gin_config._REGISTRY  # pylint: disable=protected-access - gin has no public list of its configurables


def _place(text: str) -> str:
  """'FILE, line 3: ' if gin's message contains the place, else ''."""
  found = re.search(r'In (?:file "([^"]+)", line (\d+)|bindings string)', text)
  if not found:
    return ''
  return f'{found[1]}, line {found[2]}: ' if found[1] else '--gin_param: '
