"""One sitting of the demo: what is left to do in a folder, then the figures."""

import pathlib
import time

import absl.logging
from rich.console import Console

from switch_zoo import interrupts, tf_compat
from switch_zoo.demo import phases, progress, summary
from switch_zoo.demo.budget import Budget
from switch_zoo.demo.folder import open_folder


def run(out: pathlib.Path, seed: int, budget: Budget, console: Console) -> None:
  """Does the phases that a folder lacks and prints what was measured.

  Interrupted, it goes on from the last checkpoint when it is called again; a finished folder is only shown. Without an
  interruption the same seed gives the same figures, to the last bit on the same machine; a pre-training that goes on
  sees the data it would have seen, but the router's noise begins anew.

  Args:
    out: the folder; made when it does not exist
    seed: of the order of the data, the weights, dropout, router noise and the request
    budget: what is spent
    console: where progress and figures go
  Raises:
    UserError: the folder is of another kind or of another demo, or cannot be written
  """
  if not tf_compat.debugging():
    absl.logging.set_verbosity(absl.logging.ERROR)
  with open_folder(out, seed, budget) as folder:
    demo = phases.Demo(folder, seed, budget, console)
    left = [phase for phase in phases.PHASES if folder.result(phase.name) is None]
    _say_what_is_there(demo, left)
    began = time.monotonic()
    for phase in left:
      _do(demo, phase)
    summary.show(console, folder, {phase.name for phase in left})
    if left:
      console.print(f'This run took {time.monotonic() - began:.0f} s.')


def _do(demo, phase):
  interrupts.check()
  number = phases.PHASES.index(phase) + 1
  with progress.phase(demo.console, f'{number}/{len(phases.PHASES)} {phase.title}'):
    measured = phase.work(demo)
  demo.folder.keep(phase.name, measured)


def _say_what_is_there(demo, left):
  path = demo.folder.path
  if not left:
    text = f'{path} holds a finished demo; nothing is done again. For another one use --out, or delete {path}.'
  elif len(left) < len(phases.PHASES):
    text = f'{path} holds a demo that was interrupted; it goes on at: {left[0].title}.'
  else:
    return
  demo.console.print(text, soft_wrap=True, markup=False)
