"""How far a long piece of work is, on stderr: a bar in a terminal, elsewhere a line now and then; and the time left.

Training has reports of its own (`launcher.progress`).
"""

import atexit
import sys
import time
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Any, TypeVar

_Item = TypeVar('_Item')
# Work that takes less than this prints nothing where there is no terminal.
SECONDS_BETWEEN_LINES = 10.0


class WorkProgress:
  """A context; `advance` counts what has been done."""

  def __init__(self, doing: str, unit: str, total: int | None = None) -> None:
    """
    Args:
      doing: 'Decoding'
      unit: what is counted, in the plural: 'examples'
      total: of them; None: it is not known
    """
    self._doing, self._unit, self._total = doing, unit, total
    self._done = 0
    self._began = self._printed = time.monotonic()
    self._bar: Any = None

  def __enter__(self) -> 'WorkProgress':
    self.start()
    return self

  def __exit__(
    self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
  ) -> None:
    self.stop()

  def start(self) -> None:
    """Shows the bar. If nothing stops it, the end of the process does: the terminal has its cursor back."""
    if sys.stderr.isatty():
      from rich import progress
      from rich.console import Console

      columns = (progress.TextColumn('{task.description}'), progress.BarColumn(), progress.MofNCompleteColumn())
      console = Console(stderr=True)
      self._bar = progress.Progress(*columns, progress.TimeRemainingColumn(), console=console, transient=True)
      self._bar.add_task(self._doing, total=self._total)
      self._bar.start()
      atexit.register(self.stop)

  def stop(self) -> None:
    """Removes the bar."""
    atexit.unregister(self.stop)
    if self._bar is not None:
      self._bar.stop()
      self._bar = None

  def advance(self, number: int = 1) -> None:
    """So many more have been done."""
    self._done += number
    if self._bar is not None:
      self._bar.advance(self._bar.task_ids[0], number)
    elif time.monotonic() - self._printed >= SECONDS_BETWEEN_LINES:
      self._printed = time.monotonic()
      print(self.line(), file=sys.stderr, flush=True)

  def line(self) -> str:
    """'Decoding: 320 of 1,024 examples  00:12 left'; without a total '320 examples'."""
    if self._total is None or self._total < self._done:
      return f'{self._doing}: {self._done:,} {self._unit}'
    text = f'{self._doing}: {self._done:,} of {self._total:,} {self._unit}'
    if not self._done:
      return text
    seconds = (time.monotonic() - self._began) * (self._total - self._done) / self._done
    return f'{text}  {duration(seconds)} left'


def counted(items: Iterable[_Item], doing: str, unit: str, total: int | None = None) -> Iterator[_Item]:
  """The items, counted as they are taken; arguments as those of `WorkProgress`."""
  with WorkProgress(doing, unit, total) as progress:
    for item in items:
      yield item
      progress.advance()


def duration(seconds: float) -> str:
  """'01:05', '2:01:05' or '3d 02:01:05'."""
  days, rest = divmod(int(seconds), 24 * 3600)
  hours, rest = divmod(rest, 3600)
  clock = f'{rest // 60:02}:{rest % 60:02}'
  if days:
    return f'{days}d {hours:02}:{clock}'
  return f'{hours}:{clock}' if hours else clock
