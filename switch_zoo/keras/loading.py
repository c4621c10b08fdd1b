"""A Keras model with weights from a folder of any format, and Keras' own file of weights."""
import os
from collections.abc import Mapping

import numpy as np

from switch_zoo.checkpoints import keras_files, sources
from switch_zoo.checkpoints.arrays import Info
from switch_zoo.config import load_config
from switch_zoo.errors import UserError
from switch_zoo.keras.layers import without_first_values
from switch_zoo.keras.model import SwitchTransformer


def load(model: str, weights: str | None = None, dtype: str | None = None) -> SwitchTransformer:
  """Makes a model, with trained weights or with random ones.

  Args:
    model: a name of `list_models`, a gin file, or a folder with weights in any format of `switch_zoo convert`
    weights: such a folder; None: random weights, or those of `model` where that is a folder
    dtype: of weights and activations: 'float32', 'bfloat16', or 'mixed_bfloat16' (weights in float32); None: Keras'
      global policy, which is float32 by default
  Raises:
    UserError: there is no such model or checkpoint, or its weights are those of another model
  """
  kwargs = {} if dtype is None else {'dtype': dtype}
  folder = weights or (model if os.path.isdir(model) else None)
  if folder is None:
    return SwitchTransformer(load_config(model), **kwargs)
  source = sources.open_source(folder, model if weights and not os.path.isdir(model) else None)
  with without_first_values():
    loaded = SwitchTransformer(source.config, **kwargs)
  for name, weight in loaded.named_weights.items():
    weight.assign(whole(source, name))
  return loaded


def save_weights(model: SwitchTransformer, path: str) -> None:
  """Writes a file `*.weights.h5`, whole or not at all, which `switch_zoo convert` reads."""
  values = {_path(name): weight for name, weight in model.named_weights.items()}
  partial = f'{path}.partial'
  keras_files.create(partial, {name: Info(tuple(w.shape), _numpy_dtype(w)) for name, w in values.items()})
  keras_files.fill(partial, {name: np.asarray(weight) for name, weight in values.items()})
  os.replace(partial, path)


def load_weights(model: SwitchTransformer, path: str) -> None:
  """Reads a file `*.weights.h5`; changes nothing unless all of it fits.

  Raises:
    UserError: it is no such file, or not of this model: the first differences
  """
  tensors = keras_files.KerasTensors(path)
  wanted = {_path(name): weight for name, weight in model.named_weights.items()}
  problems = _differences({name: tuple(w.shape) for name, w in wanted.items()}, tensors.infos)
  if problems:
    raise UserError(f'{path} does not hold the weights of {model.name}: {"; ".join(problems[:3])}.')
  for name, weight in wanted.items():
    weight.assign(tensors.read(name))


def _differences(wanted: Mapping[str, tuple], infos: Mapping[str, Info]) -> list[str]:
  missing = [f'{name} is missing' for name in wanted if name not in infos]
  extra = [f'{name} is in the file only' for name in infos if name not in wanted]
  return missing + extra + [
      f'{name} is {list(infos[name].shape)} there and {list(shape)} in the model'
      for name, shape in wanted.items() if name in infos and infos[name].shape != shape]


def whole(source, name):
  """A variable of a source, one expert at a time: Hugging Face keeps each in a tensor of its own."""
  shape = tuple(source.config.variables[name].values())
  if 'experts' not in source.config.variables[name]:
    return source.read(name)
  value = np.empty(shape, source.dtype(name))
  for expert in range(shape[0]):
    value[expert] = source.read(name, expert)
  return value


def _path(name):
  """`shared/embedding` -> `shared/vars/embedding`"""
  scope, _, last = name.rpartition('/')
  return f'{scope}/vars/{last}'


def _numpy_dtype(weight):
  return np.dtype(getattr(weight.dtype, 'as_numpy_dtype', weight.dtype))
