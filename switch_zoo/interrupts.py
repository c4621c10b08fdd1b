"""A Ctrl-C that cannot get lost.

Python raises KeyboardInterrupt wherever the program happens to be. Inside a callback of the garbage collector (JAX,
which seqio imports, has one) or a destructor the exception is printed as ignored, and the program goes on; inside a
callback from C++ it comes back as another error. So the request is also remembered: whoever works for long asks for
it at every step, nothing is printed where it got lost, and an error that follows it counts as it.
"""

import contextlib
import functools
import signal
import sys
from collections.abc import Iterator


class _Asked:
  """Whether Ctrl-C was pressed since `install`."""

  to_stop = False


def install() -> None:
  """Remembers every Ctrl-C from now on. Where the process was started with Ctrl-C ignored, that stays so."""
  _Asked.to_stop = False
  if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, _remember)
    sys.unraisablehook = functools.partial(_say_unless_remembered, sys.unraisablehook)


def check() -> None:
  """Raises KeyboardInterrupt if Ctrl-C was pressed: also if it was raised before and got lost."""
  if _Asked.to_stop:
    raise KeyboardInterrupt


@contextlib.contextmanager
def outrank_errors() -> Iterator[None]:
  """Within, an error after Ctrl-C was pressed becomes KeyboardInterrupt."""
  try:
    yield
  except Exception:
    check()
    raise


def _remember(number, frame):
  _Asked.to_stop = True
  signal.default_int_handler(number, frame)


def _say_unless_remembered(say, unraisable):
  if not (_Asked.to_stop and issubclass(unraisable.exc_type, KeyboardInterrupt)):
    say(unraisable)
