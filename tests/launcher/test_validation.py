"""Validation during training: losses as without it, metrics as of runs/eval.gin, the best checkpoint, early ends."""

import json
import os
import subprocess
import sys

import pytest

from switch_zoo.tasks import pydoc_topics, vocabularies

MODEL = ['--gin_file=models/tiny_switch_8.gin', '--gin_file=layouts/cpu.gin']
SIZES = {
  'd_model': 8, 'd_ff': 16, 'd_kv': 4, 'num_heads': 2, 'num_experts': 4, 'num_encoder_layers': 2,
  'num_decoder_layers': 2, 'INPUTS_LENGTH': 32, 'TARGETS_LENGTH': 8, 'BATCH_SIZE': 4, 'vocab_size': 1024,
}  # fmt: skip
TRAINING = {'SEED': 1, 'progress.every': 1, 'SAVE_STEPS': 3, 'KEEP_CHECKPOINTS': 1, 'dropout_rate': 0.1}
# Runs commands in one fresh process. With a list of two, the first is executed before.
DRIVER = """
import contextlib, io, json, os, sys
from switch_zoo import t5_mesh_transformer
results = []
for before, command in json.load(sys.stdin):
  exec(before)
  out = io.StringIO()
  with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
    code = t5_mesh_transformer.main(['t5_mesh_transformer', *command])
  results.append([code, out.getvalue()])
  with open('results.json', 'w') as file:
    json.dump(results, file)
"""
KILLED = """
from switch_zoo.launcher.validation.history import History
released = History.add
History.add = lambda self, validation: os._exit(9) if validation.step == 4 else released(self, validation)
"""


def gin(**settings):
  return [f'--gin_param={name} = {value!r}' for name, value in {**SIZES, **settings}.items()]


def finetune(folder, steps, **settings):
  settings = {'MIXTURE_NAME': 'zoo_demo_topics', 'TRAIN_STEPS': steps, 'INIT_CHECKPOINT': None, **TRAINING, **settings}
  return [f'--model_dir={folder}', *MODEL, '--gin_file=runs/finetune.gin', *gin(**settings)]


def pretrain(folder, steps, **settings):
  settings = {'MIXTURE_NAME': 'zoo_demo_span', 'EVAL_SPLIT': 'train', 'TRAIN_STEPS': steps, **TRAINING, **settings}
  return [f'--model_dir={folder}', *MODEL, '--gin_file=runs/pretrain.gin', *gin(**settings)]


def evaluate(folder, run='eval', **settings):
  return [f'--model_dir={folder}', *MODEL, f'--gin_file=runs/{run}.gin', *gin(**settings)]


TOPICS = {'MIXTURE_NAME': 'zoo_demo_topics', 'EVAL_EXAMPLES': 6}
COMMANDS = {
  'plain': finetune('plain', 5),
  'validated': finetune('validated', 5, EVAL_STEPS=2, **TOPICS),
  'evaluated': evaluate('validated/best', MIXTURE_NAME='zoo_demo_topics', NUM_EXAMPLES=6),
  'first part': finetune('parts', 3, EVAL_STEPS=2, **TOPICS),
  'second part': finetune('parts', 5, EVAL_STEPS=2, **TOPICS),
  'pretrained': pretrain('pretrained', 4, EVAL_STEPS=2, EVAL_EXAMPLES=8, BEST_METRIC='-neg_log_perplexity', PATIENCE=1),
  'again': pretrain('pretrained', 4, EVAL_STEPS=2, EVAL_EXAMPLES=8, BEST_METRIC='-neg_log_perplexity', PATIENCE=1),
  'perplexity': evaluate('pretrained/best', 'perplexity', MIXTURE_NAME='zoo_demo_span', SPLIT='train', NUM_BATCHES=2),
  'no such split': finetune('refused', 5, EVAL_STEPS=2, EVAL_SPLIT='valid'),
  'no such metric': finetune('refused', 5, EVAL_STEPS=2, BEST_METRIC='zoo_demo_topic'),
  'not a number of steps': finetune('refused', 5, EVAL_STEPS=-1),
  'no patience': finetune('refused', 5, EVAL_STEPS=2, PATIENCE=0),
}


def run(commands, folder):
  env = {
    **os.environ,
    vocabularies.DEMO_VARIABLE: str(folder / 'vocabulary.model'),
    'PYTHONWARNINGS': 'ignore',
  }
  command = [sys.executable, '-c', DRIVER]
  done = subprocess.run(command, input=json.dumps(commands), text=True, cwd=folder, env=env, capture_output=True)
  return done, json.loads((folder / 'results.json').read_text()) if (folder / 'results.json').exists() else []


@pytest.fixture(scope='module')
def job(tmp_path_factory):
  """name -> the exit code and the output of a command, and the folder."""
  folder = tmp_path_factory.mktemp('validation')
  vocabularies.train(list(pydoc_topics.documents())[:400], folder / 'vocabulary.model', num_pieces=924)
  done, results = run([['', command] for command in COMMANDS.values()], folder)
  assert done.returncode == 0, done.stderr
  return dict(zip(COMMANDS, results, strict=True)), folder


def succeeded(result):
  assert result[0] == 0, result[1]
  return result[1]


def losses(output):
  lines = [line for line in output.splitlines() if line.startswith('step')]
  return {int(line.split()[1].split('/')[0]): line.split('loss ')[1].split('  ')[:3] for line in lines}


def records(folder, validations):
  lines = [json.loads(line) for line in (folder / 'metrics.jsonl').read_text().splitlines()]
  return {line['step']: line for line in lines if ('validation' in line) == validations}


def table(output):
  """task/metric -> value, of what an evaluation prints."""
  rows = [line.split() for line in output.splitlines() if '(step' in line]
  return {f'{row[0]}/{row[1]}': float(row[2]) for row in rows}


@pytest.mark.slow
class TestTraining:
  def test_its_losses_are_those_without_validation(self, job):
    plain, validated = (losses(succeeded(job[0][name])) for name in ('plain', 'validated'))
    assert len(plain) == 5 and plain == validated

  def test_it_validates_every_second_step_and_the_last(self, job):
    assert list(records(job[1] / 'validated', True)) == [2, 4, 5]
    assert set(records(job[1] / 'validated', False)[1]) >= {'loss', 'learning_rate', 'loss/cross_entropy', 'time'}

  def test_the_best_checkpoint_outlives_the_last_ones(self, job):
    best = json.loads((job[1] / 'validated' / 'best' / 'best.json').read_text())
    scores = {step: record['score'] for step, record in records(job[1] / 'validated', True).items()}
    assert best['score'] == max(scores.values()) and best['step'] == max(scores, key=scores.get)
    assert (job[1] / 'validated' / 'best' / f'model.ckpt-{best["step"]}.index').exists()
    assert [path.stem for path in (job[1] / 'validated').glob('*.index')] == ['model.ckpt-5']
    assert f'Best: step {best["step"]} in validated/best' in job[0]['validated'][1]

  def test_its_metrics_are_those_of_an_evaluation_of_the_best_checkpoint(self, job):
    best = json.loads((job[1] / 'validated' / 'best' / 'best.json').read_text())
    measured = table(succeeded(job[0]['evaluated']))
    assert measured == pytest.approx(best['metrics'], abs=1e-4) and measured

  def test_an_interruption_changes_nothing(self, job):
    output = succeeded(job[0]['first part']) + succeeded(job[0]['second part'])
    assert losses(output) == losses(job[0]['validated'][1])
    whole, parts = (records(job[1] / name, True) for name in ('validated', 'parts'))
    # The end of the first part is validated too, and it is not an end any more.
    assert {step: parts[step]['validation'] for step in whole} == {s: whole[s]['validation'] for s in whole}

  def test_it_ends_early_where_nothing_gets_better(self, job):
    """Negated, so that what training makes better is worse."""
    output = succeeded(job[0]['pretrained'])
    assert list(losses(output)) == [1, 2, 3, 4] and 'Stopping: the last 1 validations were not better' in output
    assert json.loads((job[1] / 'pretrained' / 'best' / 'best.json').read_text())['step'] == 2

  def test_the_same_command_again_trains_no_further(self, job):
    assert not losses(succeeded(job[0]['again']))

  def test_perplexity_is_that_of_an_evaluation(self, job):
    best = json.loads((job[1] / 'pretrained' / 'best' / 'best.json').read_text())
    measured = {name.rpartition('/')[2]: value for name, value in table(succeeded(job[0]['perplexity'])).items()}
    assert measured['neg_log_perplexity'] == pytest.approx(-best['score'], abs=1e-4)

  @pytest.mark.parametrize(
    ('name', 'words'),
    [
      ('no such split', 'no task of zoo_demo_topics has the split "valid" (EVAL_SPLIT). It has: train, validation.'),
      ('no such metric', 'measures no "zoo_demo_topic". Did you mean zoo_demo_topics'),
      ('not a number of steps', 'EVAL_STEPS is -1; in a training it must be a whole number above 0, or None.'),
      ('no patience', 'PATIENCE is 0; it must be a whole number above 0, or None.'),
    ],
  )
  def test_a_mistake_is_found_before_anything_is_written(self, job, name, words):
    code, output = job[0][name]
    assert code == 2 and words in output and not (job[1] / 'refused').exists()

  def test_a_kill_in_a_validation_changes_nothing(self, job, tmp_path):
    (tmp_path / 'vocabulary.model').write_bytes((job[1] / 'vocabulary.model').read_bytes())
    command = finetune('killed', 5, EVAL_STEPS=2, **TOPICS)
    assert run([[KILLED, command]], tmp_path)[0].returncode == 9
    assert list(records(tmp_path / 'killed', True)) == [2]
    results = run([['', command]], tmp_path)[1]
    assert list(losses(succeeded(results[0]))) == [5]
    whole, killed = (records(folder, True) for folder in (job[1] / 'validated', tmp_path / 'killed'))
    assert list(killed) == [2, 4, 5] and {s: r['score'] for s, r in killed.items()} == {
      s: r['score'] for s, r in whole.items()
    }

  def test_the_last_validation_is_made_if_it_was_killed(self, job, tmp_path):
    (tmp_path / 'vocabulary.model').write_bytes((job[1] / 'vocabulary.model').read_bytes())
    command = finetune('killed', 4, EVAL_STEPS=2, **TOPICS)
    assert run([[KILLED, command]], tmp_path)[0].returncode == 9
    assert list(records(tmp_path / 'killed', True)) == [2]
    first, second = run([['', command], ['', command]], tmp_path)[1]
    assert not losses(succeeded(first)) and 'Validating after step 4' in succeeded(first)
    whole, killed = (records(folder, True) for folder in (job[1] / 'validated', tmp_path / 'killed'))
    assert list(killed) == [2, 4] and killed[4]['score'] == whole[4]['score']
    assert 'is already at step 4' in succeeded(second)
