"""JAX's devices as the cores of a mesh."""

import glob
import math
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from switch_zoo.errors import UserError
from switch_zoo.mesh.one_core import core_order
from switch_zoo.mesh.one_core.program import Slot
from switch_zoo.pjrt import processes

_HOST_DEVICES = '--xla_force_host_platform_device_count'
# The devices of a TPU on its host: up to v4, and since v5e.
_TPU_FILES = ('/dev/accel*', '/dev/vfio/[0-9]*')
# Where libtpu is installed, as for `switch_zoo compile`, and there is no TPU, it would ask the cloud for minutes which
# TPU this is, and then print a trace of its own sources.
_WITHOUT_A_TPU = {
  'TPU_SKIP_MDS_QUERY': '1',
  'TPU_ACCELERATOR_TYPE': 'v4-8',
  'TPU_WORKER_HOSTNAMES': 'localhost',
  'TPU_STDERR_LOG_LEVEL': '3',
  'TPU_MIN_LOG_LEVEL': '3',
}
# JAX's mesh has at least one axis.
_OWN_AXIS = 'all'


def prepare_host(mesh_shape: Mapping[str, int]) -> None:
  """Makes this host's CPU offer as many devices as this process has cores; does nothing to GPUs and TPUs.

  To be called after `joining.join`, and before anything asks JAX for devices.

  Raises:
    UserError: the processes cannot share the cores equally
  """
  cores, count = math.prod(mesh_shape.values()), processes.count()
  if cores % count:
    raise UserError(
      f'The mesh {_text(mesh_shape)} has {cores} cores, which {count} processes cannot share equally. Use another '
      '--num_processes, or another mesh_shape.'
    )
  others = re.sub(rf'{_HOST_DEVICES}=\d+', '', os.environ.get('XLA_FLAGS', '')).split()
  os.environ['XLA_FLAGS'] = ' '.join([*others, f'{_HOST_DEVICES}={cores // count}'])
  if not any(map(glob.glob, _TPU_FILES)):
    for name, value in _WITHOUT_A_TPU.items():
      os.environ.setdefault(name, value)


def platform() -> str:
  """What JAX runs on: 'cpu', 'gpu' or 'tpu'.

  Raises:
    UserError: JAX has no devices
  """
  return _devices()[0].platform


def mesh_of(mesh_shape: Mapping[str, int]) -> Mesh:
  """The mesh of a program: logical core n is JAX's device n, on TPUs in the order of `core_order`.

  Raises:
    UserError: there are too few devices, or more than several processes have cores
  """
  cores, devices = math.prod(mesh_shape.values()), _devices()
  if len(devices) < cores or (processes.count() > 1 and len(devices) != cores):
    raise UserError(
      f'The mesh {_text(mesh_shape)} has {cores} cores, and JAX offers {len(devices)} {devices[0].platform} devices. '
      'Use a layout or a mesh_shape of that size; JAX_PLATFORMS=cpu runs any mesh on CPUs.'
    )
  shape = (*mesh_shape.values(), 1)
  return Mesh(np.array(in_order(mesh_shape, devices[:cores])).reshape(shape), (*mesh_shape, _OWN_AXIS))


def in_order(mesh_shape: Mapping[str, int], devices: Sequence[Any]) -> list[Any]:
  """Devices by logical core: on TPUs the inner axis of the mesh is on neighbouring chips, elsewhere as they come.

  Args:
    mesh_shape: axis -> cores along it
    devices: JAX's, as many as cores
  """
  if devices[0].platform != 'tpu':
    return list(devices)
  places = [(*device.coords, device.core_on_chip) for device in devices]
  return [devices[index] for index in core_order.device_order(mesh_shape, places)]


def sharding(mesh: Mesh, slot: Slot) -> NamedSharding:
  """Which device has which part of an argument or a result."""
  return NamedSharding(mesh, PartitionSpec(*slot.axes))


def _devices() -> list[jax.Device]:
  try:
    return jax.devices()
  # An AssertionError has no words: JAX_PLATFORMS names what is not there.
  except (RuntimeError, AssertionError) as error:
    words = ' '.join(str(error).split())[:300] or f'JAX_PLATFORMS={os.environ.get("JAX_PLATFORMS", "")}'
    raise UserError(
      f'JAX offers no devices: {words}. GPUs need `pip install "jax[cuda12]"`, TPUs '
      '`pip install "jax[tpu]"` on a TPU VM; JAX_PLATFORMS=cpu runs on CPUs.'
    ) from error


def _text(mesh_shape: Mapping[str, int]) -> str:
  return '"' + ';'.join(f'{axis}:{size}' for axis, size in mesh_shape.items()) + '"'
