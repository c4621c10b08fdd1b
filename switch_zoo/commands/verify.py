"""`switch_zoo verify A B`: whether two checkpoints, of any formats, hold the same weights."""

import math

import typer
from rich.console import Console

from switch_zoo.work_progress import WorkProgress

DIFFERENT = 1  # exit code


def command(
  one: str = typer.Argument(..., metavar='A', help='Folder of weights in any format.'),
  other: str = typer.Argument(..., metavar='B', help='The folder to compare it with.'),
  model: str | None = typer.Option(None, '--model', help='The model, if the folders do not say which one they hold.'),
  limit: int = typer.Option(10, '--most', min=1, help='Most differences to show.'),
) -> None:
  """Compares two checkpoints of any formats, tensor by tensor and expert by expert. Exit code 1 if they differ."""
  from switch_zoo.checkpoints import sources, verify

  console = Console(highlight=False)
  first, second = sources.open_source(one, model), sources.open_source(other, model)
  total = sum(math.prod(axes.values()) for axes in first.config.variables.values())
  with WorkProgress('Comparing', 'values', total) as progress:
    report = verify.compare(first, second, limit, progress.advance)
  for line in report.differences:
    console.print(line, soft_wrap=True, markup=False)
  if report.num_differences > len(report.differences):
    console.print(f'... and {report.num_differences - len(report.differences):,} more.')
  compared = f'{report.values:,} values in {report.parts:,} tensors and parts of experts'
  if report.num_differences:
    console.print(
      f'{one} and {other} differ in {report.num_differences:,} places; compared: {compared}.', soft_wrap=True
    )
    raise typer.Exit(DIFFERENT)
  console.print(f'The same: {compared}.')
