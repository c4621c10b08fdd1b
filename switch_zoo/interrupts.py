"""A Ctrl-C that cannot get lost.

Python raises KeyboardInterrupt wherever the program happens to be. Inside a callback of the garbage collector (JAX,
which seqio imports, has one) or a destructor the exception is printed as ignored, and the program goes on. So the
request is also remembered, and whoever works for long asks for it at every step.
"""
import signal


class _Asked:
  """Whether Ctrl-C was pressed since `install`."""

  to_stop = False


def install() -> None:
  """Remembers every Ctrl-C from now on. Where the process was started with Ctrl-C ignored, that stays so."""
  _Asked.to_stop = False
  if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, _remember)


def check() -> None:
  """Raises KeyboardInterrupt if Ctrl-C was pressed: also if it was raised before and got lost."""
  if _Asked.to_stop:
    raise KeyboardInterrupt


def _remember(number, frame):
  _Asked.to_stop = True
  signal.default_int_handler(number, frame)
