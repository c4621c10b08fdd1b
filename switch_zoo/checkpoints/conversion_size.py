"""What converting a model takes, from its configuration alone: parts, bytes, files."""

import math
from typing import NamedTuple

import numpy as np

from switch_zoo.checkpoints.destinations import DESTINATIONS
from switch_zoo.checkpoints.request_checks import DEFAULT_SHARD
from switch_zoo.checkpoints.weights import weight_parts
from switch_zoo.spec.config import ModelConfig


class ConversionSize(NamedTuple):
  """Sizes in bytes.

  parts: variables, and experts' parts of variables, that are read and written one by one
  largest_part: what must fit into memory, twice where axes are exchanged
  largest_variable: what would have to fit if variables were read whole
  files: of weights in the format, without the index and config.json
  """

  parts: int
  largest_part: int
  largest_variable: int
  nbytes: int
  tensors: int
  files: int


def compute_conversion_size(
  config: ModelConfig, to: str, dtype: np.dtype, max_shard_bytes: int = DEFAULT_SHARD
) -> ConversionSize:
  """What it takes to convert a whole model into a format, with all weights of one type.

  Raises:
    UserError: the format has no place for the model
  """
  sizes = {name: dtype.itemsize * math.prod(axes.values()) for name, axes in config.variables.items()}
  parts = list(weight_parts(config))
  largest = max(sizes[part.variable] // (config.num_experts if part.expert is not None else 1) for part in parts)
  destination = DESTINATIONS[to]('', config, dict.fromkeys(config.variables, dtype), max_shard_bytes)
  return ConversionSize(
    len(parts), largest, max(sizes.values()), destination.nbytes, len(destination.infos), len(destination.shards)
  )
