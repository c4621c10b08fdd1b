"""Keras' own file of weights, `*.weights.h5`, with Mesh-TensorFlow's names in it: `switch_zoo convert` reads it."""

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from switch_zoo.checkpoints import differences, keras_files
from switch_zoo.checkpoints.arrays import TensorInfo
from switch_zoo.checkpoints.names import keras_name
from switch_zoo.errors import UserError

SUFFIX = '.weights.h5'


def save(weights: Mapping[str, Any], path: str) -> None:
  """Writes a file, whole or not at all.

  Args:
    weights: Mesh-TensorFlow's name of a variable -> a Keras weight
    path: of the file
  """
  values = {keras_name(name): weight for name, weight in weights.items()}
  partial = f'{path}.partial'
  keras_files.create(partial, {name: TensorInfo(tuple(w.shape), _numpy_dtype(w)) for name, w in values.items()})
  keras_files.fill(partial, {name: np.asarray(weight) for name, weight in values.items()})
  os.replace(partial, path)


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
  wanted = {keras_name(name): weight for name, weight in weights.items()}
  stored = {name: info.shape for name, info in tensors.infos.items()}
  problems = differences.describe_differences(stored, {name: tuple(w.shape) for name, w in wanted.items()}, 'the file')
  if problems:
    raise UserError(f'{path} does not hold the weights of {model_name}: {differences.summarize(problems)}.')
  for name, weight in wanted.items():
    weight.assign(tensors.read(name))


def _numpy_dtype(weight: Any) -> np.dtype:
  return np.dtype(getattr(weight.dtype, 'as_numpy_dtype', weight.dtype))
