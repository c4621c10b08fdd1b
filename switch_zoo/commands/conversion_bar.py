"""The progress of a conversion: bytes written, speed and time left, on stderr; lines now and then in a log file."""

from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

from switch_zoo.checkpoints import conversion
from switch_zoo.work_progress import WorkProgress


class ConversionBar(conversion.Progress):
  """A context: the bar is removed at its end."""

  def __init__(self) -> None:
    console = Console(stderr=True)
    self._progress = Progress(
      BarColumn(),
      DownloadColumn(),
      TransferSpeedColumn(),
      TimeRemainingColumn(),
      console=console,
      disable=not console.is_terminal,
      transient=True,
    )
    self._task = self._progress.add_task('', total=None)
    self._in_lines = not console.is_terminal
    self._lines: WorkProgress | None = None

  def __enter__(self) -> 'ConversionBar':
    self._progress.start()
    return self

  def __exit__(
    self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
  ) -> None:
    self._progress.stop()

  def begin(self, total: int, done: int) -> None:
    """Shows the bar for `total` bytes, of which an interrupted conversion wrote `done`."""
    self._progress.reset(self._task, total=total, completed=done)
    if self._in_lines:
      self._lines = WorkProgress('Converting', 'bytes', total - done)

  def advance(self, nbytes: int) -> None:
    """Adds the bytes of a part that was written."""
    self._progress.advance(self._task, nbytes)
    if self._lines is not None:
      self._lines.advance(nbytes)
