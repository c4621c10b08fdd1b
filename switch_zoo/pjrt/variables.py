"""The state of a model on the devices: every device has its part of each variable, and no process needs the whole."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from switch_zoo.checkpoints.arrays import BFLOAT16
from switch_zoo.mesh.one_core.program import Slot
from switch_zoo.pjrt import devices

# From an index of the whole array to that part of it.
Read = Callable[[tuple[slice, ...]], np.ndarray]


def put(slot: Slot, mesh: Mesh, read: Read) -> jax.Array:
  """A variable, an input or a scalar on the devices.

  Args:
    slot: what it is
    mesh: of `devices.mesh_of`
    read: is called once for each part that this process's devices have
  """
  parts: dict[str, np.ndarray] = {}

  def part(index: Any) -> np.ndarray:
    key = str(index)
    if key not in parts:
      parts[key] = np.ascontiguousarray(read(index), dtype_of(slot)).reshape(read_shape(index, slot))
    return parts[key]

  return jax.make_array_from_callback(slot.shape, devices.sharding(mesh, slot), part)


def put_array(slot: Slot, mesh: Mesh, array: np.ndarray) -> jax.Array:
  """The same of an array that this process has whole. array: <dtype>[slot.shape], in any shape of that size"""
  whole = np.asarray(array).reshape(slot.shape)
  return put(slot, mesh, lambda index: whole[index])


def dtype_of(slot: Slot) -> np.dtype:
  """The dtype of a slot for NumPy."""
  return BFLOAT16 if slot.dtype == 'bfloat16' else np.dtype(slot.dtype)


def read_shape(index: tuple[slice, ...], slot: Slot) -> tuple[int, ...]:
  """The shape of a part."""
  return tuple(len(range(*part.indices(size))) for part, size in zip(index, slot.shape, strict=True))
