"""What converting a model takes, from its configuration alone: parts, bytes, files."""

import math
from typing import NamedTuple

import numpy as np

from switch_zoo.checkpoints import destinations, names, safetensors_files
from switch_zoo.checkpoints.request_checks import DEFAULT_SHARD
from switch_zoo.spec.config import ModelConfig


class Plan(NamedTuple):
  """Sizes in bytes.

  parts: variables, and parts of experts, that are read and written one by one
  largest_part: what has to fit in memory, twice where axes are exchanged
  largest_variable: what would have to, were variables read whole
  files: of weights in the format, without index and config.json
  """

  parts: int
  largest_part: int
  largest_variable: int
  nbytes: int
  tensors: int
  files: int


def of(config: ModelConfig, to: str, dtype: np.dtype, max_shard_bytes: int = DEFAULT_SHARD) -> Plan:
  """The plan of a conversion of a whole model into a format, all weights of one type.

  Raises:
    UserError: the format has no place for the model
  """
  sizes = {name: dtype.itemsize * math.prod(axes.values()) for name, axes in config.variables.items()}
  parts = list(destinations.parts(config))
  largest = max(sizes[part.variable] // (config.num_experts if part.expert is not None else 1) for part in parts)
  infos = destinations.tensors(config, to, dict.fromkeys(config.variables, dtype))
  files = 1 if to == names.KERAS else len(safetensors_files.shards(infos, max_shard_bytes))
  nbytes = sum(info.nbytes for info in infos.values())
  return Plan(len(parts), largest, max(sizes.values()), nbytes, len(infos), files)
