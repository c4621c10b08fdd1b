"""Runs programs of one core on XLA's CPU client, in a process of its own with as many devices as the mesh has cores."""

import os
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Mapping

import numpy as np

from switch_zoo.mesh.one_core.program import OneCoreProgram

SECONDS = 300
# Strategy of a layout -> its mesh of eight cores.
STRATEGIES = {
  'data': 'batch:8',
  'model': 'model:8',
  'model_data': 'batch:4;model:2',
  'expert_data': 'batch:8',
  'expert_model_data': 'batch:4;model:2',
  'expert_replication': 'outer:2;batch:4',
}
# JAX counts its devices when it starts, so a test process cannot do this itself.
CHILD = """
import pickle, sys
import jax, numpy as np
from jaxlib import xla_client
from jax.sharding import Mesh, NamedSharding, PartitionSpec

module, arguments = pickle.load(open(sys.argv[1], 'rb'))
devices = jax.devices()
cores = len(devices)
convert = xla_client._xla.mlir
if hasattr(convert, 'hlo_to_stablehlo'):
  text = convert.hlo_to_stablehlo(module)
else:
  text = convert.xla_computation_to_mlir_module(xla_client.XlaComputation(module))
options = xla_client.CompileOptions()
options.num_replicas, options.num_partitions = cores, 1
options.device_assignment = xla_client.DeviceAssignment.create(np.arange(cores).reshape(cores, 1))
client = devices[0].client
if hasattr(client, 'compile_and_load'):
  executable = client.compile_and_load(text, tuple(devices), options)
else:
  executable = client.compile(text, options)
sharding = NamedSharding(Mesh(np.array(devices), ('core',)), PartitionSpec('core'))

def on_devices(parts):
  shape = (cores, *parts[0].shape)
  if not parts[0].shape:
    sharded, shape = NamedSharding(sharding.mesh, PartitionSpec()), ()
  else:
    sharded, shape = sharding, (cores * parts[0].shape[0], *parts[0].shape[1:])
  arrays = [jax.device_put(part, device) for part, device in zip(parts, devices)]
  return jax.make_array_from_single_device_arrays(shape, sharded, arrays)

results = executable.execute_sharded([on_devices(parts) for parts in arguments])
arrays = results.disassemble_into_single_device_arrays()
pickle.dump([[np.asarray(part) for part in parts] for parts in arrays], open(sys.argv[2], 'wb'))
"""


def run(
  program: OneCoreProgram, variables: Mapping[str, np.ndarray], features: Mapping[str, np.ndarray], step=0, seed=0
) -> dict[str, list[np.ndarray]]:
  """Runs a program once.

  Args:
    program: of any number of cores
    variables, features: whole arrays by name
    step, seed: its scalars
  Returns:
    result -> its part on each core
  """
  values = {**variables, **features, 'step': np.int32(step), 'seed': np.int32(seed)}
  cores = range(program.num_cores)
  arguments = []
  for slot in program.arguments:
    whole = np.asarray(values[slot.name], slot.dtype).reshape(slot.shape)
    arguments.append([np.ascontiguousarray(whole[slot.part(program.mesh_shape, core)]) for core in cores])
  names = [slot.name for slot in program.results]
  return dict(zip(names, _in_child(program, arguments), strict=True))


def whole(program: OneCoreProgram, name: str, parts: list[np.ndarray]) -> np.ndarray:
  """A result as one array; cores with the same part must agree."""
  slot = next(slot for slot in program.results if slot.name == name)
  joined = np.empty(slot.shape, parts[0].dtype)
  for core, part in enumerate(parts):
    joined[slot.part(program.mesh_shape, core)] = part
  for core, part in enumerate(parts):
    np.testing.assert_array_equal(joined[slot.part(program.mesh_shape, core)], part, err_msg=name)
  return joined


def _in_child(program: OneCoreProgram, arguments: list[list[np.ndarray]]) -> list[list[np.ndarray]]:
  with tempfile.TemporaryDirectory() as folder:
    given, taken = os.path.join(folder, 'given'), os.path.join(folder, 'taken')
    with open(given, 'wb') as file:
      pickle.dump((program.module, arguments), file)
    # One core of the machine: XLA need not look for the fastest code.
    flags = f'--xla_force_host_platform_device_count={program.num_cores} --xla_backend_optimization_level=0'
    environment = {**os.environ, 'XLA_FLAGS': flags, 'JAX_PLATFORMS': 'cpu'}
    command = [sys.executable, '-c', CHILD, given, taken]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    with open(taken, 'rb') as file:
      return pickle.load(file)
