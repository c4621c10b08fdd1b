"""TPU slices: their names, chips, and the devices that a program runs on."""

import math
import re
from collections.abc import Mapping
from typing import NamedTuple

from switch_zoo.errors import UserError, did_you_mean

# Chips along each axis, of slices that can be rented and that libtpu has topologies for.
_FLAT = ('2x2', '2x4', '4x4', '4x8', '8x8', '8x16', '16x16')
_CUBES = ('2x2x1', '2x2x2', '2x2x4', '2x4x4', '4x4x4', '4x4x8', '4x8x8', '8x8x8', '8x8x16', '8x16x16')


class Generation(NamedTuple):
  """A generation of TPUs.

  counted: what the number in a slice's name counts for each chip
  devices: programs that run on a chip
  grids: chips along each axis, of its slices
  """

  counted: int
  devices: int
  grids: tuple[str, ...]


GENERATIONS: Mapping[str, Generation] = {
  'v2': Generation(2, 2, ('2x2', '4x4', '8x8', '8x16', '16x16')),
  'v3': Generation(2, 2, ('2x2', '4x4', '8x8', '8x16', '16x16', '16x32', '32x32')),
  'v4': Generation(2, 2, _CUBES),
  'v5e': Generation(1, 1, _FLAT),
  # The two cores of a chip run one program.
  'v5p': Generation(2, 1, (*_CUBES, '16x16x16', '16x16x24')),
  'v6e': Generation(1, 1, _FLAT),
}
# Google's names of v5e slices.
_ALIASES = {'v5litepod': 'v5e'}


class Slice(NamedTuple):
  """A slice.

  name: 'v3-32'
  generation: 'v3'
  grid: chips along each axis, '4x4'
  """

  name: str
  generation: str
  grid: str

  @property
  def topology(self) -> str:
    """The name that libtpu knows: 'v3:4x4'."""
    return f'{self.generation}:{self.grid}'

  @property
  def chips(self) -> int:
    """How many chips the slice has."""
    return math.prod(map(int, self.grid.split('x')))

  @property
  def devices(self) -> int:
    """How many programs run at the same time: the size of the mesh."""
    return self.chips * GENERATIONS[self.generation].devices


def all_slices() -> dict[str, Slice]:
  """All slices by name."""
  slices = {}
  for name, generation in GENERATIONS.items():
    for grid in generation.grids:
      number = math.prod(map(int, grid.split('x'))) * generation.counted
      slices[f'{name}-{number}'] = Slice(f'{name}-{number}', name, grid)
  return slices


def find(name: str) -> Slice:
  """A slice by its name.

  >>> find('v3-32').topology
  'v3:4x4'

  Raises:
    UserError: there is none, with the closest ones
  """
  known = all_slices()
  generation, _, number = name.lower().partition('-')
  generation = _ALIASES.get(generation, generation)
  if f'{generation}-{number}' in known:
    return known[f'{generation}-{number}']
  if generation in GENERATIONS and re.fullmatch(r'\d{1,9}', number):
    sizes = [s for s in known if s.startswith(f'{generation}-')]
    near = sorted(sizes, key=lambda s: abs(math.log(max(int(number), 1) / int(s.partition('-')[2]))))[:2]
    raise UserError(
      f'There is no slice {name}. The nearest are {" and ".join(near)}; {generation} has {", ".join(sizes)}.'
    )
  raise UserError(
    f'There is no slice "{name}".{did_you_mean(name, known)} A slice is a generation ({", ".join(GENERATIONS)}) and a '
    'size, as in v3-32, v4-512 or v6e-16.'
  )
