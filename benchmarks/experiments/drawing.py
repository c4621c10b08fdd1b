"""Loss against steps, tokens and seconds: a line for each arm, with a band over its seeds."""

import contextlib
import pathlib
import statistics
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from benchmarks.experiments.settings import Run, Runs


def draw(runs: Runs, title: str, path: pathlib.Path) -> None:
  """Writes a small picture of the curves.

  Args:
    runs: of each arm
    title: above it
    path: of an .svg or .png file
  """
  with figure(title, path, panels=3) as axes:
    for number, (arm, of_arm) in enumerate(runs.items()):
      if of_arm:
        _draw_arm(axes, f'C{number % 10}', arm, of_arm)
    for axis, name in zip(axes, ('steps', 'million tokens', 'seconds of training'), strict=True):
      axis.set_xlabel(name)
      axis.grid(alpha=0.3)
    axes[0].set_ylabel('held-out loss, nats per token')
    axes[0].set_ylim(*_limits(runs))
    axes[0].legend(fontsize='small')


@contextlib.contextmanager
def figure(title: str, path: pathlib.Path, panels: int = 1) -> Iterator[Sequence[Any]]:
  """The axes of a picture, which is written at the end. The same figures give the same file.

  Args:
    title, path: as in `draw`
    panels: side by side, with the same vertical axis
  """
  import matplotlib

  matplotlib.use('Agg')
  matplotlib.rcParams['svg.hashsalt'] = title
  from matplotlib import pyplot

  picture, axes = pyplot.subplots(1, panels, figsize=(12, 3.6), sharey=True, squeeze=False, constrained_layout=True)
  yield list(axes[0])
  picture.suptitle(title, fontsize='medium')
  picture.savefig(path, metadata={'Date': None} if path.suffix == '.svg' else None, dpi=90)
  pyplot.close(picture)


def _draw_arm(axes: Sequence[Any], color: str, arm: str, of_arm: Sequence[Run]) -> None:
  """The line of an arm, with its band, on each axis."""
  steps, mean, low, high = _band(of_arm)
  seconds = statistics.median([run['seconds_per_step'] or 0.0 for run in of_arm])
  # A line through one measurement would not be seen.
  line = 'o-' if len(steps) == 1 else '-'
  for axis, scale in zip(axes, (1, of_arm[0]['tokens_per_step'] / 1e6, seconds), strict=True):
    axis.plot(steps * scale, mean, line, color=color, label=arm, linewidth=1.2)
    axis.fill_between(steps * scale, low, high, color=color, alpha=0.25, linewidth=0)


def _band(of_arm: Sequence[Run]) -> tuple[np.ndarray, ...]:
  """Steps, and mean, least and greatest loss over the seeds at each of them."""
  steps = [point['step'] for point in of_arm[0]['curve']]
  loss_of = [{point['step']: point['loss'] for point in run['curve']} for run in of_arm]
  losses = np.array([[loss.get(step) for step in steps] for loss in loss_of], dtype=float)
  return np.array(steps), losses.mean(0), losses.min(0), losses.max(0)


def _limits(runs: Runs) -> tuple[float, float]:
  """From just below the least loss to the highest one after a tenth of the steps, where curves still differ."""
  points = [
    [(point['step'], point['loss']) for point in run['curve'] if point['loss'] is not None]
    for of_arm in runs.values()
    for run in of_arm
  ]
  late = [loss for curve in points for step, loss in curve if step >= 0.15 * curve[-1][0] and np.isfinite(loss)]
  if not late:
    return 0.0, 1.0
  margin = 0.05 * (max(late) - min(late)) + 1e-3
  return min(late) - margin, max(late) + margin
