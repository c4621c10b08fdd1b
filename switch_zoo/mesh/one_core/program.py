"""The program of one core, and what its arguments and results are."""

import dataclasses
from collections.abc import Mapping

import numpy as np


@dataclasses.dataclass(frozen=True)
class Slot:
  """One argument or result of a program.

  name: of a variable: its name in checkpoints; of an input: the feature
  dtype: 'float32', 'bfloat16' or 'int32'
  shape: of the whole tensor
  core_shape: of the part that one core has
  axes: for each dimension the mesh axis that cuts it, or None
  """

  name: str
  dtype: str
  shape: tuple[int, ...]
  core_shape: tuple[int, ...]
  axes: tuple[str | None, ...]

  def begin(self, mesh_shape: Mapping[str, int], core: int) -> tuple[int, ...]:
    """Where a core's part begins in the whole tensor.

    Args:
      mesh_shape: of the program
      core: the logical number
    """
    coordinates = dict(zip(mesh_shape, np.unravel_index(core, tuple(mesh_shape.values())), strict=True))
    parts = [0 if axis is None else int(coordinates[axis]) for axis in self.axes]
    return tuple(part * size for part, size in zip(parts, self.core_shape, strict=True))

  def part(self, mesh_shape: Mapping[str, int], core: int) -> tuple[slice, ...]:
    """A core's part, as an index of the whole array."""
    begin = self.begin(mesh_shape, core)
    return tuple(slice(start, start + size) for start, size in zip(begin, self.core_shape, strict=True))


@dataclasses.dataclass(frozen=True)
class OneCoreProgram:
  """What every core of a mesh runs, each on its part of the data.

  Arguments are variables, inputs and scalars, in this order. Results are outputs, then, if the step changes variables,
  the variables, each of which shares memory with its argument. Logical core n is XLA's replica n; a program is compiled
  for `num_cores` replicas of one partition.

  module: a serialized xla.HloModuleProto
  variables: weights, and what the optimizer keeps
  inputs: the features of a batch
  scalars: 'step' and 'seed', <int32>[]: the number of steps done, and a number that the noise depends on
  outputs: 'loss' first, then what the layers report; the same on every core
  mesh_shape: axis -> cores along it; core numbers count the last axis fastest
  updates: whether the variables are among the results
  collectives: kind -> (instructions, bytes that one core gives to them in one execution of each)
  """

  module: bytes
  variables: tuple[Slot, ...]
  inputs: tuple[Slot, ...]
  scalars: tuple[Slot, ...]
  outputs: tuple[Slot, ...]
  mesh_shape: Mapping[str, int]
  updates: bool
  collectives: Mapping[str, tuple[int, int]]

  @property
  def num_cores(self) -> int:
    """Cores of the mesh."""
    return int(np.prod(tuple(self.mesh_shape.values()), dtype=np.int64))

  @property
  def arguments(self) -> tuple[Slot, ...]:
    """All arguments, in order."""
    return self.variables + self.inputs + self.scalars

  @property
  def results(self) -> tuple[Slot, ...]:
    """All results, in order."""
    return self.outputs + (self.variables if self.updates else ())

  @property
  def donated(self) -> dict[int, int]:
    """Argument -> the result that takes over its memory."""
    return {n: len(self.outputs) + n for n in range(len(self.variables))} if self.updates else {}
