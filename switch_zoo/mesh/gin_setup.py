"""Configures a run with gin, and says what is wrong in a user's words."""

import contextlib
import importlib
import inspect
import logging
import re
from collections.abc import Mapping, Sequence

import gin
from t5.models import mesh_transformer

from switch_zoo.errors import UserError, did_you_mean
from switch_zoo.spec import gin_files

# Modules by the names they had, which the operative_config.gin of an earlier training imports -> those of today.
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


def configure(files: Sequence[str], parameters: Sequence[str], prefixes: Sequence[str] = (), skip_unknown=()) -> None:
  """Binds Mesh-TensorFlow's defaults, then files, then parameters; what was bound before is forgotten.

  Args:
    files: gin files, paths or names below the search path
    parameters: bindings in gin's syntax
    prefixes: more folders to look for files in
    skip_unknown: True, or names of configurables that may be missing
  Raises:
    UserError: a name that does not exist, with the closest ones
  """
  gin.clear_config()
  for folder in gin_files.search_path(prefixes):
    gin.add_config_file_search_path(folder)
  if skip_unknown is not True:
    skip_unknown = [*mesh_transformer.DEPRECATED_GIN_REFERENCES, *skip_unknown]
  _import(gin_files.read(files, parameters, prefixes).imports)
  try:
    with _without_search_messages():
      gin.parse_config_file(gin_files.MESH_DEFAULTS, skip_unknown=skip_unknown)
      gin.parse_config_files_and_bindings(files, parameters, skip_unknown=skip_unknown, finalize_config=False)
  except (ValueError, AttributeError) as error:
    raise UserError(explain(error)) from error


def _import(imports: Mapping[str, str]) -> None:
  """Imports what the files import: gin itself would pass over a module that is missing."""
  for module, place in imports.items():
    try:
      importlib.import_module(MOVED.get(module, module))
    except ImportError as error:
      raise UserError(f'{place} imports {module}: {error}. Is the package installed and the name right?') from error


@contextlib.contextmanager
def _without_search_messages():
  """gin logs an error for every folder a file is not in before it finds it in the next."""
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
  """Names a gin file may use: of every configurable its own name, and that with its module's."""
  parts = [name.split('.') for name, _ in _registry().items()]
  return sorted({'.'.join(name[-n:]) for name in parts for n in (1, 2)})


def parameters_of(name: str) -> list[str]:
  """Parameters of a configurable that gin can set."""
  configurable = _registry().get_match(name)
  return [p for p in inspect.signature(configurable.wrapped).parameters if p != 'self']


def _registry():
  return gin.config._REGISTRY  # pylint: disable=protected-access - gin has no public list of its configurables


def _place(text):
  """'FILE, line 3: ' where gin's message tells it, else ''."""
  found = re.search(r'In (?:file "([^"]+)", line (\d+)|bindings string)', text)
  if not found:
    return ''
  return f'{found[1]}, line {found[2]}: ' if found[1] else '--gin_param: '
