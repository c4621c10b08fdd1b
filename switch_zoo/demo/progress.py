"""What is seen while the demo works: a bar in a terminal, lines elsewhere."""

import json
import pathlib
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from switch_zoo.launcher.progress import StepReport, duration, line


class TrainingProgress:
  """A reporter of the launcher: shows the steps, and keeps each record in a file of JSON lines.

  The file holds the curve that the summary and the picture are made from. When a training goes on from a checkpoint,
  what an interrupted run reported after that checkpoint is dropped.
  """

  def __init__(self, console: Console, curve: pathlib.Path):
    self._console = console
    self._curve = curve
    self._bar = None

  def start(self, first_step: int, last_step: int) -> None:
    """Drops what was reported after `first_step`, and shows the bar."""
    self._trim(first_step)
    self._began = time.monotonic()
    self._every = max(1, last_step // 10)
    self._next_line = 0
    if first_step:
      self._console.print(f'  going on after step {first_step:,} of {last_step:,}')
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

  def _trim(self, first_step):
    kept = [row for row in read_curve(self._curve) if row['step'] <= first_step]
    self._curve.write_text(''.join(json.dumps(row) + '\n' for row in kept))


def figures(record: StepReport) -> str:
  """The figures beside the bar: 'loss 4.81  ce 4.79  9,120 tok/s  00:41 left'; those not known yet are left out."""
  parts = [f'loss {record.loss:.3f}']
  if record.cross_entropy is not None:
    parts.append(f'ce {record.cross_entropy:.3f}')
  if record.tokens_per_second is not None:
    parts.append(f'{record.tokens_per_second:,.0f} tok/s')
  if record.seconds_left is not None:
    parts.append(f'{duration(record.seconds_left)} left')
  return '  '.join(parts)


def as_json(record: StepReport, seconds: float) -> dict:
  """A record as one line of the curve; load: layer -> share of the tokens each expert was given."""
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
  """The records of a curve; a last line cut short by a kill is left out. [] when there is no file."""
  if not path.exists():
    return []
  lines = path.read_text().splitlines(keepends=True)
  return [json.loads(text) for text in lines if text.endswith('\n')]


@contextmanager
def phase(console: Console, title: str) -> Iterator[None]:
  """Says that a phase began, and how long it took."""
  console.print(f'[bold]{title}[/bold]', soft_wrap=True)
  began = time.monotonic()
  yield
  console.print(f'  {time.monotonic() - began:.1f} s', style='dim')
