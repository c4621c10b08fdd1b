"""A training that was interrupted, and whose folder something happened to: what the same command does then."""

import json
import os
import subprocess
import sys

import pytest

from switch_zoo.tasks import pydoc_topics, vocabularies

MODEL = ['--gin_file=models/tiny_switch_8.gin', '--gin_file=layouts/cpu.gin']
SIZES = {
  'd_model': 8, 'd_ff': 16, 'd_kv': 4, 'num_heads': 2, 'num_experts': 4, 'num_encoder_layers': 2,
  'num_decoder_layers': 2, 'INPUTS_LENGTH': 32, 'TARGETS_LENGTH': 16, 'BATCH_SIZE': 4, 'SAVE_STEPS': 2, 'SEED': 1,
  'dropout_rate': 0.1, 'expert_dropout_rate': 0.1, 'progress.every': 1,
}  # fmt: skip
# Runs commands in one fresh process; a text is a Python statement that is executed between them.
DRIVER = """
import contextlib, io, json, pathlib, resource, sys
from switch_zoo import t5_mesh_transformer
def largest_file(nbytes):
  hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
  resource.setrlimit(resource.RLIMIT_FSIZE, (hard if nbytes is None else nbytes, hard))
def flip(path):
  data = bytearray(pathlib.Path(path).read_bytes())
  data[len(data) // 2] ^= 1
  pathlib.Path(path).write_bytes(data)
results = []
for item in json.load(sys.stdin):
  if isinstance(item, str):
    with contextlib.suppress(OSError):  # what it is done for then fails
      exec(item)
    continue
  out, err = io.StringIO(), io.StringIO()
  with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
    code = t5_mesh_transformer.main(['t5_mesh_transformer', *item])
  results.append([code, out.getvalue() + err.getvalue()])
largest_file(None)
json.dump(results, open('results.json', 'w'))
"""
DATA = 'model.ckpt-{0}.data-00001-of-00002'


def gin(**settings):
  return [f'--gin_param={name} = {value!r}' for name, value in {**SIZES, **settings}.items()]


def pretrain(folder, steps, **settings):
  settings = {'MIXTURE_NAME': 'zoo_demo_span', 'TRAIN_STEPS': steps, **settings}
  return [f'--model_dir={folder}', *MODEL, '--gin_file=runs/pretrain.gin', *gin(**settings)]


def evaluate(folder, **settings):
  sizes = {'MIXTURE_NAME': 'zoo_demo_topics', 'NUM_EXAMPLES': 4, 'TARGETS_LENGTH': 4}
  flags = gin(**sizes, **settings)
  training = ('SAVE_STEPS', 'SEED', 'progress', 'expert_dropout')
  flags = [flag for flag in flags if not flag.removeprefix('--gin_param=').startswith(training)]
  return [f'--model_dir={folder}', *MODEL, '--gin_file=runs/eval.gin', *flags]


def finetune(folder, initial, **settings):
  settings = {'MIXTURE_NAME': 'zoo_demo_topics', 'TRAIN_STEPS': 1, 'INIT_CHECKPOINT': initial, **settings}
  return [f'--model_dir={folder}', *MODEL, '--gin_file=runs/finetune.gin', *gin(**settings)]


MICRO = {'utils.serialize_num_microbatches.tokens_per_microbatch_per_replica': 64}
COMMANDS = {
  'whole': pretrain('whole', 6),
  'finished and killed': ["pathlib.Path('whole/model.ckpt-6_temp').mkdir()", pretrain('whole', 6)],
  'first half': pretrain('halves', 3),
  'second half': pretrain('halves', 6),
  'whole in microbatches': pretrain('whole_m', 3, **MICRO),
  'first half in microbatches': pretrain('halves_m', 2, **MICRO),
  'second half in microbatches': pretrain('halves_m', 3, **MICRO),
  'without a seed': pretrain('unseeded', 2, SEED=None),
  'without a seed again': pretrain('unseeded', 3, SEED=None),
  'no state file': ["pathlib.Path('halves/checkpoint').unlink()", pretrain('halves', 7)],
  'state file of zeros': ["pathlib.Path('halves/checkpoint').write_bytes(bytes(99))", evaluate('halves')],
  'newest cut': [
    f"pathlib.Path('halves/{DATA.format(7)}').write_bytes(b'')",
    "pathlib.Path('halves/model.ckpt-5_temp').mkdir()",
    evaluate('halves'),
  ],
  'an older one': evaluate('halves', EVAL_STEPS=6),
  'resumed from the older': pretrain('halves', 7),
  'newest flipped': [f"flip('halves/{DATA.format(7)}')", pretrain('halves', 8)],
  'evaluated while it is': evaluate('halves'),
  'none whole': ["[path.unlink() for path in pathlib.Path('halves').glob('*.index')]", pretrain('halves', 8)],
  'fine-tuned': finetune('tuned', 'whole'),
  'fine-tuned without a state file': ["pathlib.Path('whole/checkpoint').unlink()", finetune('tuned2', 'whole')],
  'fine-tuned from another size': finetune('tuned3', 'whole', d_model=16),
  'fine-tuned from fewer layers': finetune('tuned4', 'whole', num_decoder_layers=4),
  # Room for the weights, but not for the optimizer's slots next to them.
  'too large a file': ['largest_file(60_000)', pretrain('full', 3)],
  'room again': ['largest_file(None)', pretrain('full', 3)],
  'no room at all': ['largest_file(1_000)', pretrain('fuller', 3)],
}


@pytest.fixture(scope='module')
def job(tmp_path_factory):
  """name -> the exit code and the output of a command, and the folder."""
  folder = tmp_path_factory.mktemp('resume')
  vocabularies.train(list(pydoc_topics.documents())[:400], folder / 'vocabulary.model', num_pieces=924)
  items = []
  for command in COMMANDS.values():
    items += command if isinstance(command[-1], list) else [command]
  env = {
    **os.environ,
    vocabularies.DEMO_VARIABLE: str(folder / 'vocabulary.model'),
    'PYTHONWARNINGS': 'ignore',
  }
  done = subprocess.run(
    [sys.executable, '-c', DRIVER], input=json.dumps(items), text=True, cwd=folder, env=env, capture_output=True
  )
  assert done.returncode == 0, done.stderr
  return dict(zip(COMMANDS, json.loads((folder / 'results.json').read_text()), strict=True)), folder


def losses(output):
  """step -> 'loss ... cross-entropy ... balance ...' as printed."""
  lines = [line for line in output.splitlines() if line.startswith('step')]
  return {int(line.split()[1].split('/')[0]): line.split('loss ')[1].split('  ')[:3] for line in lines}


def succeeded(result):
  assert result[0] == 0, result[1]
  return result[1]


def refused(result):
  """The one paragraph that a refusal ends with, after what was said of the state file."""
  code, output = result
  assert code == 2 and 'Traceback' not in output, output
  return output.splitlines()[-1]


@pytest.mark.slow
class TestResumedTrainings:
  """With dropout, router noise and a seed."""

  @pytest.mark.parametrize('kind', ['', ' in microbatches'])
  def test_its_losses_are_those_without_the_interruption(self, job, kind):
    whole, first, second = (
      losses(succeeded(job[0][f'{part}{kind}'])) for part in ('whole', 'first half', 'second half')
    )
    assert list(whole) == [*first, *second] and whole == {**first, **second}
    assert len({loss[0] for loss in whole.values()}) == len(whole)

  def test_it_says_what_it_skips(self, job):
    assert 'Skipping the 3 batches of data that were read before step 3.' in job[0]['second half'][1]

  def test_without_a_seed_the_order_of_the_data_is_kept(self, job):
    assert 'Skipping the 2 batches' in succeeded(job[0]['without a seed again'])
    (segment,) = json.loads((job[1] / 'unseeded' / 'data_order.json').read_text())['segments']
    assert (segment['first_step'], segment['batch']) == (0, 4) and segment['data']['seed'] > 0

  def test_the_last_three_checkpoints_are_kept(self, job):
    assert {path.stem for path in (job[1] / 'whole').glob('*.index')} == {
      'model.ckpt-2',
      'model.ckpt-4',
      'model.ckpt-6',
    }

  def test_what_a_kill_after_the_last_checkpoint_left_is_removed(self, job):
    assert 'is already at step 6' in succeeded(job[0]['finished and killed'])
    assert not (job[1] / 'whole' / 'model.ckpt-6_temp').exists()

  def test_a_lost_state_file(self, job):
    output = succeeded(job[0]['no state file'])
    assert 'halves/checkpoint is missing: model.ckpt-6, which has the highest step, is used.' in output
    assert list(losses(output)) == [7]
    assert 'halves/checkpoint is damaged and names no checkpoint: model.ckpt-7' in succeeded(
      job[0]['state file of zeros']
    )

  def test_a_damaged_checkpoint(self, job):
    cut = f'halves/{DATA.format(7)} is truncated'
    refusal = refused(job[0]['newest cut'])
    assert cut in refusal and '--gin_param="EVAL_STEPS = 6"' in refusal
    assert '(step 6)' in succeeded(job[0]['an older one'])
    output = succeeded(job[0]['resumed from the older'])
    assert cut in output and 'model.ckpt-6, the newest checkpoint that is whole, is used instead.' in output
    assert list(losses(output)) == [7] and not (job[1] / 'halves' / 'model.ckpt-5_temp').exists()
    # The step that is done again is what it was.
    assert losses(output) == losses(job[0]['no state file'][1])

  def test_a_flipped_bit(self, job):
    for name in ('newest flipped', 'evaluated while it is'):
      refusal = refused(job[0][name])
      assert f'halves/{DATA.format(7)} is damaged: ' in refusal and 'has the checksum' in refusal
      assert 'Or delete halves/model.ckpt-7.*, and halves/model.ckpt-6 is used.' in refusal

  def test_it_never_starts_again_next_to_checkpoints(self, job):
    assert 'No checkpoint in halves is whole' in refused(job[0]['none whole'])

  def test_a_disk_that_fills_up(self, job):
    refusal = refused(job[0]['too large a file'])
    assert 'A file this large is not allowed' in refusal and 'no checkpoint had been written' in refusal
    assert list(losses(succeeded(job[0]['room again']))) == [1, 2, 3]
    assert not list((job[1] / 'full').glob('*_temp*'))
    assert 'this shell allows files of 0.00 MB' in refused(job[0]['no room at all'])
    assert not (job[1] / 'fuller').exists()

  def test_fine_tuning_finds_the_checkpoint_in_the_same_way(self, job):
    first, second = (succeeded(job[0][name]) for name in ('fine-tuned', 'fine-tuned without a state file'))
    assert losses(first) == losses(second) and list(losses(first)) == [1]

  def test_fine_tuning_from_another_model(self, job):
    refusal = refused(job[0]['fine-tuned from another size'])
    assert 'whole/model.ckpt-6 is the checkpoint of another model' in refusal
    assert '[1024, 8] in the checkpoint and [1024, 16] in the model' in refusal
    assert not (job[1] / 'tuned3').exists()
    assert 'weights are not in whole/model.ckpt-6 and start random: ' in succeeded(
      job[0]['fine-tuned from fewer layers']
    )
