"""Keras' own file of weights, `*.weights.h5`, with Mesh-TensorFlow's names in it: `switch_zoo convert` reads it."""

import contextlib
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from switch_zoo.checkpoints import keras_files
from switch_zoo.checkpoints.arrays import Info
from switch_zoo.checkpoints.names import keras_name
from switch_zoo.errors import UserError

SUFFIX = '.weights.h5'
MAX_DIFFERENCES_SHOWN = 3


def save(weights: Mapping[str, Any], path: str) -> None:
  """Writes a file, whole or not at all.

  Args:
    weights: Mesh-TensorFlow's name of a variable -> a Keras weight
    path: of the file
  """
  by_keras_name = {keras_name(name): weight for name, weight in weights.items()}
  infos = {name: Info(tuple(weight.shape), _numpy_dtype(weight)) for name, weight in by_keras_name.items()}
  partial = f'{path}.partial'
  try:
    keras_files.create(partial, infos)
    keras_files.fill(partial, {name: np.asarray(weight) for name, weight in by_keras_name.items()})
    os.replace(partial, path)
  except BaseException:
    with contextlib.suppress(OSError):
      os.remove(partial)
    raise


def load(weights: Mapping[str, Any], path: str, model_name: str) -> None:
  """Reads a file into weights; changes none of them unless all of it fits.

  Args:
    weights: as for `save`
    path: of the file
    model_name: for messages
  Raises:
    UserError: it is not such a file, or not of this model: the first differences
  """
  tensors = keras_files.KerasTensors(path)
  by_keras_name = {keras_name(name): weight for name, weight in weights.items()}
  differences = _differences({name: tuple(w.shape) for name, w in by_keras_name.items()}, tensors.infos)
  if differences:
    shown = '; '.join(differences[:MAX_DIFFERENCES_SHOWN])
    raise UserError(f'{path} does not hold the weights of {model_name}: {shown}.')
  for name, weight in by_keras_name.items():
    weight.assign(tensors.read(name))


def _differences(model: Mapping[str, tuple[int, ...]], file: Mapping[str, Info]) -> list[str]:
  missing = [f'{name} is missing' for name in model if name not in file]
  extra = [f'{name} is in the file only' for name in file if name not in model]
  reshaped = [name for name, shape in model.items() if name in file and file[name].shape != shape]
  shapes = [f'{name} is {list(file[name].shape)} in the file and {list(model[name])} in the model' for name in reshaped]
  return missing + extra + shapes


def _numpy_dtype(weight: Any) -> np.dtype:
  return np.dtype(getattr(weight.dtype, 'as_numpy_dtype', weight.dtype))
