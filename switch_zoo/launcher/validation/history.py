"""What the validations of a training measured so far, and whether a better one can still be expected."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from switch_zoo.launcher import metrics_file
from switch_zoo.launcher.validation import best


@dataclasses.dataclass(frozen=True)
class Validation:
  """One validation.

  step: that it was made after
  score: higher is better
  metrics: TASK/METRIC -> value
  seconds: that it took
  """

  step: int
  score: float
  metrics: Mapping[str, float]
  seconds: float


class History:
  """The validations of a training, in `metrics.jsonl`, and the step of the best one."""

  def __init__(self, model_dir: str, step: int, is_written: bool = True) -> None:
    """
    Args:
      model_dir: the folder of the training
      step: that it resumes from; what was measured later will be measured again
      is_written: whether validations are added to the file; False: another process does that
    """
    self._model_dir, self._is_written = model_dir, is_written
    self.validations = [validation for validation in _read(model_dir) if validation.step <= step]
    record = best.read(model_dir)
    # Without metrics.jsonl, the best checkpoint still says how good it was.
    self.best: Validation | None = _best([*self.validations, *([_of_best(record)] if record else [])])

  def add(self, validation: Validation) -> None:
    """Adds a validation."""
    self.validations.append(validation)
    values = {'validation': dict(validation.metrics), 'score': validation.score, 'seconds': validation.seconds}
    if self._is_written:
      metrics_file.append(self._model_dir, validation.step, values)

  def is_best(self, validation: Validation) -> bool:
    """Whether a validation is better than all before; then it is the best one from now on."""
    better = not math.isnan(validation.score) and (self.best is None or validation.score > self.best.score)
    if better:
      self.best = validation
    return better

  def since_best(self) -> int:
    """Validations after the best one; all, if none measured a number."""
    best_step = self.best.step if self.best else 0
    return sum(validation.step > best_step for validation in self.validations)


def stopped_early(model_dir: str, step: int, patience: int | None) -> bool:
  """Whether a training that has done this many steps ended because no validation was better for too long."""
  history = History(model_dir, step)
  return patience is not None and history.since_best() >= patience


def owes(model_dir: str, step: int, every: int | None) -> bool:
  """Whether a training with validations was killed before that of this step, its last one, was made."""
  return every is not None and all(validation.step != step for validation in History(model_dir, step).validations)


def table(history: History) -> str:
  """The validations as lines, and the best one: 'step 200  score 71.4286  4.1 s  best'."""
  lines = [
    f'  step {v.step:>9,}  score {v.score:10.4f}  {v.seconds:8.1f} s{"  best" if _same(v, history.best) else ""}'
    for v in history.validations
  ]
  return '\n'.join(['Validations:', *lines])


def _same(validation: Validation, other: Validation | None) -> bool:
  return other is not None and validation.step == other.step


def _best(validations: Sequence[Validation]) -> Validation | None:
  """The best one; of equal ones the first."""
  known = [validation for validation in validations if not math.isnan(validation.score)]
  return max(known, key=lambda validation: (validation.score, -validation.step), default=None)


def _read(model_dir: str) -> list[Validation]:
  records = [record for record in metrics_file.read(model_dir) if 'validation' in record]
  return [_validation(record['step'], record['score'], record['validation'], record['seconds']) for record in records]


def _of_best(record: Mapping[str, Any]) -> Validation:
  return _validation(record['step'], record['score'], record['metrics'], record['seconds'])


def _validation(step: int, score: float | None, metrics: Mapping[str, Any], seconds: float) -> Validation:
  """A record as read; what was not a number is null in it."""
  number = lambda value: float('nan') if value is None else float(value)
  return Validation(step, number(score), {name: number(value) for name, value in metrics.items()}, seconds)
