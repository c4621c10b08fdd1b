"""A Ctrl-C that cannot get lost.

Python raises KeyboardInterrupt wherever the program happens to be. Inside a destructor or a callback of the garbage
collector (JAX, which seqio imports, has one) the exception is printed as ignored, and the program continues; inside a
callback from C++ it comes back as another error. So Ctrl-C is also remembered: long-running code checks for it at every
step, nothing is printed where it got lost, and an error that follows it counts as an interruption.
"""

import contextlib
import functools
import signal
import sys
import types
from collections.abc import Callable, Iterator
from typing import Any

EXIT_CODE = 130  # of a program that Ctrl-C ended: 128 + SIGINT


class _CtrlC:
  """Whether Ctrl-C was pressed since `install`."""

  was_pressed = False


def install() -> None:
  """Remembers every Ctrl-C from now on. If the process was started with Ctrl-C ignored, it stays ignored."""
  _CtrlC.was_pressed = False
  if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, _remember)
    sys.unraisablehook = functools.partial(_print_unless_remembered, sys.unraisablehook)


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


def _remember(number: int, frame: types.FrameType | None) -> None:
  _CtrlC.was_pressed = True
  signal.default_int_handler(number, frame)


def _print_unless_remembered(
  print_hook: Callable[['sys.UnraisableHookArgs'], Any], unraisable: 'sys.UnraisableHookArgs'
) -> None:
  if not (_CtrlC.was_pressed and issubclass(unraisable.exc_type, KeyboardInterrupt)):
    print_hook(unraisable)
