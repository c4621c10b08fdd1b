"""A Keras model with weights from a folder of any format."""

import os
from typing import Any

from switch_zoo import machine, number_format
from switch_zoo.checkpoints import sources
from switch_zoo.keras.layers import zero_initialization
from switch_zoo.keras.model import SwitchTransformer
from switch_zoo.keras.sequence_slots import CapacitySetting
from switch_zoo.spec.zoo import load_config

# Number format of the activations -> policy with float32 weights, as training wants them.
POLICIES = {number_format.FLOAT32: 'float32', number_format.BFLOAT16: 'mixed_bfloat16'}


def load(
  model: str, weights: str | None = None, dtype: str | None = None, expert_capacity: CapacitySetting = None
) -> SwitchTransformer:
  """Makes a model with trained or with random weights.

  Args:
    model: a name from `list_models`, a gin file, or a folder with weights in any format of `switch_zoo convert`
    weights: such a folder; None: random weights, or those of `model` if that is a folder
    dtype: of weights and activations: 'float32', 'bfloat16', or 'mixed_bfloat16' (weights in float32); 'auto': the
      last or the first of these, whichever this machine computes fast in; None: Keras' global policy, which is
      float32 by default
    expert_capacity: tokens of each sequence that an expert has room for: a number, or 'checkpoint' for the one that
      config.json states; None: all have room outside training
  Raises:
    UserError: there is no such model or checkpoint, the weights are those of another model, or the capacity makes no
      sense for it
  """
  if dtype == number_format.AUTO:
    dtype = POLICIES[machine.fast_format().dtype]
  kwargs: dict[str, Any] = {'expert_capacity': expert_capacity} | ({} if dtype is None else {'dtype': dtype})
  folder = weights or (model if os.path.isdir(model) else None)
  if folder is None:
    return SwitchTransformer(load_config(model), **kwargs)
  source = sources.open_source(folder, model if weights and not os.path.isdir(model) else None)
  with zero_initialization():
    loaded = SwitchTransformer(source.config, **kwargs)
  for name, weight in loaded.named_weights.items():
    weight.assign(source.whole(name))
  return loaded
