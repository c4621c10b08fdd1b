"""The variables of a model, wherever they come from."""

import numpy as np

from switch_zoo.spec.config import ModelConfig


class Weights:
  """The variables of a model; a checkpoint is one, and so is what surgery makes of another.

  config: the model
  notes: what a user should know of how it was read
  """

  config: ModelConfig
  notes: list[str]

  def dtype(self, variable: str) -> np.dtype:
    """The type a variable is stored in."""
    raise NotImplementedError

  def read(self, variable: str, expert: int | None = None) -> np.ndarray:
    """A variable, or one expert's part of it, in the axes of `config.variables` (the part: without the first)."""
    raise NotImplementedError

  def whole(self, variable: str) -> np.ndarray:
    """A whole variable. It is filled one expert at a time: some formats keep each in a tensor of its own."""
    axes = self.config.variables[variable]
    if 'experts' not in axes:
      return self.read(variable)
    value = np.empty(tuple(axes.values()), self.dtype(variable))
    for expert in range(axes['experts']):
      value[expert] = self.read(variable, expert)
    return value
