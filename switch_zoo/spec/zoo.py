"""The models that come with switch_zoo, and any gin file, as a ModelConfig."""

import os
import re
from collections.abc import Iterable

from switch_zoo.errors import UserError, did_you_mean
from switch_zoo.spec import config_reader, gin_files
from switch_zoo.spec.config import ModelConfig


def list_models() -> list[str]:
  """Names of the models that come with switch_zoo: families together, small ones first."""
  folder = gin_files.configs_folder() / 'models'
  return sorted((path.stem for path in folder.glob('*.gin')), key=_natural)


def load_config(model: str, parameters: Iterable[str] = ()) -> ModelConfig:
  """Reads a model's configuration.

  Args:
    model: a name of `list_models`, or the path of a gin file
    parameters: bindings that override the file's, in gin's syntax: 'num_experts = 4'
  Raises:
    UserError: an unknown name (with the closest ones), or a file that cannot be read as a model: file, line and rule
  """
  return load_configs([model_file(model)], parameters)


def load_configs(files: Iterable[str], parameters: Iterable[str] = ()) -> ModelConfig:
  """Like `load_config`, for a model file with others on top; name, title and source are those of the first.

  Raises:
    UserError: as `load_config`
  """
  model, *others = files
  files = [model_file(model), *others]
  return ModelConfig(**config_reader.read(files, parameters))


def config_of_bound(bound: gin_files.GinFiles) -> ModelConfig:
  """Like `load_configs`, for gin files that have been read and checked; the first of them is the model file.

  Raises:
    UserError: they do not describe a model
  """
  return ModelConfig(**config_reader.read_bound(bound))


def model_file(model: str) -> str:
  """The gin file of a model: a name of `list_models`, or a file below our gin folder. Any other path is returned as is.

  Raises:
    UserError: there is no such model or file
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


def _natural(name: str) -> list[int | str]:
  """A sort key that compares numbers inside names as numbers: switch_base_16 comes after switch_base_8."""
  return [int(part) if part.isdigit() else part for part in re.split(r'(\d+)', name)]
