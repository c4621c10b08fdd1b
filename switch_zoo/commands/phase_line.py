"""One line on stderr that says what is being done and for how long; a line for each phase where that is no terminal."""

import sys
import threading
import time
from types import TracebackType


class PhaseLine:
  """A context; calling it begins the next phase."""

  def __init__(self) -> None:
    self._started = time.monotonic()
    self._phase = ''
    self._ended = threading.Event()
    self._thread = threading.Thread(target=self._tick, daemon=True)

  def __call__(self, phase: str) -> None:
    """Begins a phase. phase: 'compiling'"""
    self._phase = phase
    if not sys.stderr.isatty():
      print(f'{self._elapsed()} {phase}', file=sys.stderr, flush=True)

  def __enter__(self) -> 'PhaseLine':
    if sys.stderr.isatty():
      self._thread.start()
    return self

  def __exit__(
    self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
  ) -> None:
    self._ended.set()
    if self._thread.is_alive():
      self._thread.join()
      print('\r\x1b[K', end='', file=sys.stderr, flush=True)

  def _tick(self) -> None:
    while not self._ended.wait(0.5):
      print(f'\r\x1b[K{self._elapsed()} {self._phase}', end='', file=sys.stderr, flush=True)

  def _elapsed(self) -> str:
    minutes, seconds = divmod(int(time.monotonic() - self._started), 60)
    return f'[{minutes}:{seconds:02}]'
