"""`t5_mesh_transformer` as a user meets it: mistakes in this process, the real job in a fresh one."""

import builtins
import collections
import json
import os
import pathlib
import subprocess
import sys

import pytest
import tensorflow as tf

from switch_zoo import t5_mesh_transformer
from switch_zoo.checkpoints import file_checksums
from switch_zoo.errors import UserError
from switch_zoo.launcher import run as launcher_run
from switch_zoo.launcher import training_lock
from switch_zoo.launcher.results import PERPLEXITY
from switch_zoo.spec import gin_files
from switch_zoo.tasks import pydoc_topics, vocabularies

MODEL = ['--gin_file=models/tiny_switch_8.gin', '--gin_file=layouts/cpu.gin']
PRETRAIN = [*MODEL, '--gin_file=runs/pretrain.gin']
SIZES = ['--gin_param=INPUTS_LENGTH = 32', '--gin_param=TARGETS_LENGTH = 16', '--gin_param=BATCH_SIZE = 8']


def mixture(name):
  return f"--gin_param=MIXTURE_NAME = '{name}'"


@pytest.fixture(scope='module')
def vocabulary(tmp_path_factory):
  """A vocabulary trained on a part of the demo's text."""
  path = tmp_path_factory.mktemp('vocabulary') / 'vocabulary.model'
  vocabularies.train(list(pydoc_topics.documents())[:400], path, num_pieces=924)
  return path


@pytest.fixture
def mistake(tmp_path, capsys, monkeypatch, vocabulary):
  """Runs the command with a new model_dir; returns the one paragraph it ends with."""
  monkeypatch.setenv(vocabularies.DEMO_VARIABLE, str(vocabulary))

  def run(*arguments, model_dir=tmp_path / 'model'):
    before = listing(model_dir)
    code = t5_mesh_transformer.main(['t5_mesh_transformer', f'--model_dir={model_dir}', *arguments])
    text = capsys.readouterr().err
    assert code == 2, text
    assert 'Traceback' not in text and text.count('\n') == 1
    assert listing(model_dir) == before
    return text

  return run


def listing(folder):
  return {p: p.stat().st_mtime_ns for p in sorted(pathlib.Path(folder).rglob('*'))} if os.path.exists(folder) else None


def test_unknown_flag(mistake):
  assert 'Did you mean gin_file' in mistake('--gin_fil=x')


def test_unknown_gin_file(mistake):
  assert 'Did you mean models/tiny_switch_8.gin?' in mistake('--gin_file=models/tiny_swich_8.gin')


def test_unknown_gin_parameter(mistake):
  text = mistake(*PRETRAIN, mixture('zoo_demo_span'), '--gin_param=utils.run.trainsteps = 3')
  assert 'no parameter "trainsteps". Did you mean train_steps' in text


def test_unknown_configurable(mistake):
  text = mistake(*PRETRAIN, mixture('zoo_demo_span'), '--gin_param=utils.runn.train_steps = 3')
  assert 'gin knows no "utils.runn". Did you mean utils.run?' in text


def test_unknown_parameter_in_a_file_is_told_with_its_line(mistake, tmp_path):
  (tmp_path / 'mine.gin').write_text('# mine\nutils.run.trainsteps = 3\n')
  text = mistake(*PRETRAIN, mixture('zoo_demo_span'), f'--gin_file={tmp_path}/mine.gin')
  assert f'{tmp_path}/mine.gin, line 2' in text


def test_unknown_module_in_a_file(mistake, tmp_path):
  (tmp_path / 'mine.gin').write_text('import nonesuch\n')
  assert "No module named 'nonesuch'" in mistake(*PRETRAIN, mixture('zoo_demo_span'), f'--gin_file={tmp_path}/mine.gin')


def test_unknown_macro(mistake):
  assert 'Did you mean TRAIN_STEPS?' in mistake(*PRETRAIN, mixture('zoo_demo_span'), '--gin_param=TRAINSTEPS = 3')


def test_required_macro(mistake):
  assert 'MIXTURE_NAME has no value' in mistake(*PRETRAIN)


def test_unknown_task(mistake):
  assert 'Did you mean zoo_demo_span?' in mistake(*PRETRAIN, mixture('zoo_demo_spam'))


def test_no_vocabulary(mistake, monkeypatch):
  monkeypatch.setenv(vocabularies.DEMO_VARIABLE, '/nowhere/vocabulary.model')
  assert 'There is no vocabulary "/nowhere/vocabulary.model"' in mistake(*PRETRAIN, mixture('zoo_demo_span'))


def test_vocabulary_of_another_size(mistake):
  text = mistake(*PRETRAIN, mixture('zoo_demo_span'), '--gin_param=vocab_size = 32128')
  assert 'the model has vocab_size = 32,128' in text


def test_model_dir_that_cannot_be_written(mistake):
  assert 'cannot be written' in mistake(*PRETRAIN, mixture('zoo_demo_span'), model_dir='/proc/model')


def test_evaluation_without_checkpoint(mistake):
  assert 'contains no checkpoint' in mistake(*MODEL, '--gin_file=runs/eval.gin', mixture('zoo_demo_topics'))


def test_init_checkpoint_that_is_none(mistake):
  finetune = [*MODEL, '--gin_file=runs/finetune.gin', mixture('zoo_demo_topics')]
  assert 'is not a checkpoint' in mistake(*finetune, "--gin_param=INIT_CHECKPOINT = '/nowhere'")


def test_module_that_cannot_be_imported(mistake):
  assert '--module_import=nonesuch' in mistake(*PRETRAIN, mixture('zoo_demo_span'), '--module_import=nonesuch')


def test_mode_without_model_api(mistake):
  assert '--use_model_api' in mistake('--mode=train')


def test_model_api_without_mode(mistake):
  assert '--use_model_api needs --mode' in mistake('--use_model_api')


def test_each_gin_file_is_opened_once(tmp_path, monkeypatch, vocabulary):
  """By us: gin's own parser, which kept a reference to `open`, reads them once more."""
  monkeypatch.setenv(vocabularies.DEMO_VARIABLE, str(vocabulary))
  monkeypatch.setattr(launcher_run, 'execute', lambda *arguments: [])
  opened = collections.Counter()

  def counting(path, *args, **kwargs):
    if str(path).endswith('.gin'):
      opened[os.path.relpath(path, gin_files.configs_folder())] += 1
    return released_open(path, *args, **kwargs)

  released_open = builtins.open
  monkeypatch.setattr(builtins, 'open', counting)
  command = ['t5_mesh_transformer', f'--model_dir={tmp_path}/model', *PRETRAIN, *SIZES, mixture('zoo_demo_span')]
  assert t5_mesh_transformer.main(command) == 0
  assert {'models/tiny_switch_8.gin', 'models/tiny_dense.gin', 'runs/pretrain.gin', 'layouts/cpu.gin'} <= set(opened)
  assert set(opened.values()) == {1}, opened


def test_settings_the_layer_refuses(mistake):
  text = mistake(*PRETRAIN, *SIZES, mixture('zoo_demo_span'), '--gin_param=capacity_factor_train = 0')
  assert 'capacity' in text


def layout(mesh_shape, layout_rules, *more):
  """Flags that lay a layout over the run's, on a run of tiny batches."""
  settings = (f"utils.run.mesh_shape = '{mesh_shape}'", f"utils.run.layout_rules = '{layout_rules}'", *more)
  return [*PRETRAIN, *SIZES, mixture('zoo_demo_span'), *(f'--gin_param={setting}' for setting in settings)]


LAYOUTS = {
  'width': (layout('model:3', 'd_ff:model'), 'd_ff=128 does not divide over mesh axis "model" of size 3'),
  'heads': (layout('model:8', 'heads:model'), 'num_heads=4 does not divide over mesh axis "model" of size 8'),
  'batch': (
    layout('batch:3', 'batch:batch'),
    'batch size, in sequences for each replica of the experts=8 does not divide',
  ),
  'batch in tokens': (
    layout('batch:3', 'batch:batch', "utils.run.batch_size = ('tokens_per_batch', 256)"),
    '=8 does not divide over mesh axis "batch" of size 3',
  ),
  'tokens that are no sequences': (
    layout('', '', "utils.run.batch_size = ('tokens_per_batch', 250)"),
    'the longest feature of a sequence has 32 tokens: 250 is not divisible by 32. Use a multiple',
  ),
  'replicas': (
    layout('outer:3', 'outer_batch:outer', 'utils.tpu_estimator_model_fn.outer_batch_size = 3'),
    '8 sequences do not divide over 3 replicas of the experts (outer_batch_size). Use a multiple of 3.',
  ),
  'replicas on too few': (
    layout('outer:2', 'outer_batch:outer'),
    'replicas of the experts (outer_batch_size)=1 does not divide over mesh axis "outer" of size 2',
  ),
  'no such dimension': (
    layout('all:2', 'd_fff:all'),
    'layout rule "d_fff:all": no model has a dimension "d_fff", so the rule would cut nothing. Did you mean d_ff',
  ),
  'one axis twice': (
    layout('model:2', 'd_model:model;d_ff:model'),
    'Layout rules give d_model and d_ff of encoder/block_000/layer_001/DenseReluDense/wi/kernel to the same mesh axis',
  ),
  'one axis twice in an activation': (
    layout('model:2', 'heads:model,memory_length:model'),
    'Layout rules give memory_length and heads of an activation to the same mesh axis "model". Give one of',
  ),
  'no pair': (layout('model', 'd_ff:model'), 'mesh_shape "model": "model" is not a pair'),
}


@pytest.mark.parametrize('case', LAYOUTS)
def test_layout_that_does_not_fit(mistake, case):
  arguments, words = LAYOUTS[case]
  assert words in mistake(*arguments)


def test_layout_error_names_the_line_of_the_rule(mistake, tmp_path):
  (tmp_path / 'mine.gin').write_text("utils.run.mesh_shape = 'model:3'\n\nutils.run.layout_rules = 'd_ff:model'\n")
  text = mistake(*PRETRAIN, *SIZES, mixture('zoo_demo_span'), f'--gin_file={tmp_path}/mine.gin')
  assert f'(layout rule "d_ff:model" of {tmp_path}/mine.gin, line 3)' in text


def test_layout_of_a_model_that_no_config_describes(mistake):
  """With relative positions of another kind there is no ModelConfig: the graph's tensors are checked in its place."""
  relative = "--gin_param=SelfAttention.relative_attention_type = 'bias'"
  assert 'd_ff=128 does not divide over mesh axis "model" of size 3' in mistake(
    *layout('model:3', 'd_ff:model'), relative
  )
  assert 'no model has a dimension "d_fff"' in mistake(*layout('all:2', 'd_fff:all'), relative)


def test_a_folder_in_which_another_training_runs(mistake, tmp_path, monkeypatch):
  monkeypatch.setattr(training_lock, '_PATIENCE', 0)
  api = [*PRETRAIN, '--use_model_api', '--mode=train', '--mixture_or_task=zoo_demo_span', mixture('zoo_demo_span')]
  with training_lock.held(str(tmp_path / 'model')):
    for training in ([*PRETRAIN, mixture('zoo_demo_span'), *SIZES], api):
      text = mistake(*training)
      assert f'{tmp_path}/model is in use: process {os.getpid()} on ' in text and 'another --model_dir' in text
    # Whoever only reads does not care.
    evaluation = mistake(*MODEL, '--gin_file=runs/eval.gin', mixture('zoo_demo_topics'), *SIZES)
    assert 'contains no checkpoint' in evaluation


def test_layout_of_the_model_api(mistake):
  api = [*PRETRAIN, '--use_model_api', '--mode=train', '--mixture_or_task=zoo_demo_span', mixture('zoo_demo_span')]
  api += ['--batch_size=8', '--input_sequence_length=32', '--target_sequence_length=16']
  mesh = lambda shape: f"--gin_param=MtfModel.mesh_shape = '{shape}'"
  assert 'd_ff=128 does not divide over mesh axis "model" of size 3' in mistake(*api, mesh('model:3'))
  assert 'for each replica of the experts=8 does not divide' in mistake(*api, mesh('batch:3'))
  rules = "--gin_param=MtfModel.layout_rules = 'd_fff:all'"
  assert 'no model has a dimension "d_fff"' in mistake(*api, mesh('all:2'), rules)


def save_dense_checkpoint(folder):
  """A checkpoint with two variables no Switch model has in this shape."""
  with tf.Graph().as_default(), tf.compat.v1.Session() as session:
    for name, shape in (('shared/embedding', [1024, 32]), ('global_step', [])):
      tf.compat.v1.get_variable(name, shape, use_resource=False)
    session.run(tf.compat.v1.global_variables_initializer())
    tf.compat.v1.train.Saver().save(session, str(folder / 'model.ckpt'), global_step=7)


def test_checkpoint_of_another_model(mistake, tmp_path):
  folder = tmp_path / 'other'
  folder.mkdir()
  save_dense_checkpoint(folder)
  text = mistake(*PRETRAIN, *SIZES, mixture('zoo_demo_span'), model_dir=folder)
  assert 'shared/embedding is [1024, 32] in the checkpoint and [1024, 64] in the model' in text


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
def job(tmp_path_factory, vocabulary):
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
  env = {**os.environ, vocabularies.DEMO_VARIABLE: str(vocabulary), 'PYTHONWARNINGS': 'ignore'}
  done = subprocess.run(
    [sys.executable, '-c', DRIVER],
    input=json.dumps(list(commands.values())),
    text=True,
    cwd=folder,
    env=env,
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
