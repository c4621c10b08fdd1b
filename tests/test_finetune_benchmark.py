"""benchmarks/finetune.py: commands that gin accepts, the best checkpoint's score, and the table."""

import json

import gin
import pytest

from benchmarks import finetune
from benchmarks.experiments import settings
from switch_zoo.launcher import run as launcher_run
from switch_zoo.spec import gin_files


@pytest.fixture
def experiment(tmp_path):
  """A folder as a run of an experiment leaves it."""
  folder = tmp_path / 'runs/switch_4_0'
  (folder / 'trained').mkdir(parents=True)
  (folder / 'model.gin').write_text(settings.switch(4).gin(settings.MINIATURE))
  return folder


def configured(words):
  options = [word.partition('=')[::2] for word in words[1:]]
  files = [value for name, value in options if name == '--gin_file']
  launcher_run.configure(gin_files.read(files, [value for name, value in options if name == '--gin_param']))
  return dict(options)['--model_dir']


def test_a_model_of_an_experiment_is_fine_tuned_in_bytes_and_validated(experiment, tmp_path):
  (model,) = finetune.models(tmp_path, [f'switch={experiment}'])
  (task, *_) = finetune.TASKS
  folder = configured(finetune.finetuning(tmp_path, model, task, 3, 'best'))
  assert folder == str(tmp_path / 'switch/zoo_superglue_cb_3_best')
  query = lambda name: gin.query_parameter(f'%{name}')
  assert (query('INIT_CHECKPOINT'), query('BEST_METRIC')) == (str(experiment / 'trained'), 'zoo_superglue_cb/accuracy')
  assert (query('INPUTS_LENGTH'), query('TARGETS_LENGTH'), query('EVAL_STEPS'), query('SEED')) == (576, 16, 30, 3)
  assert query('TARGETS_LENGTH') > len('contradiction') and query('vocab_size') == 384


def test_a_model_of_the_demo_is_measured_at_its_end(tmp_path):
  model, _ = finetune.models(tmp_path, [])
  task = finetune.TASKS[0]
  folder = configured(finetune.finetuning(tmp_path, model, task, 0, 'last'))
  assert folder == str(tmp_path / 'tiny_switch_8/zoo_superglue_cb_0') and gin.query_parameter('%EVAL_STEPS') is None
  assert configured(finetune.evaluation(tmp_path, model, task, 0)) == folder
  assert gin.query_parameter('%vocab_size') == 4096


def test_the_score_is_that_of_the_best_validation(tmp_path):
  (tmp_path / 'best').mkdir()
  record = {'step': 60, 'metrics': {'zoo_superglue_cb/accuracy': 71.4, 'zoo_superglue_cb/mean_3class_f1': 50.0}}
  (tmp_path / 'best/best.json').write_text(json.dumps(record))
  assert finetune.best_values(tmp_path) == {'accuracy': 71.4, 'mean_3class_f1': 50.0, 'step': 60}


def test_the_table_has_mean_and_deviation():
  results = {'cb': {'rows': 56, 'majority': 50.0, 'a': [60.0, 70.0], 'b': [65.0]}}
  lines = finetune.table(results, ['a', 'b']).splitlines()
  assert lines[2] == '| `cb` | 56 | 50.0 | 65.0 +- 7.1 (60.0 70.0) | 65.0 +- 0.0 (65.0) |'


@pytest.mark.parametrize('text', ['switch', 'switch=/no/such'])
def test_a_folder_that_is_no_run_is_refused(tmp_path, text):
  with pytest.raises(SystemExit, match='give NAME=FOLDER, a folder that benchmarks.experiments wrote'):
    finetune.models(tmp_path, [text])


def test_dropout_rates_are_those_of_the_command(experiment, tmp_path):
  model = finetune.with_dropout(finetune.models(tmp_path, [f'switch={experiment}'])[0], '0,0.3')
  folder = configured(finetune.finetuning(tmp_path, model, finetune.TASKS[0], 0, 'best'))
  assert folder == str(tmp_path / 'switch 0.0 0.3/zoo_superglue_cb_0_best')
  assert (gin.query_parameter('%dropout_rate'), gin.query_parameter('%expert_dropout_rate')) == (0.0, 0.3)


@pytest.mark.parametrize('rates', ['0.1', '0.1,x', '0,0,0'])
def test_other_rates_than_two_are_refused(experiment, tmp_path, rates):
  with pytest.raises(SystemExit, match='give OUTSIDE,INSIDE'):
    finetune.with_dropout(finetune.models(tmp_path, [f'switch={experiment}'])[0], rates)
