"""Every Switch Transformer, and its dense T5, top-2 and GShard relatives, as gin-configured T5 models."""

from __future__ import annotations

from typing import TYPE_CHECKING

from switch_zoo import tf_compat
from switch_zoo.spec.config import ModelConfig
from switch_zoo.spec.zoo import list_models, load_config

if TYPE_CHECKING:
  from switch_zoo.keras import SwitchTransformer

__all__ = ['ModelConfig', 'list_models', 'load', 'load_config']


def load(
  model: str, weights: str | None = None, dtype: str | None = None, expert_capacity: int | str | None = None
) -> SwitchTransformer:
  """A Keras model, as `switch_zoo.keras.load` makes it. TensorFlow is not imported before this is called."""
  from switch_zoo import keras

  return keras.load(model, weights, dtype, expert_capacity)


tf_compat.install()
