"""Variables from a checkpoint of Mesh-TensorFlow: every process reads the parts of its devices and nothing else.

The checksum of a tensor is that of the whole. Each process checks some tensors, which it reads in pieces for that.
"""

from collections.abc import Sequence

import jax
import numpy as np
from jax.sharding import Mesh

from switch_zoo.checkpoints import crc32c, tensor_bundle
from switch_zoo.checkpoints.arrays import FileRegion
from switch_zoo.errors import UserError
from switch_zoo.mesh.one_core.program import Slot
from switch_zoo.pjrt import processes, variables

GLOBAL_STEP = 'global_step'
_PIECE = 1 << 24


def step_of(prefix: str) -> int:
  """The steps that were done when a checkpoint was saved."""
  bundle = tensor_bundle.TensorBundle(prefix)
  return int(bundle.read(GLOBAL_STEP)) if GLOBAL_STEP in bundle.infos else 0


def read(prefix: str, slots: Sequence[Slot], mesh: Mesh) -> list[jax.Array]:
  """The variables of a program.

  Args:
    prefix: of the checkpoint
    slots: of the program
    mesh: of `devices.mesh_of`
  Raises:
    UserError: a variable is missing, has another shape, or is damaged
  """
  bundle = tensor_bundle.TensorBundle(prefix)
  for slot in slots:
    check(prefix, bundle, slot.name, slot.shape)
  arrays = []
  for number, slot in enumerate(slots):
    if is_mine(number):
      check_checksum(prefix, bundle, slot.name)
    arrays.append(read_one(bundle, slot.name, slot, mesh))
  return arrays


def is_mine(number: int) -> bool:
  """Whether this process checks the checksum of the tensor with a number."""
  return number % processes.count() == jax.process_index()


def read_one(bundle: tensor_bundle.TensorBundle, name: str, slot: Slot, mesh: Mesh) -> jax.Array:
  """One variable of a checkpoint that has been checked. name: that it has there"""
  stored = _mapped(bundle.region(name)[0])
  return variables.put(slot, mesh, lambda index: stored[index])


def check(prefix: str, bundle: tensor_bundle.TensorBundle, name: str, shape: tuple[int, ...]) -> None:
  """Checks that a checkpoint has a tensor of a shape.

  Raises:
    UserError: it does not
  """
  info = bundle.infos.get(name)
  if info is None or info.shape != shape:
    stored = 'is not in it' if info is None else f'has the shape {list(info.shape)} there'
    raise UserError(
      f'{prefix} is the checkpoint of another model or optimizer: {name}, {list(shape)}, {stored}. Use another '
      '--model_dir, or the --gin_file and --gin_param that the checkpoint was made with.'
    )


def check_checksum(prefix: str, bundle: tensor_bundle.TensorBundle, name: str) -> None:
  """Checks a tensor's checksum.

  Raises:
    UserError: it is damaged
  """
  region, expected = bundle.region(name)
  actual = checksum(region)
  if actual != expected:
    raise tensor_bundle.DamagedCheckpointError(
      f'{region.path} is damaged: {name} has the checksum {actual:08x}, but {prefix}.index says {expected:08x}. Copy '
      'it again.'
    )


def checksum(region: FileRegion) -> int:
  """The checksum of a tensor in a file, read in pieces."""
  octets = _mapped(region).reshape(-1).view(np.uint8)
  crc = crc32c.checksum(np.array(octets[:_PIECE]))
  for start in range(_PIECE, octets.size, _PIECE):
    piece = np.array(octets[start : start + _PIECE])
    crc = crc32c.combine(crc, crc32c.checksum(piece), piece.size)
  return crc


def _mapped(region: FileRegion) -> np.ndarray:
  """A tensor in a file, of which only what is looked at is read. -> <dtype>[shape]"""
  if not region.info.nbytes:
    return np.zeros(region.info.shape, region.info.dtype)
  size = region.info.nbytes
  octets = np.memmap(region.path, np.uint8, 'r', region.offset, (size,))
  return octets.view(region.info.dtype).reshape(region.info.shape)
