"""The pickle in a `.bin` file, interpreted here so that none of it can reach a live object.

Python's own unpickler calls what a pickle names and changes what it builds. Here every instruction has a handler below,
the only objects are numbers, texts, tuples, lists, dicts and the markers of this file, and an instruction without a
handler is refused by its name. What `torch.save` writes, in any protocol, needs these:

- PROTO, FRAME, STOP: the frame of a pickle
- BINUNICODE, SHORT_BINUNICODE, BININT, BININT1, BININT2, LONG1, BINFLOAT, NONE, NEWTRUE, NEWFALSE: names and sizes
- MARK, EMPTY_TUPLE, TUPLE, TUPLE1 to 3, EMPTY_LIST, APPEND, APPENDS, EMPTY_DICT, SETITEM, SETITEMS: shapes and tables
- BINPUT, LONG_BINPUT, MEMOIZE, BINGET, LONG_BINGET: what occurs several times
- GLOBAL, STACK_GLOBAL, BINPERSID: the few names in `_KNOWN`, as markers, and storages
- REDUCE: tensors, parameters and ordered dicts; BUILD: the versions that a state_dict attaches to itself, left out

Source: pickletools.py; torch/serialization.py and torch/_utils.py.
"""

import pickletools
from collections.abc import Callable
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

from switch_zoo.checkpoints.arrays import BFLOAT16

# Class of a storage -> type of its entries.
STORAGES = {
    'FloatStorage': np.dtype(np.float32), 'BFloat16Storage': BFLOAT16, 'HalfStorage': np.dtype(np.float16),
    'DoubleStorage': np.dtype(np.float64), 'LongStorage': np.dtype(np.int64), 'IntStorage': np.dtype(np.int32),
    'ShortStorage': np.dtype(np.int16), 'CharStorage': np.dtype(np.int8), 'ByteStorage': np.dtype(np.uint8),
    'BoolStorage': np.dtype(np.bool_),
}  # fmt: skip
# torch's name of a type -> ours, for tensors whose storage has no type.
DTYPES = {
    'float32': np.dtype(np.float32), 'bfloat16': BFLOAT16, 'float16': np.dtype(np.float16),
    'float64': np.dtype(np.float64), 'int64': np.dtype(np.int64), 'int32': np.dtype(np.int32),
    'int16': np.dtype(np.int16), 'int8': np.dtype(np.int8), 'uint8': np.dtype(np.uint8), 'bool': np.dtype(np.bool_),
    'uint16': np.dtype(np.uint16), 'uint32': np.dtype(np.uint32), 'uint64': np.dtype(np.uint64),
    'float8_e4m3fn': np.dtype(ml_dtypes.float8_e4m3fn), 'float8_e5m2': np.dtype(ml_dtypes.float8_e5m2),
}  # fmt: skip
UNTYPED = ('torch.storage', 'UntypedStorage')
QUANTIZED = ('torch._utils', '_rebuild_qtensor')
# Far more than torch.save needs: it writes tables in batches of a thousand entries.
MAX_STACK = 1 << 20


class TorchStorage(NamedTuple):
  """Bytes in the archive. dtype: of its entries; None: each tensor says it. nbytes: their number"""

  key: str
  dtype: np.dtype | None
  nbytes: int


class TorchView(NamedTuple):
  """A tensor: a view of a storage. offset, strides: in entries"""

  storage: TorchStorage
  dtype: np.dtype
  offset: int
  shape: tuple[int, ...]
  strides: tuple[int, ...]


class RefusedError(Exception):
  """The pickle names or does something that weights do not need; the message says what, without a subject."""


class QuantizedError(Exception):
  """The pickle holds PyTorch's quantized tensors."""


class PickleError(ValueError):
  """The pickle is damaged."""


class _Global(NamedTuple):
  """A name in the pickle. Nothing is imported for it."""

  module: str
  name: str


class _OrderedDict(dict):
  """What `collections.OrderedDict` makes."""


def read(data: bytes) -> Any:
  """What a pickle holds: numbers, texts, tuples, lists, dicts and TorchViews.

  Raises:
    RefusedError: it has an instruction or a name that weights do not need
    PickleError: it is damaged
  """
  machine = _Machine()
  try:
    for opcode, argument, _ in pickletools.genops(data):
      handler = _HANDLERS.get(opcode.name)
      if handler is None:
        raise RefusedError(f'uses the pickle instruction {opcode.name}')
      handler(machine, argument)
      if len(machine.stack) > MAX_STACK:
        raise PickleError('it is nested too deeply')
    return machine.pop()
  except (ValueError, IndexError, KeyError, TypeError) as error:
    raise PickleError(str(error)) from error


class _Machine:
  """The stack, the positions marked on it, and what was memorized."""

  def __init__(self) -> None:
    self.stack: list[Any] = []
    self.marks: list[int] = []
    self.memo: dict[int, Any] = {}

  def push(self, value: Any) -> None:
    self.stack.append(value)

  def pop(self) -> Any:
    if not self.stack or (self.marks and self.marks[-1] >= len(self.stack)):
      raise PickleError('its stack is empty')
    return self.stack.pop()

  def pop_many(self, count: int) -> list[Any]:
    return [self.pop() for _ in range(count)][::-1]

  def pop_marked(self) -> list[Any]:
    """Everything above the last mark."""
    start = self.marks.pop()
    values = self.stack[start:]
    del self.stack[start:]
    return values

  def top(self, kind: type) -> Any:
    """The value on the stack, which must be of a type."""
    value = self.stack[-1]
    if not isinstance(value, kind):
      raise PickleError(f'it changes a {type(value).__name__}')
    return value

  def append(self, values: list[Any]) -> None:
    self.top(list).extend(values)

  def set_items(self, items: list[Any]) -> None:
    if not all(type(key) in (str, int) for key in items[::2]):
      raise PickleError('a key is neither a text nor a number')
    self.top(dict).update(zip(items[::2], items[1::2], strict=True))

  def memorize(self, index: int) -> None:
    self.memo[index] = self.stack[-1]

  def push_global(self, module: Any, name: Any) -> None:
    known = _Global(str(module), str(name))
    if known == QUANTIZED:
      raise QuantizedError
    if known not in _KNOWN:
      raise RefusedError(f'asks for {known.module}.{known.name} to be called when it is read')
    self.push(known)

  def reduce(self) -> None:
    function, arguments = self.pop_many(2)
    if not isinstance(function, _Global) or function not in _BUILDERS or not isinstance(arguments, tuple):
      raise PickleError('it calls what is not a function')
    self.push(_BUILDERS[function](*arguments))

  def build(self) -> None:
    self.pop()
    self.top(_OrderedDict)


def _storage(identifier: Any) -> TorchStorage:
  """The storage with a persistent identifier: ('storage', class, key, device, entries)."""
  kind, storage_class, key, _, count = identifier
  if kind != 'storage' or not isinstance(storage_class, _Global) or type(count) is not int or not isinstance(key, str):
    raise PickleError('a storage in it has no valid identifier')
  if storage_class == UNTYPED:
    return TorchStorage(key, None, count)
  dtype = STORAGES[storage_class.name]
  return TorchStorage(key, dtype, count * dtype.itemsize)


def _view(storage: Any, dtype: np.dtype, offset: Any, shape: Any, strides: Any) -> TorchView:
  if not isinstance(storage, TorchStorage) or not isinstance(shape, tuple) or not isinstance(strides, tuple):
    raise PickleError('a tensor in it has no storage or no shape')
  return TorchView(storage, dtype, offset, shape, strides)


def _rebuild_tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> TorchView:
  if not isinstance(storage, TorchStorage) or storage.dtype is None:
    raise PickleError('a storage in it has no type')
  return _view(storage, storage.dtype, offset, shape, strides)


def _rebuild_tensor_v3(
  storage: Any, offset: Any, shape: Any, strides: Any, grad: Any, hooks: Any, dtype: Any, *_: Any
) -> TorchView:
  return _view(storage, DTYPES[dtype.name], offset, shape, strides)


def _rebuild_parameter(view: Any, *_: Any) -> TorchView:
  if not isinstance(view, TorchView):
    raise PickleError('a parameter in it is not a tensor')
  return view


def _ordered_dict(*arguments: Any) -> _OrderedDict:
  if arguments:
    raise PickleError('an ordered dict in it is made of something')
  return _OrderedDict()


_BUILDERS: dict[tuple[str, str], Callable[..., Any]] = {
  ('torch._utils', '_rebuild_tensor_v2'): _rebuild_tensor,
  ('torch._utils', '_rebuild_tensor_v3'): _rebuild_tensor_v3,
  ('torch._utils', '_rebuild_parameter'): _rebuild_parameter,
  ('torch._utils', '_rebuild_parameter_with_state'): _rebuild_parameter,
  ('collections', 'OrderedDict'): _ordered_dict,
}
_KNOWN = {*_BUILDERS, UNTYPED, *(('torch', name) for name in (*STORAGES, *DTYPES))}

Handler = Callable[[_Machine, Any], None]
_PUSH: Handler = lambda machine, argument: machine.push(argument)
_NOTHING: Handler = lambda machine, argument: None
_MEMORIZE: Handler = lambda machine, argument: machine.memorize(argument)
_RECALL: Handler = lambda machine, argument: machine.push(machine.memo[argument])
_HANDLERS: dict[str, Handler] = {
  **dict.fromkeys(('PROTO', 'FRAME', 'STOP'), _NOTHING),
  **dict.fromkeys(('BINUNICODE', 'SHORT_BINUNICODE', 'BININT', 'BININT1', 'BININT2', 'LONG1', 'BINFLOAT'), _PUSH),
  'NONE': lambda machine, _: machine.push(None),
  'NEWTRUE': lambda machine, _: machine.push(True),
  'NEWFALSE': lambda machine, _: machine.push(False),
  'MARK': lambda machine, _: machine.marks.append(len(machine.stack)),
  'EMPTY_TUPLE': lambda machine, _: machine.push(()),
  'TUPLE': lambda machine, _: machine.push(tuple(machine.pop_marked())),
  'TUPLE1': lambda machine, _: machine.push(tuple(machine.pop_many(1))),
  'TUPLE2': lambda machine, _: machine.push(tuple(machine.pop_many(2))),
  'TUPLE3': lambda machine, _: machine.push(tuple(machine.pop_many(3))),
  'EMPTY_LIST': lambda machine, _: machine.push([]),
  'APPEND': lambda machine, _: machine.append(machine.pop_many(1)),
  'APPENDS': lambda machine, _: machine.append(machine.pop_marked()),
  'EMPTY_DICT': lambda machine, _: machine.push({}),
  'SETITEM': lambda machine, _: machine.set_items(machine.pop_many(2)),
  'SETITEMS': lambda machine, _: machine.set_items(machine.pop_marked()),
  **dict.fromkeys(('BINPUT', 'LONG_BINPUT'), _MEMORIZE),
  'MEMOIZE': lambda machine, _: machine.memorize(len(machine.memo)),
  **dict.fromkeys(('BINGET', 'LONG_BINGET'), _RECALL),
  'GLOBAL': lambda machine, argument: machine.push_global(*argument.split(' ', 1)),
  'STACK_GLOBAL': lambda machine, _: machine.push_global(*machine.pop_many(2)),
  'BINPERSID': lambda machine, _: machine.push(_storage(machine.pop())),
  'REDUCE': lambda machine, _: machine.reduce(),
  'BUILD': lambda machine, _: machine.build(),
}
