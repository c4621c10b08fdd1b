"""The variables of a model, wherever they come from, and the parts in which they are read and written."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from switch_zoo.spec.config import ModelConfig


class WeightPart(NamedTuple):
  """What is read and written at once: a variable, or one expert of it."""

  variable: str
  expert: int | None = None


class ModelWeights:
  """The variables of a model; a checkpoint is one, and so is what surgery makes of another.

  config: the model
  notes: what a user should know about how it was read
  """

  config: ModelConfig
  notes: list[str]

  def dtype(self, variable: str) -> np.dtype:
    """The type a variable is stored in."""
    raise NotImplementedError

  def read(self, variable: str, expert: int | None = None) -> np.ndarray:
    """A variable, or one expert's part of it. -> <dtype>[axes of `config.variables`], for a part without the first"""
    raise NotImplementedError

  def whole(self, variable: str) -> np.ndarray:
    """A whole variable, read one expert at a time because some formats keep each in a tensor of its own.

    -> <dtype>[axes of `config.variables`]
    """
    axes = self.config.variables[variable]
    if 'experts' not in axes:
      return self.read(variable)
    value = np.empty(tuple(axes.values()), self.dtype(variable))
    for expert in range(axes['experts']):
      value[expert] = self.read(variable, expert)
    return value


def weight_parts(config: ModelConfig) -> Iterator[WeightPart]:
  """All parts of a model, in the order of its variables."""
  for variable, axes in config.variables.items():
    if 'experts' in axes:
      yield from (WeightPart(variable, expert) for expert in range(config.num_experts))
    else:
      yield WeightPart(variable)
