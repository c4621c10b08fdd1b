"""How a training run tells where it is: one line every few steps, or whatever a reporter makes of it."""

import dataclasses
import sys
import time
from collections.abc import Mapping
from typing import Any, Protocol

import gin
import tensorflow.compat.v1 as tf

from switch_zoo import interrupts


@dataclasses.dataclass(frozen=True)
class Record:
  """One reported training step.

  step: the step just done, counted from 1; last_step: the step the run ends with
  loss: the whole loss; cross_entropy: of the targets alone, natural logarithm per token (None: the model has none)
  balance_loss: what the experts add (weighted); tokens_per_second: real input and target tokens
  seconds_left: at the present speed (None: not known yet); exported: name -> value of all the layers exported
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
  """Who is told about a training run."""

  def start(self, first_step: int, last_step: int) -> None:
    """Training begins after `first_step` steps and ends after `last_step`."""

  def step(self, record: Record) -> None:
    """A step was done."""

  def finish(self) -> None:
    """Training ended, also by an interruption."""


class Lines:
  """Prints a line for each record."""

  def __init__(self, file=None):
    self._file = file or sys.stderr

  def start(self, first_step, last_step):
    """Says where the run begins when that is not the beginning."""
    if first_step:
      print(f'Going on after step {first_step:,} of {last_step:,}.', file=self._file, flush=True)

  def step(self, record):
    """Prints the record."""
    print(line(record), file=self._file, flush=True)

  def finish(self):
    """Prints nothing."""


def line(record: Record) -> str:
  """A record as text: 'step 20/100  loss 6.32  cross-entropy 6.28  balance 0.0401  8,210 tokens/s  00:12 left'."""
  parts = [f'step {record.step:,}/{record.last_step:,}', f'loss {record.loss:.4f}']
  if record.cross_entropy is not None:
    parts.append(f'cross-entropy {record.cross_entropy:.4f}')
  if record.balance_loss:
    parts.append(f'balance {record.balance_loss:.4f}')
  if record.tokens_per_second is not None:
    parts.append(f'{record.tokens_per_second:,.0f} tokens/s')
  if record.seconds_left is not None:
    parts.append(f'{duration(record.seconds_left)} left')
  return '  '.join(parts)


def duration(seconds: float) -> str:
  """'01:05', '2:01:05' or '3d 02:01:05'."""
  days, rest = divmod(int(seconds), 24 * 3600)
  hours, rest = divmod(rest, 3600)
  clock = f'{rest // 60:02}:{rest % 60:02}'
  if days:
    return f'{days}d {hours:02}:{clock}'
  return f'{hours}:{clock}' if hours else clock


@gin.configurable('progress', module='launcher')
class Settings:
  """every: steps between reports; seconds: report at the latest after so long."""

  def __init__(self, every=10, seconds=10.0):
    self.every = every
    self.seconds = seconds


class _Run:
  """What the hook needs to know and cannot be told by the Estimator; set by `watch`."""

  reporter: Reporter = Lines()
  last_step: int = 0


def watch(reporter: Reporter | None, last_step: int) -> None:
  """Says who is told about the next training run, and the step it ends with."""
  _Run.reporter = reporter or Lines()
  _Run.last_step = last_step


class Hook(tf.train.SessionRunHook):
  """Reads the loss and what the layers exported, and tells the reporter.

  Exported values cost time to compute, so they are fetched in the steps that are reported only.

  Args:
    loss: <float32>[] the whole loss
    exported: name -> tf.Tensor
  """

  def __init__(self, loss, exported):
    self._fetches = {'loss': loss, 'exported': exported, 'step': tf.train.get_global_step()}
    self._settings = Settings()

  def after_create_session(self, session, coord):
    """Notes the step the run begins with."""
    self._step = int(session.run(self._fetches['step']))
    self._first = self._step
    self._time = self._began = None
    _Run.reporter.start(self._step, _Run.last_step)

  def before_run(self, run_context):
    """Fetches only what will be reported."""
    interrupts.check()
    if self._due():
      return tf.train.SessionRunArgs({k: v for k, v in self._fetches.items() if k != 'step'})
    return None

  def after_run(self, run_context, run_values):
    """Counts the step; reports it when it was fetched."""
    self._step += 1
    if self._time is None:
      # The first step includes one-off work of the runtime: speeds are counted from here.
      self._time = self._began = time.monotonic()
      self._counted_from = self._step
    if run_values.results is not None:
      self._report(run_values.results)

  def end(self, session):
    """Tells the reporter that training is over."""
    _Run.reporter.finish()

  def _due(self):
    step = self._step + 1
    return (
      step == self._first + 1
      or step >= _Run.last_step
      or step % self._settings.every == 0
      or (self._time is not None and time.monotonic() - self._time > self._settings.seconds)
    )

  def _report(self, results):
    now, exported, loss = time.monotonic(), results['exported'], float(results['loss'])
    done = self._step - self._counted_from
    per_step = (now - self._began) / done if done else None
    entropy = exported.get('loss/cross_entropy')
    tokens = exported.get('tokens')
    _Run.reporter.step(
      Record(
        step=self._step,
        last_step=_Run.last_step,
        loss=loss,
        cross_entropy=None if entropy is None else float(entropy),
        balance_loss=None if entropy is None else loss - float(entropy) - float(exported.get('loss/logits_z', 0)),
        tokens_per_second=None if per_step is None or tokens is None else float(tokens) / per_step,
        seconds_left=None if per_step is None else per_step * (_Run.last_step - self._step),
        exported=exported,
      )
    )
    self._time = now
