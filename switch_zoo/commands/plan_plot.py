"""A plan as a picture: the time of a step by cause, and the memory of a core against its limit."""

import pathlib
from collections.abc import Sequence
from typing import Any

from switch_zoo.commands.plan_report import cuts, mesh_text
from switch_zoo.errors import UserError
from switch_zoo.planner import cost
from switch_zoo.planner.hardware import GIB, Slice
from switch_zoo.planner.search import Found, Plan

SHOWN = 8
FORMATS = ('.png', '.svg', '.pdf')
# Okabe and Ito's colours, which people with any kind of colour vision tell apart.
COLOURS = ('#0072B2', '#56B4E9', '#009E73', '#D55E00', '#E69F00', '#CC79A7', '#999999')
PARTS = ('weights', 'optimizer', 'copies', 'gradients', 'activations', 'code')


def check(path: str) -> None:
  """Checks that a picture can be written, before anything is computed for it.

  Raises:
    UserError: a folder that does not exist, another format, or Matplotlib is missing
  """
  file = pathlib.Path(path)
  if file.suffix.lower() not in FORMATS:
    raise UserError(f'--plot {path}: the format follows from the name. Use one that ends in {", ".join(FORMATS)}.')
  if not file.parent.is_dir():
    raise UserError(f'--plot {path}: the folder {file.parent} does not exist. Create it, or give another one.')
  _figure_class()


def draw(path: str, model: str, rows: Sequence[tuple[Slice, Found]]) -> None:
  """Writes the picture: the best layouts of one slice, or the best one of each of several.

  Raises:
    UserError: the file cannot be written
  """
  bars = [(target, plan) for target, found in rows for plan in found.plans[: SHOWN if len(rows) == 1 else 1]]
  figure = _figure_class()(figsize=(12, 1.8 + 0.55 * len(bars)), layout='constrained')
  figure.suptitle(f'{model} on {", ".join(target.name for target, _ in rows)}: {bars[0][1].sequences} sequences a step')
  times, memory = figure.subplots(1, 2, sharey=True, gridspec_kw={'width_ratios': (3, 2)})
  labels = [_label(target, plan, several=len(rows) > 1) for target, plan in bars]
  _stack(times, labels, [{cause: plan.seconds[cause] for cause in cost.CAUSES} for _, plan in bars])
  times.set_xlabel('seconds of a step, estimated')
  _stack(memory, labels, [{part: getattr(plan.memory, part) / GIB for part in PARTS} for _, plan in bars])
  for i, (target, _) in enumerate(bars):
    limit = target.chip.limit / GIB
    memory.plot([limit, limit], [i - 0.45, i + 0.45], color='black', linewidth=2, label='' if i else 'limit')
  memory.set_xlabel('GiB of a core')
  times.invert_yaxis()
  for axes in (times, memory):
    axes.legend(loc='lower center', bbox_to_anchor=(0.5, 1.0), ncols=4, fontsize='small', frameon=False)
    axes.spines[['top', 'right']].set_visible(False)
  try:
    figure.savefig(path, dpi=120)
  except OSError as error:
    raise UserError(f'--plot {path} cannot be written: {error.strerror}. Give another file.') from error


def _figure_class() -> Any:
  try:
    from matplotlib.figure import Figure
  except ImportError as error:
    raise UserError('--plot needs Matplotlib, which is not installed. Run: pip install matplotlib') from error
  return Figure


def _label(target: Slice, plan: Plan, several: bool) -> str:
  return '\n'.join(
    [f'{target.name}  {mesh_text(plan.layout)}' if several else mesh_text(plan.layout), cuts(plan.layout)]
  )


def _stack(axes: Any, labels: Sequence[str], bars: Sequence[dict[str, float]]) -> None:
  """Horizontal bars, each a sum of parts; parts that no bar has are left out."""
  starts = [0.0] * len(bars)
  for name, colour in zip(bars[0], COLOURS, strict=False):
    widths = [bar[name] for bar in bars]
    if any(widths):
      axes.barh(range(len(bars)), widths, left=starts, color=colour, label=name, height=0.7)
    starts = [start + width for start, width in zip(starts, widths, strict=True)]
  axes.set_yticks(range(len(bars)), labels, fontsize='small')
