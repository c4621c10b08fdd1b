"""The metrics that `zoo_file.metrics` can name."""

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import SupportsFloat

from switch_zoo.errors import UserError, did_you_mean
from switch_zoo.tasks import metrics

# A metric of (lists of answers, predictions), in percent.
AnswersMetric = Callable[[Sequence[Sequence[str]], Sequence[str]], Mapping[str, SupportsFloat]]


def macro_f1(targets: Sequence[str], predictions: Sequence[str]) -> dict[str, float]:
  """The mean over the targets' labels of the F1 of each."""
  import sklearn.metrics  # half a second, which only this metric is worth

  labels = sorted(set(targets))
  score = sklearn.metrics.f1_score(
    targets,
    predictions,
    labels=labels,
    average='macro',
    zero_division=0,  # pyright: ignore[reportArgumentType] - scikit-learn has no types, and a str by default
  )
  return {'macro_f1': 100 * float(score)}


def _first_answer(metric: metrics.Metric) -> AnswersMetric:
  """A metric that compares with one answer: the first."""
  return lambda targets, predictions: metric([answers[0] for answers in targets], predictions)


def _numbers(metric: metrics.Metric) -> AnswersMetric:
  """A metric of numbers; text that is not a number counts as -1, as in T5."""

  def number(text: str) -> float:
    try:
      return float(text)
    except ValueError:
      return -1.0

  return lambda targets, predictions: metric([number(a[0]) for a in targets], list(map(number, predictions)))


def _part(metric: metrics.Metric, key: str) -> AnswersMetric:
  return lambda targets, predictions: {key: metric(targets, predictions)[key]}


# `exact_match`, `f1` and `squad` (both of them) compare words without articles and punctuation with the best of the
# answers, as SQuAD does.
METRICS: dict[str, AnswersMetric] = {
  'accuracy': _first_answer(metrics.accuracy),
  'bleu': _first_answer(metrics.bleu),
  'exact_match': _part(metrics.squad, 'em'),
  'f1': _part(metrics.squad, 'f1'),
  'macro_f1': _first_answer(macro_f1),
  'matthews': _first_answer(metrics.matthews),
  'pearson': _numbers(metrics.pearson),
  'rouge': _first_answer(metrics.rouge),
  'spearman': _numbers(metrics.spearman),
  'squad': metrics.squad,
  'trivia_qa': metrics.trivia_qa,
}


def functions(names: Iterable[str]) -> list[AnswersMetric]:
  """The metrics of these names, as functions of `targets` and `predictions`.

  Raises:
    UserError: one does not exist, with the closest names
  """
  for name in names:
    if name not in METRICS:
      known = f'There are: {", ".join(METRICS)}.'
      raise UserError(f'zoo_file.metrics: there is no metric "{name}".{did_you_mean(name, METRICS)} {known}')
  # seqio wants functions that take targets and predictions by these names.
  return [functools.wraps(_measure)(functools.partial(_measure, METRICS[name])) for name in names]


def _measure(
  metric: AnswersMetric, targets: Sequence[Sequence[str]], predictions: Sequence[str]
) -> Mapping[str, SupportsFloat]:
  return metric(targets, predictions)
