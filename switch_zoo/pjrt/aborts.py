"""What a user reads where JAX ends the process: its service aborts a process as soon as another one is lost.

That is C++ code, which prints a trace of its own sources. So its messages go into a file that nobody sees, and the
signal that it ends with is answered by a paragraph.
"""

import ctypes
import os
import re
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from switch_zoo import tf_compat

# Up to an empty line, or where it comes from.
_REASON = re.compile(r'Status: (.+?)(?=\n\n|\n===|\nRPC|$)', re.DOTALL)

# For a process to print its own paragraph.
_SECONDS = 1


class _Answer(NamedTuple):
  """paragraph: from the reason that JAX gives to what is printed; code: the exit code"""

  paragraph: Callable[[str], str] | None
  code: int


# answer, messages (a file, or None), stream (where the paragraph goes), and handler, which C++ code must not outlive.
_state: dict[str, Any] = {}


def answer(paragraph: Callable[[str], str] | None, code: int) -> None:
  """Decides what is printed if C++ code aborts this process from now on.

  Args:
    paragraph: from the reason that JAX gives to the text; None: this process is printing its own
    code: the exit code
  """
  _state['answer'] = _Answer(paragraph, code)
  if 'handler' not in _state:
    _state['messages'] = None if tf_compat.debugging() else _hide_messages()
    _state['stream'] = sys.stderr
    # Python's own handlers run later, in the main thread: there is no later.
    _state['handler'] = ctypes.CFUNCTYPE(None, ctypes.c_int)(_end)
    ctypes.CDLL(None).signal(signal.SIGABRT, _state['handler'])


def _hide_messages() -> Any:
  """The file of what C++ code prints from now on; what Python prints still goes where it went."""
  messages = tempfile.TemporaryFile()  # noqa: SIM115 - as long as the process
  if sys.stderr is sys.__stderr__:
    sys.stderr = open(os.dup(2), 'w', buffering=1, errors='backslashreplace')  # noqa: SIM115
    os.dup2(messages.fileno(), 2)
  return messages


def _end(_: int) -> None:
  paragraph, code = _state['answer']
  if paragraph is None:
    time.sleep(_SECONDS)
  else:
    print(f't5_mesh_transformer: {paragraph(_reason())}', file=_state['stream'], flush=True)
  os._exit(code)


def _reason() -> str:
  """The last reason that JAX has printed."""
  messages = _state['messages']
  if messages is None:
    return 'see above'
  messages.seek(0)
  found = _REASON.findall(messages.read().decode(errors='replace'))
  return ' '.join(found[-1].split()).rstrip('.') if found else 'it does not say why'
