"""How a training run reports its progress: one line every few steps, or whatever a reporter does with the figures."""

import dataclasses
import sys
import time
from collections.abc import Mapping
from typing import Any, Protocol, TextIO

import gin
import tensorflow.compat.v1 as tf

from switch_zoo import interrupts
from switch_zoo.errors import UserError
from switch_zoo.work_progress import duration

# What a student's loss exports -> what a line calls it.
_OF_DISTILLATION = {'loss/soft_cross_entropy': 'soft', 'loss/teacher_cross_entropy': 'teacher'}


@dataclasses.dataclass(frozen=True)
class StepReport:
  """One reported training step.

  step: the step that has just been done, counted from 1
  last_step: the step that the run ends with
  loss: the whole loss
  cross_entropy: of the targets alone, natural logarithm per token; None if the model does not export it
  balance_loss: the sum of the losses that layers with experts add (balance, router_z, ...), each weighted as it enters
    the loss; None if no layer exports one
  tokens_per_second: real input and target tokens; None if not known yet
  seconds_left: at the present speed; None if not known yet
  exported: name -> value of everything the layers exported
  """

  step: int
  last_step: int
  loss: float
  cross_entropy: float | None
  balance_loss: float | None
  tokens_per_second: float | None
  seconds_left: float | None
  exported: Mapping[str, Any]


class Reporter(Protocol):
  """Receives the reports of a training run."""

  def start(self, first_step: int, last_step: int) -> None:
    """Training begins after `first_step` steps and ends after `last_step`."""

  def step(self, record: StepReport) -> None:
    """A step was done."""

  def finish(self) -> None:
    """Training ended, also by an interruption."""


def note(reporter: Reporter, text: str) -> None:
  """Prints a sentence, unless the reporter draws on the whole terminal."""
  if isinstance(reporter, Lines):
    reporter.note(text)


class Lines:
  """Prints a line for each report."""

  def __init__(self, file: TextIO | None = None) -> None:
    self._file = file or sys.stderr

  def start(self, first_step: int, last_step: int) -> None:
    """Prints where a resumed run begins."""
    if first_step:
      print(f'Resuming after step {first_step:,} of {last_step:,}.', file=self._file, flush=True)

  def note(self, text: str) -> None:
    """Prints a sentence."""
    print(text, file=self._file, flush=True)

  def step(self, record: StepReport) -> None:
    """Prints the report."""
    print(line(record), file=self._file, flush=True)

  def finish(self) -> None:
    """Prints nothing."""


def line(report: StepReport) -> str:
  """A report as text: 'step 20/100  loss 6.32  cross-entropy 6.28  balance 0.0401  8,210 tokens/s  00:12 left'."""
  parts = [f'step {report.step:,}/{report.last_step:,}', f'loss {report.loss:.4f}']
  if report.cross_entropy is not None:
    parts.append(f'cross-entropy {report.cross_entropy:.4f}')
  for name, words in _OF_DISTILLATION.items():
    if name in report.exported:
      parts.append(f'{words} {float(report.exported[name]):.4f}')
  if report.balance_loss:
    parts.append(f'balance {report.balance_loss:.4f}')
  if report.tokens_per_second is not None:
    parts.append(f'{report.tokens_per_second:,.0f} tokens/s')
  if report.seconds_left is not None:
    parts.append(f'{duration(report.seconds_left)} left')
  return '  '.join(parts)


def experts_loss(exported: Mapping[str, Any]) -> float | None:
  """The sum of the losses that layers exported as '<scope of the layer>/loss/<name>'; None if there are none.

  The model's own losses ('loss/cross_entropy', 'loss/logits_z') have no scope and are not counted.
  """
  losses = [float(value) for name, value in exported.items() if '/loss/' in name]
  return sum(losses) if losses else None


@gin.configurable('progress', module='launcher')  # pyright: ignore[reportCallIssue] - gin has no types
class ProgressSettings:
  """How often progress is reported.

  every: steps between reports
  seconds: a report is made after this long at the latest
  """

  def __init__(self, every: int = 10, seconds: float = 10.0) -> None:
    self.every = every
    self.seconds = seconds


class Hook(tf.train.SessionRunHook):
  """Reads the loss and what the layers exported, and passes them to the reporter.

  They are fetched in every step, reported or not: see `summary_hook`.

  Args:
    loss: <float32>[] the whole loss
    exported: name -> tf.Tensor
    reporter: receives the reports
    last_step: the step that training ends with
  """

  def __init__(self, loss: tf.Tensor, exported: Mapping[str, tf.Tensor], reporter: Reporter, last_step: int) -> None:
    self._fetches = {'loss': loss, 'exported': exported}
    self._global_step = tf.train.get_global_step()
    self._reporter = reporter
    self._last_step = last_step
    self._settings = ProgressSettings()
    # The last step done, and the step and the time from which speed is measured.
    self._step = self._first = self._measured_from = 0
    self._began: float | None = None
    self._reported: float | None = None
    self._excluded = 0.0

  def after_create_session(self, session: Any, coord: Any) -> None:
    """Reads the step that the run begins with."""
    self._step = self._first = int(session.run(self._global_step))
    self._began = self._reported = None
    self._reporter.start(self._step, self._last_step)
    note(self._reporter, 'Preparing the graph and reading the first batch; later steps are faster than the first.')

  def before_run(self, run_context: Any) -> tf.train.SessionRunArgs:
    """Fetches what may be reported."""
    interrupts.check()
    return tf.train.SessionRunArgs(self._fetches)

  def after_run(self, run_context: Any, run_values: Any) -> None:
    """Counts the step, and reports it if it is time to."""
    due = self._due()
    self._step += 1
    if self._began is None:
      # The first step includes one-off work of the runtime, so speed is measured from its end.
      self._began = self._reported = time.monotonic()
      self._measured_from = self._step
    if due:
      self._report(run_values.results)

  def end(self, session: Any) -> None:
    """Tells the reporter that training is over.

    Raises:
      UserError: it is over because there is no more data
    """
    self._reporter.finish()
    if self._step < self._last_step:
      raise UserError(
        f'The training data ended after step {self._step:,} of {self._last_step:,}: the task gives no more examples. '
        'Check that its files contain rows, and that its dataset is repeated (num_epochs=None).'
      )

  def exclude(self, seconds: float) -> None:
    """Leaves time that was not spent on training out of the speed."""
    self._excluded += seconds
    if self._began is not None and self._reported is not None:
      self._began += seconds
      self._reported += seconds

  def clock(self) -> float:
    """Seconds, without those that were not spent on training."""
    return time.monotonic() - self._excluded

  def end_here(self) -> None:
    """Makes the last step that was done the one that training ends with."""
    self._last_step = self._step

  def _due(self) -> bool:
    step = self._step + 1
    return (
      step == self._first + 1
      or step >= self._last_step
      or step % self._settings.every == 0
      or (self._reported is not None and time.monotonic() - self._reported > self._settings.seconds)
    )

  def _report(self, values: Mapping[str, Any]) -> None:
    exported, per_step = values['exported'], self._seconds_per_step()
    entropy, tokens = exported.get('loss/cross_entropy'), exported.get('tokens')
    self._reporter.step(
      StepReport(
        step=self._step,
        last_step=self._last_step,
        loss=float(values['loss']),
        cross_entropy=None if entropy is None else float(entropy),
        balance_loss=experts_loss(exported),
        tokens_per_second=None if per_step is None or tokens is None else float(tokens) / per_step,
        seconds_left=None if per_step is None else per_step * (self._last_step - self._step),
        exported=exported,
      )
    )
    self._reported = time.monotonic()

  def _seconds_per_step(self) -> float | None:
    """On average since the first step; None until a second one has been done."""
    steps = self._step - self._measured_from
    return (time.monotonic() - self._began) / steps if steps and self._began is not None else None
