"""The scores of the benchmarks, by hand."""

import pytest
import seqio

import switch_zoo.tasks  # noqa: F401
from switch_zoo.tasks import benchmark_means

SUPERGLUE = {
  'zoo_superglue_boolq': [80.0],
  'zoo_superglue_cb': [90.0, 70.0],  # 80
  'zoo_superglue_copa': [60.0],
  'zoo_superglue_multirc': [70.0, 20.0],  # 45
  'zoo_superglue_record': [75.0, 76.0],  # 75.5
  'zoo_superglue_rte': [81.5],
  'zoo_superglue_wic': [66.0],
  'zoo_superglue_wsc': [72.0],
}
GLUE = {
  'zoo_glue_cola': [50.0],
  'zoo_glue_sst2': [90.0],
  'zoo_glue_mrpc': [88.0, 84.0],  # 86
  'zoo_glue_qqp': [87.0, 91.0],  # 89
  'zoo_glue_stsb': [85.0, 84.0],  # 84.5
  'zoo_glue_mnli': [80.0],  # with mismatched 81
  'zoo_glue_mnli_mismatched': [82.0],
  'zoo_glue_qnli': [88.0],
  'zoo_glue_rte': [71.5],
}


def test_superglue():
  # (80 + 80 + 60 + 45 + 75.5 + 81.5 + 66 + 72) / 8
  assert benchmark_means.means(SUPERGLUE) == {'zoo_superglue': 70.0}


def test_glue_counts_mnli_once_and_wnli_not_at_all():
  # (50 + 90 + 86 + 89 + 84.5 + 81 + 88 + 71.5) / 8
  assert benchmark_means.means({**GLUE, 'zoo_glue_wnli': [0.0]}) == {'zoo_glue': 80.0}


@pytest.mark.parametrize('missing', ['zoo_glue_mnli_mismatched', 'zoo_glue_cola'])
def test_no_score_without_every_task(missing):
  assert benchmark_means.means({task: values for task, values in GLUE.items() if task != missing}) == {}
  assert benchmark_means.means({**GLUE, missing: []}) == {}


@pytest.mark.parametrize('benchmark', list(benchmark_means.BENCHMARKS))
def test_the_mixture_has_the_tasks_of_the_score(benchmark):
  tasks = {task for together in benchmark_means.BENCHMARKS[benchmark] for task in together}
  assert {task.name for task in seqio.get_mixture_or_task(benchmark).tasks} == tasks


def test_every_task_has_the_number_of_metrics_of_its_benchmark():
  for task, values in {**SUPERGLUE, **GLUE}.items():
    metrics = seqio.TaskRegistry.get(task).metric_fns
    # ReCoRD's one function measures both.
    assert len(metrics) == (1 if task == 'zoo_superglue_record' else len(values)), task
