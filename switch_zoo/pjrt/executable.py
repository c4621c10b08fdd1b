"""A program of one core, compiled by XLA for the devices of a mesh, and run on them.

Each core is one replica. JAX itself compiles for partitions of one program; replicas are what its PJRT client offers
below `jax.jit`, in functions of jaxlib that have two forms: before and after jaxlib 0.5.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from jaxlib import xla_client

from switch_zoo.mesh.one_core.program import OneCoreProgram
from switch_zoo.pjrt import devices

_XLA: Any = xla_client


class Executable:
  """A compiled program.

  Args:
    program: what a core runs
    mesh: of `devices.mesh_of`
  """

  def __init__(self, program: OneCoreProgram, mesh: Mesh) -> None:
    self.program, self.mesh = program, mesh
    self._loaded = _compile(program.module, list(mesh.devices.flat))
    self._joins = [_join(slot.shape, devices.sharding(mesh, slot)) for slot in program.results]

  def __call__(self, arguments: Sequence[jax.Array]) -> tuple[dict[str, jax.Array], list[jax.Array]]:
    """Runs it; returns before the devices are done. Variables among the arguments of a training step are used up.

    Args:
      arguments: as `program.arguments`
    Returns:
      the outputs by name, and the new variables ([] if the program changes none)
    """
    results = self._loaded.execute_sharded(list(arguments)).consume_with_handlers(self._joins)
    names = [slot.name for slot in self.program.outputs]
    return dict(zip(names, results, strict=False)), results[len(names) :]


def _compile(module: bytes, cores: list[jax.Device]) -> Any:
  options = _XLA.CompileOptions()
  options.num_replicas, options.num_partitions = len(cores), 1
  ids = np.array([core.id for core in cores]).reshape(-1, 1)
  options.device_assignment = _XLA.DeviceAssignment.create(ids)
  client: Any = cores[0].client
  if hasattr(client, 'compile_and_load'):
    return client.compile_and_load(_stablehlo(module), tuple(cores), options)
  return client.compile(_stablehlo(module), options)


def _stablehlo(module: bytes) -> Any:
  """The module in the form that PJRT takes."""
  convert = _XLA._xla.mlir  # pylint: disable=protected-access - jaxlib has no public name for it
  if hasattr(convert, 'hlo_to_stablehlo'):
    return convert.hlo_to_stablehlo(module)
  return convert.xla_computation_to_mlir_module(_XLA.XlaComputation(module))


def _join(shape: tuple[int, ...], sharding: Any) -> Callable[[Sequence[jax.Array]], jax.Array]:
  """From the parts on this process's devices to the array."""
  return lambda parts: jax.make_array_from_single_device_arrays(shape, sharding, list(parts))
