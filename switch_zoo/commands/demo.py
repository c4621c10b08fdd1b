"""`switch_zoo demo`: pre-train, fine-tune, evaluate, export and query a small Switch Transformer."""

import pathlib

import typer
from rich.console import Console

from switch_zoo import garbage, interrupts, whole_package


def command(
  out: str = typer.Option('switch_zoo_demo', '--out', metavar='DIR', help='Folder for everything it makes.'),
  seed: int = typer.Option(0, '--seed', min=0, help='The same seed gives the same figures.'),
) -> None:
  """Trains a small Switch Transformer on the text that every Python contains, and queries it. Takes minutes.

  It makes a vocabulary, pre-trains by span corruption, fine-tunes (paragraph to section) with and without the
  pre-trained weights, evaluates both, draws the load of the experts, exports a SavedModel and queries it in a fresh
  process. Nothing is downloaded. If it is interrupted, the same command resumes where it stopped.
  """
  with whole_package.required_by('switch_zoo demo'):
    from switch_zoo.demo import budget, folder

  console = Console(highlight=False)
  spent = budget.DemoBudget()
  folder.check(pathlib.Path(out), seed, spent)
  try:
    # After the check: loading TensorFlow takes seconds.
    with console.status('Loading TensorFlow'), garbage.while_importing():
      from switch_zoo.demo import session

    with interrupts.outrank_errors():
      session.run(pathlib.Path(out), seed, spent, console)
  except KeyboardInterrupt:
    console.print(f'Interrupted. The same command resumes from the last checkpoint in {out}.', soft_wrap=True)
    raise typer.Exit(interrupts.EXIT_CODE) from None
