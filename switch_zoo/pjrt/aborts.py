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
import threading
import time
from collections.abc import Callable
from typing import Any

from switch_zoo import tf_compat

# Up to an empty line, or where it comes from.
_REASON = re.compile(r'Status: (.+?)(?=\n\n|\n===|\nRPC|$)', re.DOTALL)

# For the thread that speaks to print its paragraph.
_SECONDS = 1

# paragraph and code (`answer`), messages (a file, or None), stream (where the paragraph goes), handler, which C++ code
# must not outlive, and speaker, the thread that says why this process ends, or `_end`.
_state: dict[str, Any] = {}


def answer(paragraph: Callable[[str], str], code: int) -> None:
  """Decides what is printed if C++ code aborts this process from now on.

  Args:
    paragraph: from the reason that JAX gives to the text
    code: the exit code
  """
  _state['paragraph'], _state['code'] = paragraph, code
  if 'handler' not in _state:
    _state['messages'] = None if tf_compat.debugging() else _hide_messages()
    _state['stream'] = sys.stderr
    # Python's own handlers run later, in the main thread: there is no later.
    _state['handler'] = ctypes.CFUNCTYPE(None, ctypes.c_int)(_end)
    ctypes.CDLL(None).signal(signal.SIGABRT, _state['handler'])


def speak(code: int) -> None:
  """To be called by a thread before it prints why this process ends, and ends it.

  Returns in the first thread that calls it, and in others never: one paragraph is printed.

  Args:
    code: the exit code, also if C++ code aborts this process meanwhile
  """
  if _state.setdefault('speaker', threading.get_ident()) != threading.get_ident():
    threading.Event().wait()
  _state['code'] = code


def _hide_messages() -> Any:
  """The file of what C++ code prints from now on; what Python prints still goes where it went."""
  messages = tempfile.TemporaryFile()  # noqa: SIM115 - as long as the process
  if sys.stderr is sys.__stderr__:
    sys.stderr = open(os.dup(2), 'w', buffering=1, errors='backslashreplace')  # noqa: SIM115
    os.dup2(messages.fileno(), 2)
  return messages


def _end(_: int) -> None:
  if _state.setdefault('speaker', _end) is _end:
    print(f't5_mesh_transformer: {_state["paragraph"](_reason())}', file=_state['stream'], flush=True)
  else:
    time.sleep(_SECONDS)
  os._exit(_state['code'])


def _reason() -> str:
  """The last reason that JAX has printed."""
  messages = _state['messages']
  if messages is None:
    return 'see above'
  messages.seek(0)
  found = _REASON.findall(messages.read().decode(errors='replace'))
  return ' '.join(found[-1].split()).rstrip('.') if found else 'it does not say why'
