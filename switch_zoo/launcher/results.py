"""What an evaluation measured, as data and as a table."""

import collections
import dataclasses
from collections.abc import Sequence

from switch_zoo.tasks import benchmark_means

# Of all that Mesh-TensorFlow measures by teacher forcing, the values that say how good a model is.
PERPLEXITY = ('neg_log_perplexity', 'token_accuracy', 'sequence_accuracy', 'num_eval_tokens')


@dataclasses.dataclass(frozen=True)
class MetricResult:
  """One metric of one task at one checkpoint, whose step is given."""

  task: str
  metric: str
  step: int
  value: float


def means(results: Sequence[MetricResult]) -> list[MetricResult]:
  """The score of each benchmark, for each checkpoint at which all of the benchmark's tasks were measured."""
  values: dict[int, dict[str, list[float]]] = collections.defaultdict(lambda: collections.defaultdict(list))
  for result in results:
    if result.metric not in PERPLEXITY:
      values[result.step][result.task].append(result.value)
  return [
    MetricResult(f'{name}_mean', 'score', step, mean)
    for step, of_task in values.items()
    for name, mean in benchmark_means.means(of_task).items()
  ]


def table(results: Sequence[MetricResult]) -> str:
  """Results as aligned lines: task, metric, value, step."""
  if not results:
    return 'No task of this mixture has the split, or none has a metric: nothing was evaluated.'
  width = max(len(r.task) for r in results)
  metric_width = max(len(r.metric) for r in results)
  return '\n'.join(
    f'{r.task:<{width}}  {r.metric:<{metric_width}}  {r.value:10.4f}  (step {r.step:,})' for r in results
  )
