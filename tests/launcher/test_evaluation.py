"""What an evaluation tells of made-up files and predictions: the metrics of every task and the benchmark's score."""

import benchmark_files
import pytest
import seqio

from switch_zoo.launcher import evaluation
from switch_zoo.launcher.evaluation import Result
from switch_zoo.tasks import data_folder


@pytest.fixture(autouse=True)
def files(tmp_path, monkeypatch):
  benchmark_files.write_superglue(tmp_path)
  monkeypatch.setenv(data_folder.VARIABLE, str(tmp_path))
  monkeypatch.setattr(evaluation._Last, 'step', 500)
  evaluation.take_results()


def evaluate(mixture, wrong=()):
  """As the released loop: targets and predictions of every task are postprocessed and measured."""
  for dataset in evaluation.evaluation_datasets(
    mixture_or_task_name=mixture, sequence_length=None, dataset_split='validation'
  ):
    examples = validation_examples(seqio.TaskRegistry.get(dataset.name))
    targets = [dataset.postprocess_fn(one['targets'], example=one, is_target=True) for one in examples]
    said = ['nonsense' if dataset.name in wrong else one['targets'] for one in examples]
    if dataset.name == 'zoo_superglue_wsc':
      said = ['Pete' for _ in examples]  # what 'He' stands for in both
    predictions = [dataset.postprocess_fn(text, example=one) for text, one in zip(said, examples, strict=True)]
    for metric in dataset.metric_fns:
      metric(targets, predictions)
  return evaluation.take_results()


def validation_examples(task):
  rows = task.source.examples('validation')
  return [{**row, 'targets_pretokenized': row['targets'].encode()} for row in rows]


def test_a_mixture_ends_with_its_mean():
  results = evaluate('zoo_superglue')
  assert results[-1] == Result('zoo_superglue_mean', 'score', 500, 100.0)
  assert [(r.task, r.metric) for r in results[:-1]] == [
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
  lines = evaluation.table(evaluate('zoo_superglue', wrong=('zoo_superglue_boolq', 'zoo_superglue_record'))).split('\n')
  assert lines[0] == 'zoo_superglue_boolq    accuracy            0.0000  (step 500)'
  assert lines[-1] == 'zoo_superglue_mean     score              75.0000  (step 500)'


def test_one_task_has_no_mean():
  assert evaluate('zoo_superglue_rte') == [Result('zoo_superglue_rte', 'accuracy', 500, 100.0)]


def test_every_checkpoint_has_its_mean(monkeypatch):
  monkeypatch.setattr(evaluation, '_Last', type('Last', (), {'results': [], 'step': 1}))
  first = evaluate('zoo_superglue')
  evaluation._Last.step = 2
  second = evaluate('zoo_superglue', wrong=('zoo_superglue_rte',))
  assert [(r.step, r.value) for r in evaluation.means(first[:-1] + second[:-1])] == [(1, 100.0), (2, 87.5)]


def test_a_perplexity_is_no_metric_of_a_benchmark():
  tasks = {one.name for one in seqio.get_mixture_or_task('zoo_superglue').tasks}
  results = [Result(task, metric, 1, 5.0) for task in tasks for metric in evaluation.PERPLEXITY]
  assert evaluation.means(results) == []
