"""The one number that decides which checkpoint is the best (BEST_METRIC)."""

import statistics
from collections.abc import Mapping, Sequence

from switch_zoo.errors import UserError, did_you_mean
from switch_zoo.launcher import results
from switch_zoo.launcher.results import MetricResult

MEAN = 'mean'


def of_results(measured: Sequence[MetricResult], metric: str | None, counted: Sequence[str] | None) -> float:
  """The score of a validation; higher is better.

  Args:
    measured: all metrics of all tasks, at one step
    metric: as BEST_METRIC; None: the score of the benchmark if the mixture is one, else the mean over tasks of the mean
      of each task's metrics
    counted: the metrics that belong to a mean; None: all
  """
  if metric is None:
    benchmark = results.means(measured)
    return benchmark[0].value if benchmark else _mean(measured, counted)
  sign, name = (-1.0, metric[1:]) if metric.startswith('-') else (1.0, metric)
  return sign * _named(measured, counted)[name]


def check(metric: str, names: Mapping[str, Sequence[str]], counted: Sequence[str] | None) -> None:
  """Checks that a validation measures what BEST_METRIC names.

  Args:
    metric: as BEST_METRIC
    names: task -> the names of its metrics
    counted: as in `of_results`
  Raises:
    UserError: it does not, with the closest names
  """
  measured = [MetricResult(task, name, 0, 0.0) for task, metrics in names.items() for name in metrics]
  valid = _named(measured, counted)
  name = metric.removeprefix('-')
  if name not in valid:
    raise UserError(
      f'BEST_METRIC = "{metric}": a validation measures no "{name}".{did_you_mean(name, valid)} It can be '
      f'{", ".join(sorted(valid))}; with "-" before it where less is better.'
    )


def _named(measured: Sequence[MetricResult], counted: Sequence[str] | None) -> dict[str, float]:
  """What BEST_METRIC can name -> its value: TASK/METRIC, TASK (over its metrics), METRIC (over tasks), means."""
  values = {f'{result.task}/{result.metric}': result.value for result in measured}
  for task in {result.task for result in measured}:
    values[task] = _mean([result for result in measured if result.task == task], counted)
  for name in {result.metric for result in measured}:
    values[name] = statistics.fmean(result.value for result in measured if result.metric == name)
  values |= {result.task: result.value for result in results.means(measured)}
  return values | {MEAN: _mean(measured, counted)}


def _mean(measured: Sequence[MetricResult], counted: Sequence[str] | None) -> float:
  """Over tasks, of the mean of each task's metrics."""
  by_task: dict[str, list[float]] = {}
  for result in measured:
    if counted is None or result.metric in counted:
      by_task.setdefault(result.task, []).append(result.value)
  return statistics.fmean(map(statistics.fmean, by_task.values())) if by_task else float('nan')
