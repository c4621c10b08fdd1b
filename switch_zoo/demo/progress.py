"""What the demo shows while it works: a bar in a terminal, lines elsewhere."""

import json
import pathlib
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from switch_zoo.launcher.progress import StepReport, line
from switch_zoo.work_progress import duration


class TrainingProgress:
  """A Reporter of the launcher: shows the steps, and keeps each record in a file of JSON lines.

  The summary and the picture are made from that file, the curve. When a training is resumed from a checkpoint, the
  records of the interrupted run after that checkpoint are dropped.
  """

  def __init__(self, console: Console, curve: pathlib.Path) -> None:
    self._console = console
    self._curve = curve
    self._bar: Progress | None = None

  def start(self, first_step: int, last_step: int) -> None:
    """Drops records after `first_step`, and shows the bar."""
    self._trim(first_step)
    self._began = time.monotonic()
    self._every = max(1, last_step // 10)
    self._next_line = 0
    if first_step:
      self._console.print(f'  resuming after step {first_step:,} of {last_step:,}')
    if self._console.is_terminal:
      columns = TextColumn(' '), BarColumn(20), MofNCompleteColumn(), TextColumn('{task.fields[text]}')
      self._bar = Progress(*columns, console=self._console)
      self._bar.start()
      self._task = self._bar.add_task('', total=last_step, completed=first_step, text='')

  def step(self, record: StepReport) -> None:
    """Shows a step and adds it to the curve."""
    with self._curve.open('a') as file:
      file.write(json.dumps(as_json(record, time.monotonic() - self._began)) + '\n')
    if self._bar:
      self._bar.update(self._task, completed=record.step, text=figures(record))
    elif record.step >= self._next_line or record.step == record.last_step:
      self._next_line = record.step + self._every
      self._console.print(f'  {line(record)}', soft_wrap=True)

  def finish(self) -> None:
    """Removes the bar; a second call does nothing."""
    if self._bar:
      self._bar.stop()
      self._bar = None

  def _trim(self, first_step: int) -> None:
    kept = [row for row in read_curve(self._curve) if row['step'] <= first_step]
    self._curve.write_text(''.join(json.dumps(row) + '\n' for row in kept))


def figures(record: StepReport) -> str:
  """The figures next to the bar: 'loss 4.81  ce 4.79  9,120 tok/s  00:41 left', without those not known yet."""
  parts = [f'loss {record.loss:.3f}']
  if record.cross_entropy is not None:
    parts.append(f'ce {record.cross_entropy:.3f}')
  if record.tokens_per_second is not None:
    parts.append(f'{record.tokens_per_second:,.0f} tok/s')
  if record.seconds_left is not None:
    parts.append(f'{duration(record.seconds_left)} left')
  return '  '.join(parts)


def as_json(record: StepReport, seconds: float) -> dict:
  """A record as one line of the curve; `load`: layer -> each expert's share of the tokens."""
  load = {name.removesuffix('/load'): v.tolist() for name, v in record.exported.items() if name.endswith('/load')}
  return {
    'step': record.step,
    'loss': record.loss,
    'cross_entropy': record.cross_entropy,
    'tokens': float(record.exported['tokens']),
    'seconds': round(seconds, 2),
    'load': load,
  }


def read_curve(path: pathlib.Path) -> list[dict]:
  """The records of a curve, without a last line cut short by a kill. [] if there is no file."""
  if not path.exists():
    return []
  lines = path.read_text().splitlines(keepends=True)
  return [json.loads(text) for text in lines if text.endswith('\n')]


@contextmanager
def phase(console: Console, title: str) -> Iterator[None]:
  """A context that prints a title when it begins, and how long it took when it ends."""
  console.print(f'[bold]{title}[/bold]', soft_wrap=True)
  began = time.monotonic()
  yield
  console.print(f'  {time.monotonic() - began:.1f} s', style='dim')
