"""libtpu as a compiler: a program and a slice in, memory and the optimized program out. No TPU is needed."""

import ctypes
import importlib.metadata
import importlib.util
import os
import re
from collections.abc import Sequence
from typing import NamedTuple

from switch_zoo.errors import UserError
from switch_zoo.tpu import pjrt_api

# The release that the extra [tpu] installs, and that the table in docs/layouts.md was made with.
VERSION = '0.0.42.1'
_GIBIBYTE = 2**30
# A program of one argument of a tebibyte, which no core holds: the refusal says how much one does hold.
_TOO_LARGE = b"""module @too_large {
  func.func public @main(%x: tensor<1024x268435456xf32>) -> tensor<1024x268435456xf32> {
    %y = stablehlo.sine %x : tensor<1024x268435456xf32>
    return %y : tensor<1024x268435456xf32>
  }
}
"""
# How the compiler says how much is needed, and how much there is.
_FIGURES = (
  r'Used ([\d.]+)([KMGT]) of ([\d.]+)([KMGT])',
  r'\(([\d.]+)([KMGT])\) exceeds available HBM \(([\d.]+)([KMGT])\)',
)
_ENVIRONMENT = {
  # No question to the metadata server of a cloud machine, no lock that other processes would wait for, no log files.
  'TPU_SKIP_MDS_QUERY': '1',
  'ALLOW_MULTIPLE_LIBTPU_LOAD': '1',
  'TPU_LOG_DIR': 'disabled',
  'TPU_ACCELERATOR_TYPE': 'v4-8',
  'TPU_WORKER_HOSTNAMES': 'localhost',
  'TPU_STDERR_LOG_LEVEL': '3',
  'TPU_MIN_LOG_LEVEL': '3',
}


class OutOfMemoryError(Exception):
  """A program does not fit a core. needed, limit: in bytes, None if the compiler does not say; reason: its words."""

  def __init__(self, needed: int | None, limit: int | None, reason: str) -> None:
    super().__init__(reason)
    self.needed, self.limit, self.reason = needed, limit, reason


class Memory(NamedTuple):
  """Bytes on one core. Arguments are the weights, what the optimizer keeps, and the batch."""

  arguments: int
  temporaries: int
  code: int
  outputs: int

  @property
  def total(self) -> int:
    """All of it; outputs that share memory with arguments count once."""
    return sum(self)


class Compiled(NamedTuple):
  """memory: of a core; program: the optimized program, a serialized xla.HloModuleProto, maybe with its settings."""

  memory: Memory
  program: bytes
  format: str


class Compiler:
  """libtpu."""

  def __init__(self) -> None:
    """
    Raises:
      UserError: libtpu is missing, or is not the release that this package is tested with
    """
    path = library_path()
    for name, value in _ENVIRONMENT.items():
      os.environ.setdefault(name, value)
    try:
      self._api = pjrt_api.Api(path)
      self._api.call('Plugin_Initialize', pjrt_api.Initialize())
    except (OSError, pjrt_api.ApiError) as error:
      raise UserError(f'libtpu {VERSION} cannot be loaded from {path}: {error}') from error

  def topology(self, name: str) -> int:
    """The address of a topology. name: 'v3:4x4'

    Raises:
      UserError: libtpu does not know it
    """
    arguments = pjrt_api.TopologyCreate(name=name.encode(), name_size=len(name))
    try:
      return self._api.call('TopologyDescription_Create', arguments).topology
    except pjrt_api.ApiError as error:
      raise UserError(f'libtpu {VERSION} has no topology {name}: {error}') from error

  def places(self, topology: int) -> list[tuple[int, tuple[int, int, int, int]]]:
    """(id, (x, y, z, core on the chip)) of each device of a topology."""
    devices = self._api.call('TopologyDescription_GetDeviceDescriptions', pjrt_api.TopologyDevices(topology=topology))
    return [self._place(devices.descriptions[number]) for number in range(devices.number)]

  def compile(self, topology: int, program: bytes, device_ids: Sequence[int], program_format: str = 'hlo') -> Compiled:
    """Compiles a program for all devices of a topology.

    Args:
      topology: of `topology`
      program: a serialized xla.HloModuleProto
      device_ids: the device of each core of the program
      program_format: PJRT's name of the program's form
    Raises:
      OutOfMemoryError: it does not fit
      UserError: another refusal
    """
    options = pjrt_api.compile_options(list(device_ids))
    code = ctypes.create_string_buffer(program, len(program))
    given = pjrt_api.Program(
      code=ctypes.addressof(code),
      code_size=len(program),
      format=program_format.encode(),
      format_size=len(program_format),
    )
    given.struct_size = ctypes.sizeof(given)
    arguments = pjrt_api.Compile(
      topology=topology, program=ctypes.addressof(given), options=options, options_size=len(options)
    )
    try:
      executable = self._api.call('Compile', arguments).executable
    except pjrt_api.ApiError as error:
      raise _explained(str(error)) from error
    try:
      return Compiled(self._memory(executable), *self._optimized(executable))
    finally:
      self._api.call('Executable_Destroy', pjrt_api.ExecutableDestroy(executable=executable))

  def limit(self, topology: int) -> int:
    """Bytes that the compiler lets a program have on one core."""
    ids = [number for number, _ in self.places(topology)]
    try:
      self.compile(topology, _TOO_LARGE, ids, 'mlir')
    except OutOfMemoryError as error:
      if error.limit:
        return error.limit
      raise UserError(f'libtpu {VERSION} does not say how much memory a core has: {error.reason[:300]}') from error
    raise UserError(f'libtpu {VERSION} does not say how much memory a core has: it lets a program have a tebibyte.')

  def _place(self, description: int) -> tuple[int, tuple[int, int, int, int]]:
    answer = self._api.call('DeviceDescription_DebugString', pjrt_api.DebugString(device=description))
    text = ctypes.string_at(answer.text, answer.text_size).decode()
    # TPU_5(process=0,(0,1,0,1)): the id, the host, the place of the chip, the core on it.
    found = re.search(r'TPU_(\d+)\(.*\((\d+),(\d+),(\d+),(\d+)\)', text)
    if not found:
      raise UserError(f'libtpu {VERSION} describes a device as {text!r}, in which no place is recognized.')
    number, x, y, z, core = map(int, found.groups())
    return number, (x, y, z, core)

  def _memory(self, executable: int) -> Memory:
    stats = self._api.call('Executable_GetCompiledMemoryStats', pjrt_api.MemoryStats(executable=executable))
    return Memory(stats.arguments, stats.temporaries, stats.code, stats.outputs - stats.aliased)

  def _optimized(self, executable: int) -> tuple[bytes, str]:
    program = pjrt_api.Program()
    program.struct_size = ctypes.sizeof(program)
    arguments = pjrt_api.OptimizedProgram(executable=executable, program=ctypes.addressof(program))
    self._api.call('Executable_OptimizedProgram', arguments)
    code = ctypes.create_string_buffer(program.code_size)
    program.code = ctypes.addressof(code)
    self._api.call('Executable_OptimizedProgram', arguments)
    return code.raw, program.format[: program.format_size].decode() if program.format else 'hlo'


def library_path() -> str:
  """The file of the installed libtpu.

  Raises:
    UserError: it is missing, or of another release
  """
  install = f"Install it with pip install libtpu=={VERSION}, or pip install '.[tpu]' in the checkout; it needs no TPU."
  spec = importlib.util.find_spec('libtpu')
  if spec is None or spec.origin is None:
    raise UserError(f"libtpu, the TPU's compiler, is not installed. {install}")
  try:
    present = importlib.metadata.version('libtpu')
  except importlib.metadata.PackageNotFoundError:
    present = 'without a version'
  if present != VERSION:
    raise UserError(f'libtpu {present} is installed, and the figures hold for libtpu {VERSION}. {install}')
  return os.path.join(os.path.dirname(spec.origin), 'libtpu.so')


def _explained(text: str) -> Exception:
  """libtpu's refusal: an OutOfMemoryError or a UserError."""
  words = ' '.join(text.split())
  if not re.search(r'RESOURCE_EXHAUSTED|[Rr]an out of memory|Exceeds .* capacity|exceeds available', words):
    return UserError(f'libtpu {VERSION} refuses the program: {words[:500]}')
  found = next((match for form in _FIGURES if (match := re.search(form, words))), None)
  if found is None:
    return OutOfMemoryError(None, None, words)
  needed, unit, limit, limit_unit = found.groups()
  size = lambda number, letter: int(float(number) * 1024 ** ('KMGT'.index(letter) + 1))
  return OutOfMemoryError(size(needed, unit), size(limit, limit_unit), words)
