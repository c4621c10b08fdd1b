"""What an evaluation of made-up files and predictions returns: the metrics of every task and the benchmark's score."""

import benchmark_files
import pytest
import seqio

from switch_zoo.launcher import evaluation, results, run_state
from switch_zoo.launcher.results import MetricResult
from switch_zoo.tasks import data_folder


@pytest.fixture(autouse=True)
def files(tmp_path, monkeypatch):
  benchmark_files.write_superglue(tmp_path)
  monkeypatch.setenv(data_folder.VARIABLE, str(tmp_path))


def evaluate(mixture, wrong=(), step=500):
  """As the released loop: targets and predictions of every task are postprocessed and measured."""
  with run_state.as_current(run_state.Run(evaluated_step=step)) as run:
    datasets = evaluation.evaluation_datasets(
      mixture_or_task_name=mixture, sequence_length=None, dataset_split='validation'
    )
  for dataset in datasets:
    examples = validation_examples(seqio.TaskRegistry.get(dataset.name))
    targets = [dataset.postprocess_fn(one['targets'], example=one, is_target=True) for one in examples]
    said = ['nonsense' if dataset.name in wrong else one['targets'] for one in examples]
    if dataset.name == 'zoo_superglue_wsc':
      said = ['Pete' for _ in examples]  # what 'He' stands for in both
    predictions = [dataset.postprocess_fn(text, example=one) for text, one in zip(said, examples, strict=True)]
    for metric in dataset.metric_fns:
      metric(targets, predictions)
  return run.all_results()


def validation_examples(task):
  rows = task.source.examples('validation')
  return [{**row, 'targets_pretokenized': row['targets'].encode()} for row in rows]


def test_a_mixture_ends_with_its_mean():
  measured = evaluate('zoo_superglue')
  assert measured[-1] == MetricResult('zoo_superglue_mean', 'score', 500, 100.0)
  assert [(r.task, r.metric) for r in measured[:-1]] == [
    ('zoo_superglue_boolq', 'accuracy'),
    ('zoo_superglue_cb', 'accuracy'),
    ('zoo_superglue_cb', 'mean_3class_f1'),
    ('zoo_superglue_copa', 'accuracy'),
    ('zoo_superglue_multirc', 'f1'),
    ('zoo_superglue_multirc', 'exact_match'),
    ('zoo_superglue_record', 'em'),
    ('zoo_superglue_record', 'f1'),
    ('zoo_superglue_rte', 'accuracy'),
    ('zoo_superglue_wic', 'accuracy'),
    ('zoo_superglue_wsc', 'accuracy'),
  ]


def test_the_table_shows_the_mean():
  # Two tasks of eight are all wrong.
  lines = results.table(evaluate('zoo_superglue', wrong=('zoo_superglue_boolq', 'zoo_superglue_record'))).split('\n')
  assert lines[0] == 'zoo_superglue_boolq    accuracy            0.0000  (step 500)'
  assert lines[-1] == 'zoo_superglue_mean     score              75.0000  (step 500)'


def test_one_task_has_no_mean():
  assert evaluate('zoo_superglue_rte') == [MetricResult('zoo_superglue_rte', 'accuracy', 500, 100.0)]


def test_every_checkpoint_has_its_mean():
  first = evaluate('zoo_superglue', step=1)
  second = evaluate('zoo_superglue', wrong=('zoo_superglue_rte',), step=2)
  assert [(r.step, r.value) for r in results.means(first[:-1] + second[:-1])] == [(1, 100.0), (2, 87.5)]


def test_a_perplexity_is_no_metric_of_a_benchmark():
  tasks = {one.name for one in seqio.get_mixture_or_task('zoo_superglue').tasks}
  measured = [MetricResult(task, metric, 1, 5.0) for task in tasks for metric in results.PERPLEXITY]
  assert results.means(measured) == []
