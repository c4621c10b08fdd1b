"""A Ctrl-C that cannot get lost.

Python raises KeyboardInterrupt wherever the program happens to be. Inside a destructor or a callback of the garbage
collector (JAX, which seqio imports, has one) the exception is printed as ignored, and the program continues; inside a
callback from C++ it comes back as another error. So Ctrl-C is also remembered: long-running code checks for it at every
step, nothing is printed where it got lost, and an error that follows it counts as an interruption.

Python also raises nothing while TensorFlow builds a graph or writes a checkpoint. A thread that the signal itself wakes
says at once that Ctrl-C was heard; a second one ends the process there.
"""

import contextlib
import functools
import os
import signal
import sys
import threading
import types
from collections.abc import Callable, Iterator
from typing import Any

EXIT_CODE = 130  # of a program that Ctrl-C ended: 128 + SIGINT


_FORGET = 0  # not the number of a signal
_HEARD = b'\nCtrl-C: stopping. Press it again to end at once.\n'
_SHOW_CURSOR = b'\x1b[?25h'  # a progress bar hides it


class _CtrlC:
  """Whether Ctrl-C was pressed since `install`.

  pipe: what the watching thread reads: the signals, and where to forget those before
  """

  was_pressed = False
  pipe: int | None = None


def install() -> None:
  """Remembers every Ctrl-C from now on. If the process was started with Ctrl-C ignored, it stays ignored."""
  _CtrlC.was_pressed = False
  if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, _remember)
    sys.unraisablehook = functools.partial(_print_unless_remembered, sys.unraisablehook)
  # Only the main thread may choose what signals wake.
  if signal.getsignal(signal.SIGINT) is _remember and threading.current_thread() is threading.main_thread():
    _watch()


def check() -> None:
  """Raises KeyboardInterrupt if Ctrl-C was pressed, even if one was raised before and got lost."""
  if _CtrlC.was_pressed:
    raise KeyboardInterrupt


@contextlib.contextmanager
def outrank_errors() -> Iterator[None]:
  """A context in which an error raised after Ctrl-C was pressed becomes KeyboardInterrupt."""
  try:
    yield
  except Exception:
    check()
    raise


def _watch() -> None:
  """Starts the thread that listens for signals; it is started once and then forgets what it heard."""
  if _CtrlC.pipe is None:
    reader, _CtrlC.pipe = os.pipe()
    os.set_blocking(_CtrlC.pipe, False)
    threading.Thread(target=_listen, args=(reader,), daemon=True).start()
    # A process that is forked has no such thread, and its signals are not ours.
    os.register_at_fork(after_in_child=lambda: signal.set_wakeup_fd(-1))
  os.write(_CtrlC.pipe, bytes([_FORGET]))
  other = signal.set_wakeup_fd(_CtrlC.pipe, warn_on_full_buffer=False)
  if other not in (-1, _CtrlC.pipe):  # an event loop that needs it
    signal.set_wakeup_fd(other)


def _listen(reader: int) -> None:
  presses = 0
  while True:
    (number,) = os.read(reader, 1)
    if number == _FORGET:
      presses = 0
    # A server has a handler of its own.
    if number != signal.SIGINT or signal.getsignal(signal.SIGINT) is not _remember:
      continue
    presses += 1
    with contextlib.suppress(OSError):  # nobody may be reading
      printed = sys.stderr.fileno()
      os.write(printed, _HEARD if presses == 1 else _SHOW_CURSOR if os.isatty(printed) else b'')
    if presses > 1:
      os._exit(EXIT_CODE)


def _remember(number: int, frame: types.FrameType | None) -> None:
  _CtrlC.was_pressed = True
  signal.default_int_handler(number, frame)


def _print_unless_remembered(
  print_hook: Callable[['sys.UnraisableHookArgs'], Any], unraisable: 'sys.UnraisableHookArgs'
) -> None:
  if not (_CtrlC.was_pressed and issubclass(unraisable.exc_type, KeyboardInterrupt)):
    print_hook(unraisable)
