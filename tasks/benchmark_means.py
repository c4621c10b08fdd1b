"""The score of a benchmark: metrics are averaged within a task, then over tasks.

SuperGLUE (arXiv:1905.00537, section 3.3): 8 tasks; CB counts with the mean of accuracy and F1, MultiRC with that of F1a
and exact match, ReCoRD with that of F1 and exact match. GLUE (arXiv:1804.07461): MRPC and QQP count with the mean of F1
and accuracy, STS-B with that of both correlations, MNLI with that of matched and mismatched pairs; 8 tasks, as WNLI is
left out as in T5 (arXiv:1910.10683, section 2.3).
"""

import statistics
from collections.abc import Mapping, Sequence

# Groups of tasks; those in one group count as one.
_Groups = tuple[tuple[str, ...], ...]
# Benchmark -> its tasks.
BENCHMARKS: dict[str, _Groups] = {
  'zoo_superglue': tuple(
    (f'zoo_superglue_{name}',) for name in ('boolq', 'cb', 'copa', 'multirc', 'record', 'rte', 'wic', 'wsc')
  ),
  'zoo_glue': (
    *((f'zoo_glue_{name}',) for name in ('cola', 'sst2', 'mrpc', 'qqp', 'stsb', 'qnli', 'rte')),
    ('zoo_glue_mnli', 'zoo_glue_mnli_mismatched'),
  ),
}


def means(metrics: Mapping[str, Sequence[float]]) -> dict[str, float]:
  """The score of every benchmark whose tasks have all been measured; other benchmarks are left out.

  Args:
    metrics: task -> the values of its metrics, in percent
  Returns:
    benchmark -> score
  """
  return {name: _mean(groups, metrics) for name, groups in BENCHMARKS.items() if _measured(groups, metrics)}


def _measured(groups: _Groups, metrics: Mapping[str, Sequence[float]]) -> bool:
  return all(metrics.get(task) for group in groups for task in group)


def _mean(groups: _Groups, metrics: Mapping[str, Sequence[float]]) -> float:
  task_mean = lambda task: statistics.fmean(metrics[task])
  return statistics.fmean(statistics.fmean(map(task_mean, group)) for group in groups)
