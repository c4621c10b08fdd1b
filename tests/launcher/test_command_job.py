"""`t5_mesh_transformer`: the real job, from pre-training to an export, in a fresh process."""

import json
import subprocess
import sys

import pjrt_harness
import pytest
import tensorflow as tf
from command_words import MODEL, PRETRAIN, SIZES, mixture

from switch_zoo.checkpoints import file_checksums
from switch_zoo.errors import UserError
from switch_zoo.launcher.results import PERPLEXITY

# Runs every mode in one fresh process; what each printed and its exit code are kept apart.
DRIVER = """
import contextlib, io, json, sys
from switch_zoo import t5_mesh_transformer
results = []
for arguments in json.load(sys.stdin):
  out, err = io.StringIO(), io.StringIO()
  with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
    code = t5_mesh_transformer.main(['t5_mesh_transformer', *arguments])
  results.append([code, out.getvalue(), err.getvalue()])
json.dump(results, open('results.json', 'w'))
"""


@pytest.fixture(scope='module')
def job(tmp_path_factory):
  """Pre-training, fine-tuning and everything after it, on real text: {mode: (code, out, err)} and the folder."""
  folder = tmp_path_factory.mktemp('job')
  (folder / 'in.txt').write_text('section: Sets a breakpoint.\nsection: two tuples\n')
  (folder / 'targets.txt').write_text('debugger\ntypes\n')
  topics, files = mixture('zoo_demo_topics'), ["--gin_param=INPUT_FILE = 'in.txt'"]
  steps = lambda n: f'--gin_param=TRAIN_STEPS = {n}'
  api = ['--use_model_api', '--input_sequence_length=32', '--target_sequence_length=16', '--batch_size=4']
  small_loop = '--gin_param=utils.serialize_num_microbatches.tokens_per_microbatch_per_replica = 64'
  summaries = '--gin_param=launcher.Saving.summary_steps = 10'
  commands = {
    'pretrain': ['--model_dir=p', *PRETRAIN, *SIZES, mixture('zoo_demo_span'), steps(12), summaries],
    'resume': ['--model_dir=p', *PRETRAIN, *SIZES, mixture('zoo_demo_span'), steps(15)],
    'done': ['--model_dir=p', *PRETRAIN, *SIZES, mixture('zoo_demo_span'), steps(15)],
    'microbatches': ['--model_dir=b', *PRETRAIN, *SIZES, mixture('zoo_demo_span'), steps(2), small_loop],
    'finetune': [
      '--model_dir=f',
      *MODEL,
      '--gin_file=runs/finetune.gin',
      *SIZES,
      topics,
      steps(3),
      "--gin_param=INIT_CHECKPOINT = 'p'",
    ],
    'eval': ['--model_dir=f', *MODEL, '--gin_file=runs/eval.gin', *SIZES, topics, '--gin_param=NUM_EXAMPLES = 8'],
    'perplexity': [
      '--model_dir=f',
      *MODEL,
      '--gin_file=runs/perplexity.gin',
      *SIZES,
      topics,
      '--gin_param=NUM_BATCHES = 2',
    ],
    'infer': [
      '--model_dir=f',
      *MODEL,
      '--gin_file=runs/infer.gin',
      *SIZES,
      topics,
      *files,
      "--gin_param=OUTPUT_FILE = 'answers'",
    ],
    'score': [
      '--model_dir=f',
      *MODEL,
      '--gin_file=runs/score.gin',
      *SIZES,
      topics,
      *files,
      "--gin_param=TARGET_FILE = 'targets.txt'",
      "--gin_param=SCORES_FILE = 'out'",
    ],
    'api_predict': [*api, '--mode=predict', '--model_dir=f', '--input_file=in.txt', '--output_file=api'],
    'api_score': [
      *api,
      '--mode=score',
      '--model_dir=f',
      '--input_file=in.txt',
      '--target_file=targets.txt',
      '--output_file=api',
    ],
    'api_finetune': [
      *api,
      '--mode=finetune',
      '--mixture_or_task=zoo_demo_topics',
      '--pretrained_model_dir=p',
      '--model_dir=f[2]',
      '--train_steps=2',
    ],
    'api_export': [*api, '--mode=export_predict', '--model_dir=f', '--export_dir=export'],
    'api_export_brackets': [*api, '--mode=export_predict', '--model_dir=f[2]'],
  }
  done = subprocess.run(
    [sys.executable, '-c', DRIVER],
    input=json.dumps(list(commands.values())),
    text=True,
    cwd=folder,
    env=pjrt_harness.environment(folder),
    capture_output=True,
  )
  assert done.returncode == 0, done.stderr
  results = json.loads((folder / 'results.json').read_text())
  return dict(zip(commands, results, strict=True)), folder


@pytest.mark.slow
class TestTheJob:
  """Everything `t5_mesh_transformer` is for, on `tiny_switch_8`."""

  def test_every_mode_ends_well(self, job):
    assert {name: result[0] for name, result in job[0].items()} == dict.fromkeys(job[0], 0), job[0]

  def test_training_tells_where_it_is(self, job):
    lines = [line for line in job[0]['pretrain'][2].splitlines() if line.startswith('step')]
    assert [line.split()[1] for line in lines] == ['1/12', '10/12', '12/12']
    for words in ('loss', 'cross-entropy', 'balance', 'tokens/s', 'left'):
      assert words in lines[-1]

  def test_what_the_layers_export_is_in_tensorboard(self, job):
    events = [e for file in (job[1] / 'p').glob('events*') for e in tf.compat.v1.train.summary_iterator(str(file))]
    tags = {value.tag for event in events for value in event.summary.value}
    layer = 'encoder/block_000/layer_003/MoE1D'
    of_experts = {f'experts_{name}/{layer}' for name in ('load', 'dropped', 'entropy', 'mean_gate')}
    of_training = {'loss', 'cross_entropy', 'learning_rate', 'gradient_norm', 'tokens_per_second'}
    assert {f'training/{name}' for name in of_training} | of_experts | {f'experts_loss/{layer}/balance'} <= tags
    # An empty one, which TensorFlow writes where it opens a file.
    assert max(len(event.graph_def) for event in events) < 1000

  def test_checkpoints_are_what_training_writes(self, job):
    names = {path.name.partition('.')[0] for path in (job[1] / 'p').iterdir() if path.is_file()}
    assert names == {'checkpoint', 'data_order', 'events', 'metrics', 'model', 'operative_config'}
    assert not list((job[1] / 'p').glob('*.meta')) and not list((job[1] / 'p').glob('model.ckpt-0.*'))
    assert sum(path.stat().st_size for path in (job[1] / 'p').glob('events*')) < 300_000

  def test_training_goes_on_where_it_stopped(self, job):
    assert 'Resuming after step 12 of 15.' in job[0]['resume'][2]

  def test_a_finished_run_says_so(self, job):
    assert 'nothing to do' in job[0]['done'][2]

  def test_microbatches_tell_the_balance_loss_too(self, job):
    assert 'balance' in job[0]['microbatches'][2]

  def test_fine_tuning_takes_over_weights_and_counts_from_zero(self, job):
    assert 'step 3/3' in job[0]['finetune'][2]
    first = lambda name: float(job[0][name][2].split('cross-entropy ')[1].split()[0])
    assert first('finetune') < first('pretrain')

  def test_evaluation_prints_the_metric(self, job):
    task, metric, value, *step = job[0]['eval'][1].split()
    assert (task, metric, ' '.join(step)) == ('zoo_demo_topics', 'accuracy', '(step 3)')
    assert 0 <= float(value) <= 100

  def test_perplexity_is_printed(self, job):
    values = {line.split()[1]: float(line.split()[2]) for line in job[0]['perplexity'][1].splitlines()}
    # The evaluation before it, in the same process, measured an accuracy that is not shown again.
    assert tuple(values) == PERPLEXITY
    assert -8 < values['neg_log_perplexity'] < 0 and 0 <= values['token_accuracy'] <= 1
    assert values['num_eval_tokens'] > 16

  def test_answers_are_text(self, job):
    lines = (job[1] / 'answers-3').read_text().splitlines()
    assert len(lines) == 2 and not any(line.startswith("b'") for line in lines)

  def test_both_ways_give_the_same_scores(self, job):
    ours, api = ((job[1] / f'{name}.scores').read_text().split() for name in ('out', 'api'))
    assert ours == api and len(ours) == 2 and all(float(score) < 0 for score in ours)

  def test_the_exported_model_answers_with_tensorflow_alone(self, job):
    code = """
import sys, tensorflow as tf, tensorflow_text
model = tf.saved_model.load(sys.argv[1])
out = model.signatures['serving_default'](inputs=tf.constant(['section: a list', 'section: b']))
print(out['outputs'].shape[0], 'mesh_tensorflow' in sys.modules)
"""
    (exported,) = (job[1] / 'export').iterdir()
    done = subprocess.run([sys.executable, '-c', code, exported], capture_output=True, text=True, cwd='/')
    assert done.stdout == '2 False\n', done.stderr

  def test_an_export_can_be_checked(self, job):
    (exported,) = (job[1] / 'export').iterdir()
    assert set(json.loads((exported / 'checksums.json').read_text())['files']) == {
      str(path.relative_to(exported)) for path in exported.rglob('*') if path.is_file()
    } - {'checksums.json'}
    file_checksums.check(str(exported))

  def test_a_damaged_export_is_found(self, job):
    (exported,) = (job[1] / 'f[2]' / 'export').iterdir()
    with open(exported / 'variables' / 'variables.index', 'r+b') as file:
      file.write(b'?')
    with pytest.raises(UserError, match='variables.index is not what was exported'):
      file_checksums.check(str(exported))

  def test_a_new_folder_with_brackets_is_used_by_its_own_name(self, job):
    assert (job[1] / 'f[2]' / 'model.ckpt-17.index').exists()
    (exported,) = (job[1] / 'f[2]' / 'export').iterdir()
    assert job[0]['api_export_brackets'][1].strip().endswith(f'f[2]/export/{exported.name}')

  def test_gins_dtypes_hold_on_a_cpu(self, job):
    config = (job[1] / 'p' / 'operative_config.gin').read_text()
    assert "get_variable_dtype.master_dtype = 'float32'" in config

  def test_the_command_is_kept(self, job):
    assert sorted(path.name for path in (job[1] / 'p' / 'commands').iterdir()) == ['command', 'command.1', 'command.2']
