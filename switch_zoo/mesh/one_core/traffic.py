"""The collectives of a compiled program, by kind."""

import math
from collections.abc import Iterator
from typing import Any

from switch_zoo.mesh.one_core import protos

KINDS = ('all-to-all', 'all-reduce', 'all-gather', 'reduce-scatter', 'collective-permute')
# Bytes of what is communicated; other types are not.
_SIZES = {'PRED': 1, 'S8': 1, 'U8': 1, 'S16': 2, 'U16': 2, 'F16': 2, 'BF16': 2, 'S64': 8, 'U64': 8, 'F64': 8}


def of_program(program: bytes, with_config: bool = False) -> dict[str, tuple[int, int]]:
  """Kind -> (instructions, bytes that one core gives to them in one execution of each).

  Args:
    program: a serialized xla.HloModuleProto
    with_config: it is the first field of an xla.HloModuleProtoWithConfig
  """
  module = protos.hlo.HloModuleProto()
  module.ParseFromString(_first_field(program) if with_config else program)
  counts: dict[str, list[int]] = {}
  for kind, size in _collectives(module):
    count = counts.setdefault(kind, [0, 0])
    count[0] += 1
    count[1] += size
  return {kind: (counts[kind][0], counts[kind][1]) for kind in KINDS if kind in counts}


def _collectives(module: Any) -> Iterator[tuple[str, int]]:
  """Kind and bytes of each; of one that runs in the background only the start counts."""
  for computation in module.computations:
    shapes = {instruction.id: instruction.shape for instruction in computation.instructions}
    for instruction in computation.instructions:
      kind = instruction.opcode.removesuffix('-start')
      if kind in KINDS:
        yield kind, sum(_bytes(shapes[operand]) for operand in instruction.operand_ids)


def _bytes(shape: Any) -> int:
  if shape.tuple_shapes:
    return sum(map(_bytes, shape.tuple_shapes))
  name = protos.data.PrimitiveType.Name(shape.element_type) if shape.element_type in _KNOWN else 'F32'
  return math.prod(shape.dimensions) * _SIZES.get(name, 4)


_KNOWN = frozenset(protos.data.PrimitiveType.values())


def _first_field(message: bytes) -> memoryview | bytes:
  """The content of a message's first field, which is one of bytes."""
  size, place, shift = 0, 1, 0
  while True:
    byte = message[place]
    size |= (byte & 127) << shift
    place, shift = place + 1, shift + 7
    if byte < 128:
      return message[place : place + size]
