"""The metrics of the tasks, all in percent: T5's, and our own where T5's would mislead.

Targets are what the `postprocess_fn` of a task makes of them; None is the target of an example whose label is not
published. Such examples are not measured: a test split gives no number, and its predictions stay in the folder of the
evaluation.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, SupportsFloat

import numpy as np
import sacrebleu
from t5.evaluation import metrics as t5_metrics

# A function of (targets, predictions).
Metric = Callable[[Sequence[Any], Sequence[Any]], Mapping[str, SupportsFloat]]

ROUGE_TYPES = ('rouge1', 'rouge2', 'rougeLsum')


def labelled(metric: Metric) -> Metric:
  """The same metric over the examples that have a target; {} if there are none."""

  @functools.wraps(metric)
  def measure(targets: Sequence[Any], predictions: Sequence[Any]) -> Mapping[str, SupportsFloat]:
    pairs = [pair for pair in zip(targets, predictions, strict=True) if pair[0] is not None]
    return metric(*map(list, zip(*pairs, strict=True))) if pairs else {}

  return measure


accuracy = labelled(t5_metrics.accuracy)
binary_f1 = labelled(t5_metrics.f1_score_with_invalid)
three_class_f1 = labelled(t5_metrics.mean_multiclass_f1(num_classes=3))
matthews = labelled(
  t5_metrics.sklearn_metrics_wrapper('matthews_corrcoef', metric_post_process_fn=lambda value: 100 * value)
)
squad = labelled(t5_metrics.squad)
trivia_qa = labelled(t5_metrics.trivia_qa)


@labelled
def pearson(targets: Sequence[float], predictions: Sequence[float]) -> dict[str, float]:
  """Pearson's correlation; 0 if either side is constant (T5's is NaN there, and so is every mean over it)."""
  return _correlation(t5_metrics.pearson_corrcoef, targets, predictions)


@labelled
def spearman(targets: Sequence[float], predictions: Sequence[float]) -> dict[str, float]:
  """Spearman's correlation of ranks, ties sharing their mean rank; 0 if either side is constant."""
  return _correlation(t5_metrics.spearman_corrcoef, targets, predictions)


@labelled
def multirc_f1(targets: Sequence[tuple[int, Any]], predictions: Sequence[int]) -> Mapping[str, SupportsFloat]:
  """MultiRC's F1a: F1 over all answers of all questions.

  Args:
    targets: (class, question) of each answer
    predictions: class of each answer; one that is neither 0 nor 1 is counted as wrong
  """
  return t5_metrics.f1_score_with_invalid([label for label, _ in targets], predictions)


@labelled
def multirc_exact_match(targets: Sequence[tuple[int, Any]], predictions: Sequence[int]) -> dict[str, float]:
  """MultiRC's EM: the share of questions whose answers are all judged right; arguments as in `multirc_f1`."""
  right: dict[Any, bool] = {}
  for (label, question), prediction in zip(targets, predictions, strict=True):
    right[question] = right.get(question, True) and label == prediction
  return {'exact_match': 100 * float(np.mean(list(right.values())))}


@labelled
def record(targets: Sequence[tuple[list[str], Any]], predictions: Sequence[str]) -> Mapping[str, SupportsFloat]:
  """ReCoRD's exact match and F1, the best over the answers of a query; a query counts once.

  Args:
    targets: (answers, query) of each example; examples of one query have the same inputs, so the first one is used
    predictions: an answer each
  """
  first = {query: index for index, (_, query) in reversed(list(enumerate(targets)))}
  indices = sorted(first.values())
  return t5_metrics.squad([targets[index][0] for index in indices], [predictions[index] for index in indices])


def rouge(targets: Sequence[str], predictions: Sequence[str]) -> dict[str, float]:
  """Mean F-measure of ROUGE-1, ROUGE-2 and summary-level ROUGE-L.

  T5 reports the median of a thousand bootstrap means, which differs from call to call on the same predictions; this is
  the mean around which they scatter. As in T5, ' . ' ends a sentence for ROUGE-Lsum.
  """
  from rouge_score import rouge_scorer  # imports NLTK, which nothing else needs

  scorer = rouge_scorer.RougeScorer(ROUGE_TYPES)
  lines = lambda text: text.replace(' . ', ' .\n')
  scores = [scorer.score(lines(target), lines(text)) for target, text in zip(targets, predictions, strict=True)]
  return {kind: 100 * float(np.mean([score[kind].fmeasure for score in scores])) for kind in ROUGE_TYPES}


def bleu(targets: Sequence[str], predictions: Sequence[str]) -> dict[str, float]:
  """BLEU of sacrebleu with its defaults (13a tokens, exponential smoothing), the scores that papers compare.

  T5's `bleu` uses the tokenizer 'intl' instead; the two differ by tenths of a point.
  """
  return {'bleu': sacrebleu.corpus_bleu(list(predictions), [list(targets)]).score}


def _correlation(
  metric: Callable[..., Mapping[str, SupportsFloat]], targets: Sequence[float], predictions: Sequence[float]
) -> dict[str, float]:
  if min(len(set(targets)), len(set(predictions))) < 2:
    return {metric.__name__: 0.0}
  return {name: float(value) for name, value in metric(targets, predictions).items()}
