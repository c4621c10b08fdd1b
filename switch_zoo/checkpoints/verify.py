"""Two checkpoints of any formats: have they the same tensors with the same values?"""

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from switch_zoo.checkpoints import destinations
from switch_zoo.checkpoints.weights import Weights


class Report(NamedTuple):
  """parts: how many tensors (and experts' parts) were compared; values: entries of them

  differences: one line for each that differs, the first ones
  num_differences: of all
  """

  parts: int
  values: int
  differences: list[str]
  num_differences: int


def compare(one: Weights, other: Weights, most: int = 10, told: Callable[[int], None] = lambda values: None) -> Report:
  """Compares part by part. Types may differ: bfloat16 and float32 of the same value are the same.

  Args:
    most: differences to describe
    told: called with the number of entries of each part
  """
  parts = values = count = 0
  lines: list[str] = []
  for line in _of_shapes(one.config.variables, other.config.variables):
    count += 1
    lines.append(line)
  for part in destinations.parts(one.config):
    axes = one.config.variables[part.variable]
    if axes != other.config.variables.get(part.variable):
      continue
    size = math.prod(axes.values()) // (axes['experts'] if part.expert is not None else 1)
    found = difference(one.read(*part), other.read(*part))
    parts, values = parts + 1, values + size
    told(size)
    if found:
      count += 1
      where = part.variable if part.expert is None else f'{part.variable}, expert {part.expert}'
      lines.append(f'{where}: {found}')
  return Report(parts, values, lines[:most], count)


def difference(one: np.ndarray, other: np.ndarray) -> str:
  """How two arrays of one shape differ, in words; '' where every value is the same. NaN is the same as NaN."""
  if one.dtype == other.dtype and one.tobytes() == other.tobytes():
    return ''
  one, other = (array.astype(np.float64) for array in (one, other))
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


def _of_shapes(one, other) -> Iterator[str]:
  for name in [*one, *(name for name in other if name not in one)]:
    if name not in other:
      yield f'{name} is only in the first'
    elif name not in one:
      yield f'{name} is only in the second'
    elif one[name] != other[name]:
      yield f'{name} is {list(one[name].values())} in the first and {list(other[name].values())} in the second'
