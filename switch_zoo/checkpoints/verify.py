"""Whether two checkpoints of any formats have the same tensors with the same values."""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from switch_zoo.checkpoints.differences import describe_differences
from switch_zoo.checkpoints.weights import ModelWeights, WeightPart, weight_parts
from switch_zoo.spec.config import ModelConfig


class ComparisonReport(NamedTuple):
  """parts: how many tensors (and experts' parts) were compared; values: their entries

  differences: the first ones, a line for each
  num_differences: of all
  """

  parts: int
  values: int
  differences: list[str]
  num_differences: int


def compare(
  one: ModelWeights,
  other: ModelWeights,
  max_shown: int = 10,
  progress: Callable[[int], None] = lambda values: None,
) -> ComparisonReport:
  """Compares part by part. Types may differ: bfloat16 and float32 of the same value are the same.

  Args:
    max_shown: differences to describe
    progress: called with the number of values in each part
  """
  shapes, other_shapes = _shapes(one.config), _shapes(other.config)
  lines = describe_differences(shapes, other_shapes, 'the first', 'the second')
  parts = values = 0
  for part in weight_parts(one.config):
    if shapes[part.variable] != other_shapes.get(part.variable):
      continue
    words = difference(one.read(*part), other.read(*part))
    if words:
      lines.append(f'{_title(part)}: {words}')
    size = math.prod(shapes[part.variable][0 if part.expert is None else 1 :])
    parts, values = parts + 1, values + size
    progress(size)
  return ComparisonReport(parts, values, lines[:max_shown], len(lines))


def difference(one: np.ndarray, other: np.ndarray) -> str:
  """How two arrays of one shape differ, in words; '' if every value is the same. NaN is the same as NaN."""
  if one.dtype == other.dtype and one.tobytes() == other.tobytes():
    return ''
  one, other = one.astype(np.float64), other.astype(np.float64)
  unequal = (one != other) & ~(np.isnan(one) & np.isnan(other))
  if not unequal.any():
    return ''
  first = tuple(int(place) for place in np.argwhere(unequal)[0])
  with np.errstate(invalid='ignore'):
    largest = np.nanmax(np.abs(one - other)[unequal], initial=0.0)
  return (
    f'{int(unequal.sum()):,} of {one.size:,} values differ, by at most {largest:.6g}; the first at {list(first)}: '
    f'{one[first]:.9g} and {other[first]:.9g}'
  )


def _shapes(config: ModelConfig) -> dict[str, list[int]]:
  return {name: list(axes.values()) for name, axes in config.variables.items()}


def _title(part: WeightPart) -> str:
  return part.variable if part.expert is None else f'{part.variable}, expert {part.expert}'
