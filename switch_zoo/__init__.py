"""Every Switch Transformer, and its dense T5, top-2 and GShard relatives, as gin-configured T5 models."""

from switch_zoo import tf_compat
from switch_zoo.spec.config import ModelConfig
from switch_zoo.spec.zoo import list_models, load_config

__all__ = ['ModelConfig', 'list_models', 'load', 'load_config']


def load(model: str, weights: str | None = None, dtype: str | None = None):
  """A Keras model, see `switch_zoo.keras.load`; TensorFlow is imported when it is asked for."""
  from switch_zoo import keras

  return keras.load(model, weights, dtype)


tf_compat.install()
