"""One run of the demo: the phases that are not done yet in a folder, then the figures."""

import pathlib
import time
from collections.abc import Sequence

import absl.logging
from rich.console import Console

from switch_zoo import interrupts, tf_compat
from switch_zoo.demo import phases, progress, summary
from switch_zoo.demo.budget import DemoBudget
from switch_zoo.demo.folder import open_folder


def run(out: pathlib.Path, seed: int, budget: DemoBudget, console: Console) -> None:
  """Does the phases that are not done yet, and prints what was measured.

  After an interruption, calling it again resumes from the last checkpoint; a finished folder is only shown. Without an
  interruption or with one, the same seed gives the same figures, to the last bit on the same machine.

  Args:
    out: the folder, created if it does not exist
    seed: determines the order of the data, the weights, dropout, router noise and the request
    budget: what is spent
    console: where progress and figures are printed
  Raises:
    UserError: the folder holds something else or another demo, or cannot be written
  """
  if not tf_compat.debugging():
    absl.logging.set_verbosity(absl.logging.ERROR)
  with open_folder(out, seed, budget) as folder:
    demo = phases.Demo(folder, seed, budget, console)
    remaining = [phase for phase in phases.PHASES if not folder.is_done(phase.name)]
    _print_state(demo, remaining)
    began = time.monotonic()
    for phase in remaining:
      _do(demo, phase)
    summary.show(console, folder, {phase.name for phase in remaining})
    if remaining:
      console.print(f'This run took {time.monotonic() - began:.0f} s.')


def _do(demo: phases.Demo, phase: phases.Phase) -> None:
  interrupts.check()
  number = phases.PHASES.index(phase) + 1
  with progress.phase(demo.console, f'{number}/{len(phases.PHASES)} {phase.title}'):
    measured = phase.work(demo)
  demo.folder.keep(phase.name, measured)


def _print_state(demo: phases.Demo, remaining: Sequence[phases.Phase]) -> None:
  path = demo.folder.path
  if not remaining:
    text = f'{path} holds a finished demo, so nothing is done again. For another demo use --out, or delete {path}.'
  elif len(remaining) < len(phases.PHASES):
    text = f'{path} holds a demo that was interrupted; it resumes at: {remaining[0].title}.'
  else:
    return
  demo.console.print(text, soft_wrap=True, markup=False)
