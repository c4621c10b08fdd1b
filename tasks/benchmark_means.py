"""The score of a benchmark: metrics are averaged within a task, then tasks are averaged.

SuperGLUE (arXiv:1905.00537, section 3.3): 8 tasks; CB counts the mean of accuracy and F1, MultiRC that of F1a and exact
match, ReCoRD that of F1 and exact match. GLUE (arXiv:1804.07461): MRPC and QQP count the mean of F1 and accuracy, STS-B
that of both correlations, MNLI that of matched and mismatched pairs; 8 tasks, for WNLI is left out as in T5
(arXiv:1910.10683, section 2.3).
"""

import statistics
from collections.abc import Mapping, Sequence

# Benchmark -> its tasks; tasks in one entry count as one.
BENCHMARKS = {
  'zoo_superglue': tuple(
    (f'zoo_superglue_{name}',) for name in ('boolq', 'cb', 'copa', 'multirc', 'record', 'rte', 'wic', 'wsc')
  ),
  'zoo_glue': (
    *((f'zoo_glue_{name}',) for name in ('cola', 'sst2', 'mrpc', 'qqp', 'stsb', 'qnli', 'rte')),
    ('zoo_glue_mnli', 'zoo_glue_mnli_mismatched'),
  ),
}


def means(metrics: Mapping[str, Sequence[float]]) -> dict[str, float]:
  """The score of every benchmark whose tasks have all been measured; others have none.

  Args:
    metrics: task -> the values of its metrics, in percent
  Returns:
    benchmark -> score
  """
  return {name: _mean(tasks, metrics) for name, tasks in BENCHMARKS.items() if _measured(tasks, metrics)}


def _measured(tasks, metrics):
  return all(metrics.get(task) for together in tasks for task in together)


def _mean(tasks, metrics):
  of_task = lambda task: statistics.fmean(metrics[task])
  return statistics.fmean(statistics.fmean(map(of_task, together)) for together in tasks)
