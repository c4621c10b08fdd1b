"""PJRT's C interface, as far as compiling without devices needs it, for ctypes.

Source: openxla/xla, xla/pjrt/c/pjrt_c_api.h. The table of functions and its structures only ever grow at their ends, so
what is used here holds for every later release.
"""

import ctypes
from typing import Any

# Functions -> their place in PJRT_Api after the version.
FUNCTIONS = {
  'Error_Destroy': 0,
  'Error_Message': 1,
  'Plugin_Initialize': 3,
  'DeviceDescription_DebugString': 27,
  'Executable_Destroy': 40,
  'Executable_OptimizedProgram': 48,
  'TopologyDescription_Create': 82,
  'TopologyDescription_GetDeviceDescriptions': 86,
  'Compile': 89,
  'Executable_GetCompiledMemoryStats': 96,
}
_POINTER, _SIZE, _INT64 = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int64
# PJRT_Api: its size, extensions, then a version with size, extensions, major and minor.
MAJOR, MINOR, TABLE = 32, 36, 40


def _structure(name: str, *fields: tuple[str, Any]) -> type[ctypes.Structure]:
  """A structure of arguments; all begin with their size and a list of extensions."""
  head = [('struct_size', _SIZE), ('extension_start', _POINTER)]
  return type(name, (ctypes.Structure,), {'_fields_': [*head, *fields]})


ErrorMessage = _structure('ErrorMessage', ('error', _POINTER), ('message', _POINTER), ('message_size', _SIZE))
ErrorDestroy = _structure('ErrorDestroy', ('error', _POINTER))
Initialize = _structure('Initialize')
ExecutableDestroy = _structure('ExecutableDestroy', ('executable', _POINTER))
TopologyCreate = _structure(
  'TopologyCreate',
  ('name', ctypes.c_char_p),
  ('name_size', _SIZE),
  ('options', _POINTER),
  ('num_options', _SIZE),
  ('topology', _POINTER),
)
TopologyDevices = _structure(
  'TopologyDevices', ('topology', _POINTER), ('descriptions', ctypes.POINTER(_POINTER)), ('number', _SIZE)
)
DebugString = _structure('DebugString', ('device', _POINTER), ('text', _POINTER), ('text_size', _SIZE))
Program = _structure(
  'Program', ('code', _POINTER), ('code_size', _SIZE), ('format', ctypes.c_char_p), ('format_size', _SIZE)
)
Compile = _structure(
  'Compile',
  ('topology', _POINTER),
  ('program', _POINTER),
  ('options', ctypes.c_char_p),
  ('options_size', _SIZE),
  ('client', _POINTER),
  ('executable', _POINTER),
)
MemoryStats = _structure(
  'MemoryStats',
  ('executable', _POINTER),
  *((name, _INT64) for name in ('code', 'arguments', 'outputs', 'aliased', 'temporaries')),
  *((f'host_{name}', _INT64) for name in ('code', 'arguments', 'outputs', 'aliased', 'temporaries')),
  *((name, _INT64) for name in ('peak', 'total')),
)
OptimizedProgram = _structure('OptimizedProgram', ('executable', _POINTER), ('program', _POINTER))


class ApiError(RuntimeError):
  """What a PJRT function answered instead of a result."""


class Api:
  """The functions of a library that implements PJRT."""

  def __init__(self, path: str) -> None:
    """path: of the library. Raises OSError if it cannot be loaded."""
    library = ctypes.CDLL(path)
    library.GetPjrtApi.restype = _POINTER
    self._start = library.GetPjrtApi()
    self.version = tuple(ctypes.c_int.from_address(self._start + place).value for place in (MAJOR, MINOR))

  def call(self, name: str, arguments: Any) -> Any:
    """Calls a function; returns its arguments, in which it writes its results.

    Raises:
      ApiError: with the function's message
    """
    if not arguments.struct_size:
      arguments.struct_size = ctypes.sizeof(arguments)
    address = ctypes.c_size_t.from_address(self._start + TABLE + 8 * FUNCTIONS[name]).value
    function: Any = ctypes.CFUNCTYPE(_POINTER, _POINTER)
    error = function(address)(ctypes.addressof(arguments))
    if error and not name.startswith('Error_'):
      message = self.call('Error_Message', ErrorMessage(error=error))
      text = ctypes.string_at(message.message, message.message_size).decode(errors='replace')
      self.call('Error_Destroy', ErrorDestroy(error=error))
      raise ApiError(text)
    return arguments


def compile_options(device_ids: list[int]) -> bytes:
  """A serialized xla.CompileOptionsProto for one replica on each device, replica n on device_ids[n]."""
  numbers = b''.join(map(_varint, device_ids))
  assignment = _field(1, len(device_ids)) + _field(2, 1) + _message(3, _message(1, numbers))
  # No device to compile on; replicas; partitions; assignment.
  build = _field(1, -1) + _field(4, len(device_ids)) + _field(5, 1) + _message(9, assignment)
  return _message(3, build)


def _varint(number: int) -> bytes:
  number &= (1 << 64) - 1
  encoded = bytearray()
  while number > 127:
    encoded.append(number & 127 | 128)
    number >>= 7
  return bytes([*encoded, number])


def _field(number: int, value: int) -> bytes:
  return _varint(number << 3) + _varint(value)


def _message(number: int, content: bytes) -> bytes:
  return _varint(number << 3 | 2) + _varint(len(content)) + content
