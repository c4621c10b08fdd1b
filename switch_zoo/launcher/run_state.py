"""The state of one run, and the one place that holds the run in progress.

Released code calls us from deep inside `utils.run` and `MtfModel` (the functions that `replacements` wraps, and
`evaluation_datasets`, which gin names) and passes nothing of ours along. Those entry points ask `current()`; from there
on the Run is handed over as an argument: to the hooks, the metrics and the kept evaluations. Nothing else in the
launcher keeps state of a run.
"""

import contextlib
import contextvars
import dataclasses
from collections.abc import Iterator
from typing import Protocol

from switch_zoo.launcher import results as results_lib
from switch_zoo.launcher.progress import Lines, Reporter
from switch_zoo.launcher.results import MetricResult


class Processes(Protocol):
  """The processes that do a run together: all of them compute, and the first writes and decides."""

  @property
  def is_chief(self) -> bool:
    """Whether this process is the first."""
    ...

  def agreed(self, decision: int) -> int:
    """The decision of the first process; returns when all have called it."""
    ...


class Alone:
  """The only process of a run."""

  is_chief = True

  def agreed(self, decision: int) -> int:
    """Its own decision."""
    return decision


@dataclasses.dataclass
class Run:
  """One training, evaluation or inference.

  reporter: what training is reported to
  last_step: the step that training ends with; 0 if it is not known
  results: what has been measured so far
  evaluated_step: the step of the checkpoint that is being evaluated
  examples: how many are answered, scored or evaluated; None: it is not known
  task: what is trained on, where gin does not say it
  processes: that do the run
  """

  reporter: Reporter = dataclasses.field(default_factory=Lines)
  last_step: int = 0
  results: list[MetricResult] = dataclasses.field(default_factory=list)
  evaluated_step: int = 0
  examples: int | None = None
  task: str | None = None
  processes: Processes = dataclasses.field(default_factory=Alone)

  def all_results(self) -> list[MetricResult]:
    """The results, and the score of each benchmark (`zoo_superglue_mean`) whose tasks were all measured."""
    return [*self.results, *results_lib.means(self.results)]


_CURRENT: contextvars.ContextVar[Run | None] = contextvars.ContextVar('switch_zoo_run', default=None)


@contextlib.contextmanager
def as_current(run: Run) -> Iterator[Run]:
  """Within, `run` is the run in progress."""
  token = _CURRENT.set(run)
  try:
    yield run
  finally:
    _CURRENT.reset(token)


def current() -> Run:
  """The run in progress; outside of one, a new Run, whose results nobody reads."""
  return _CURRENT.get() or Run()
