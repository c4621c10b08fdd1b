"""Chips and slices: what their vendors state, and where from. No figure here is measured by this package.

Sources of the TPU rows: the page of each version in the Cloud TPU documentation (compute, memory, cores, topology);
links: jax-ml/scaling-book, `tpus.md`; v2: arXiv:2104.10350, table 1 (compute). `usable_memory` is what the TPU's
compiler says it has ("exceeds available HBM"), where it was asked: libtpu 0.0.42.1 for v3, v4 and v5p. Sources of the
GPU rows: NVIDIA's data sheets of H100 SXM and H200 SXM, dense bfloat16.
"""

import dataclasses
import math
import re

from switch_zoo.errors import UserError, did_you_mean

GIB = 2**30


@dataclasses.dataclass(frozen=True)
class Chip:
  """One kind of accelerator. A core runs one program and holds one slice of each tensor.

  flops: bfloat16 operations a second of a core; a multiply and an add are two
  memory: bytes of a core
  usable_memory: what the compiler leaves to a program; None where nobody asked it
  bandwidth: bytes a second between a core and its memory
  link: bytes a second of one link of a chip, one way
  cores: of a chip
  named_by_cores: the number in a slice's name counts two for each chip; otherwise one
  wrap: sides of a torus that are rings, from this number of chips on
  slices: number in a slice's name -> chips along each side
  """

  name: str
  flops: float
  memory: float
  usable_memory: float | None
  bandwidth: float
  link: float
  cores: int
  named_by_cores: bool
  wrap: int
  slices: dict[int, tuple[int, ...]]

  @property
  def limit(self) -> float:
    """Bytes that a program may use: the compiler's figure, or 3 percent less than the memory, as on v3."""
    return self.usable_memory or self.memory * 0.97


@dataclasses.dataclass(frozen=True)
class Slice:
  """Chips that work together: 'v3-128'."""

  name: str
  chip: Chip
  sides: tuple[int, ...]

  @property
  def cores(self) -> int:
    """Programs: slices of a mesh."""
    return math.prod(self.sides) * self.chip.cores


# A 2-D torus of v2 or v3, by cores; a v5e or v6e, by chips; a 3-D torus, by two for each chip.
_PLANE_BY_CORES = {8: (2, 2), 32: (4, 4), 128: (8, 8), 256: (8, 16), 512: (16, 16), 1024: (16, 32), 2048: (32, 32)}
_PLANE = {1: (1, 1), 4: (2, 2), 8: (2, 4), 16: (4, 4), 32: (4, 8), 64: (8, 8), 128: (8, 16), 256: (16, 16)}
_CUBE = {
  8: (2, 2, 1), 16: (2, 2, 2), 32: (2, 2, 4), 64: (2, 4, 4), 128: (4, 4, 4), 256: (4, 4, 8), 512: (4, 8, 8),
  1024: (8, 8, 8), 2048: (8, 8, 16), 4096: (8, 16, 16),
}  # fmt: skip
_NODE = {1: (1,), 2: (2,), 4: (4,), 8: (8,)}

CHIPS = {
  chip.name: chip
  for chip in (
    Chip('v2', 23e12, 8 * GIB, None, 350e9, 62e9, 2, True, 16, {n: s for n, s in _PLANE_BY_CORES.items() if n <= 512}),
    Chip('v3', 61.5e12, 16 * GIB, 15.48 * GIB, 450e9, 82e9, 2, True, 32, _PLANE_BY_CORES),
    Chip('v4', 137.5e12, 16 * GIB, 15.25 * GIB, 600e9, 45e9, 2, True, 4, _CUBE),
    Chip('v5e', 197e12, 16e9, None, 819e9, 45e9, 1, False, 16, _PLANE),
    Chip('v5p', 459e12, 95 * GIB, 95.74 * GIB, 2765e9, 90e9, 1, True, 4, _CUBE | {8192: (16, 16, 16)}),
    Chip('v6e', 918e12, 32e9, None, 1638e9, 90e9, 1, False, 16, _PLANE),
    Chip('h100', 989e12, 80e9, None, 3350e9, 450e9, 1, False, 1, _NODE),
    Chip('h200', 989e12, 141e9, None, 4800e9, 450e9, 1, False, 1, _NODE),
  )
}


def processor(slices: int, flops: float, bandwidth: float, memory: float) -> Slice:
  """One computer whose slices share its rates: every exchange is a copy in its memory.

  Args:
    slices: of the mesh
    flops: operations a second of all slices together, as matrix products reach them
    bandwidth: bytes a second, read and written, as element-wise work reaches them
    memory: bytes of the computer
  """
  chip = Chip(
    'cpu',
    flops / slices,
    memory / slices,
    None,
    bandwidth / slices,
    bandwidth / slices,
    1,
    False,
    1,
    {slices: (slices,)},
  )
  return Slice(f'cpu-{slices}', chip, (slices,))


def slice_named(name: str) -> Slice:
  """The slice of a name.

  >>> slice_named('v3-128').sides, slice_named('v3-128').cores
  ((8, 8), 128)

  Raises:
    UserError: there is no such chip, or it has no slice of this size
  """
  form = re.fullmatch(r'([a-z]+\d+[a-z]*)-(\d+)', name.lower())
  if not form:
    raise UserError(
      f'"{name}" is not a slice. Its form is chip-number: v3-32, v4-512, h100-8. Chips are {", ".join(CHIPS)}.'
    )
  kind, number = form[1], int(form[2])
  if kind not in CHIPS:
    raise UserError(
      f'slice "{name}": there is no chip "{kind}".{did_you_mean(kind, CHIPS)} Chips are {", ".join(CHIPS)}.'
    )
  chip = CHIPS[kind]
  if number not in chip.slices:
    closest = sorted(sorted(chip.slices, key=lambda size: abs(math.log(max(number, 1) / size)))[:2])
    raise UserError(
      f'slice "{name}": {kind} has no slice of that size. The closest are '
      f'{" and ".join(f"{kind}-{size}" for size in closest)}.'
    )
  return Slice(f'{kind}-{number}', chip, chip.slices[number])
