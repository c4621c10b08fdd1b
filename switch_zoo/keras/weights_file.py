"""Keras' own file of weights, `*.weights.h5`, with Mesh-TensorFlow's names in it: `switch_zoo convert` reads it."""

import contextlib
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
  by_keras_name = {keras_name(name): weight for name, weight in weights.items()}
  infos = {name: TensorInfo(tuple(weight.shape), _numpy_dtype(weight)) for name, weight in by_keras_name.items()}
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
    UserError: it is not such a file, or not of this model: the first differences; or a variable is not what was saved
  """
  tensors = keras_files.KerasTensors(path)
  by_keras_name = {keras_name(name): weight for name, weight in weights.items()}
  stored = {name: info.shape for name, info in tensors.infos.items()}
  problems = differences.describe_differences(
    stored, {name: tuple(w.shape) for name, w in by_keras_name.items()}, 'the file'
  )
  if problems:
    raise UserError(f'{path} does not hold the weights of {model_name}: {differences.summarize(problems)}.')
  for name in by_keras_name:
    tensors.read(name)  # checks it; not kept, because all of them may not fit into memory twice
  for name, weight in by_keras_name.items():
    weight.assign(tensors.read(name))


def _numpy_dtype(weight: Any) -> np.dtype:
  return np.dtype(getattr(weight.dtype, 'as_numpy_dtype', weight.dtype))
