"""What each phase of the demo asks the launcher for, and what it makes of the answer, without training anything."""

import io
import json
import subprocess
import types

import pytest
from rich.console import Console

from switch_zoo.demo import phases
from switch_zoo.demo.budget import DemoBudget
from switch_zoo.demo.folder import open_folder
from switch_zoo.spec import gin_files
from switch_zoo.tasks import pydoc_topics

BUDGET = DemoBudget()
CURVE = [{'step': step, 'loss': 9.0 - step, 'cross_entropy': 8.0 - step, 'load': {}} for step in range(1, 8)]


class FakeLauncher:
  """Stands in for `launcher.run.run`: keeps each call, and gives the model in `model_dir` its accuracy."""

  def __init__(self):
    self.calls = []
    self.accuracy = {}

  def __call__(self, model_dir, files, params, reporter=None):
    read = gin_files.read(files, params)
    read.check()
    self.calls.append(types.SimpleNamespace(model_dir=model_dir, files=files, read=read))
    if reporter:
      reporter._curve.write_text(''.join(json.dumps(row) + '\n' for row in CURVE))
    result = types.SimpleNamespace(metric='accuracy', value=self.accuracy.get(model_dir))
    return [types.SimpleNamespace(metric='other', value=-1), result]

  def value(self, key):
    return self.calls[-1].read.value(key)


@pytest.fixture
def launcher(monkeypatch):
  launcher = FakeLauncher()
  monkeypatch.setattr(phases, 'run', launcher)
  return launcher


@pytest.fixture
def demo(tmp_path):
  with open_folder(tmp_path / 'demo', 7, BUDGET) as folder:
    yield phases.Demo(folder, 7, BUDGET, Console(file=io.StringIO()))


@pytest.mark.parametrize(
  ('phase', 'folder', 'run_file', 'task'),
  [
    ('pretrain', 'pretrained', 'runs/pretrain.gin', 'zoo_demo_span'),
    ('finetune', 'finetuned', 'runs/finetune.gin', 'zoo_demo_topics'),
    ('finetune_random', 'finetuned_from_random', 'runs/finetune.gin', 'zoo_demo_topics'),
  ],
)
def test_a_training_gets_its_budget_and_the_seed(launcher, demo, phase, folder, run_file, task):
  work = next(each.work for each in phases.PHASES if each.name == phase)
  measured = work(demo)
  budget = BUDGET.pretrain if phase == 'pretrain' else BUDGET.finetune
  (call,) = launcher.calls
  assert call.model_dir == str(demo.folder.path / folder)
  assert call.files == ['models/tiny_switch_8.gin', run_file, 'layouts/cpu.gin']
  assert launcher.value('MIXTURE_NAME') == task and launcher.value('SEED') == 7
  assert launcher.value('utils.run.train_steps') == budget.steps
  assert launcher.value('utils.run.save_checkpoints_steps') == budget.save_steps
  assert launcher.value('utils.run.sequence_length') == {
    'inputs': budget.inputs_length,
    'targets': budget.targets_length,
  }
  assert launcher.value('demo_vocabulary_file.path') == str(demo.folder.vocabulary)
  # The mean of 8 - step over the last five records, steps 3 to 7.
  assert measured == {'steps': 7, 'first_cross_entropy': 7.0, 'cross_entropy': 3.0, 'loss': 2.0}


def test_the_two_finetunings_differ_in_their_first_weights_only(launcher, demo):
  phases.finetune(demo)
  phases.finetune_from_random(demo)
  with_pretraining, without = ({k: b.value for k, b in call.read.bindings.items()} for call in launcher.calls)
  assert with_pretraining.pop('INIT_CHECKPOINT') == str(demo.folder.pretrained)
  assert without.pop('INIT_CHECKPOINT') is None
  assert with_pretraining == without


def test_the_learning_rate_falls_linearly_from_that_of_the_budget(launcher, demo):
  phases.pretrain(demo)
  noam = lambda name: launcher.value(f'learning_rate_schedule_noam.{name}')
  assert noam('linear_decay_fraction') == 1.0 and noam('warmup_steps') > BUDGET.pretrain.steps
  assert noam('multiplier') / noam('warmup_steps') ** 0.5 == pytest.approx(BUDGET.pretrain.learning_rate)


def test_the_reporter_is_finished_even_if_training_fails(demo, monkeypatch):
  finished = []
  monkeypatch.setattr(phases.progress.TrainingProgress, 'finish', lambda self: finished.append(self))

  def fail(*args, **kwargs):
    raise RuntimeError('no more memory')

  monkeypatch.setattr(phases, 'run', fail)
  with pytest.raises(RuntimeError, match='no more memory'):
    phases.pretrain(demo)
  assert len(finished) == 1


def test_the_evaluation_compares_both_models_with_the_most_frequent_section(launcher, demo):
  launcher.accuracy = {str(demo.folder.finetuned): 50.0, str(demo.folder.from_random): 30.0}
  measured = phases.evaluate(demo)
  sections = [row.section for row in pydoc_topics.rows('validation')]
  assert (measured['pretrained'], measured['from_random']) == (50.0, 30.0)
  assert measured['majority'] == 100 * max(map(sections.count, sections)) / len(sections)
  assert sections.count(measured['majority_section']) == max(map(sections.count, sections))
  assert launcher.value('utils.run.batch_size') == ('sequences_per_batch', BUDGET.eval_batch_size)


def test_an_export_removes_what_an_interrupted_one_left(launcher, demo, monkeypatch):
  (demo.folder.export / 'temp-1').mkdir(parents=True)

  def export(*args, **kwargs):
    assert not demo.folder.export.exists()
    (demo.folder.export / '17' / 'variables').mkdir(parents=True)
    (demo.folder.export / '17' / 'variables' / 'data').write_bytes(bytes(1_250_000))
    return launcher(*args, **kwargs)

  monkeypatch.setattr(phases, 'run', export)
  assert phases.export(demo) == {'folder': '17', 'megabytes': 1.2}
  assert launcher.value('utils.run.mode') == 'export_infer'
  assert launcher.value('utils.run.export_path') == str(demo.folder.export)


def answer(**fields):
  """Stands in for subprocess.run of `ask.py`."""
  done = {'returncode': 0, 'stdout': json.dumps({'answers': ['strings'], 'foreign': [], **fields}), 'stderr': ''}
  return lambda command, **kwargs: subprocess.CompletedProcess(command, **done)


def test_the_question_is_a_short_held_out_paragraph_chosen_by_the_seed(demo, monkeypatch):
  monkeypatch.setattr(phases.subprocess, 'run', answer())
  demo.folder.keep('export', {'folder': '17'})
  first, again, other = phases.ask(demo), phases.ask(demo), phases.ask(demo._replace(seed=8))
  assert first == again and first['request'] != other['request'] and first['answer'] == 'strings'
  held_out = {f'section: {row.text}': row.section for row in pydoc_topics.rows('validation')}
  assert held_out[first['request']] == first['section'] and len(first['request']) <= 300 + len('section: ')


def test_a_model_that_needs_what_trained_it_is_refused(demo, monkeypatch):
  monkeypatch.setattr(phases.subprocess, 'run', answer(foreign=['t5']))
  with pytest.raises(RuntimeError, match=r"needs \['t5'\], but must load with TensorFlow alone"):
    phases.ask_saved_model(demo.folder.export, ['a text'])
