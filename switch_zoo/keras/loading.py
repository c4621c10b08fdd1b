"""A Keras model with weights from a folder of any format."""

import os

from switch_zoo.checkpoints import sources
from switch_zoo.keras.layers import without_first_values
from switch_zoo.keras.model import SwitchTransformer
from switch_zoo.spec.zoo import load_config


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
    weight.assign(source.whole(name))
  return loaded
