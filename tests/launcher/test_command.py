"""`t5_mesh_transformer` as a user meets it: each mistake is one paragraph, and nothing is written."""

import builtins
import collections
import os
import pathlib

import pytest
import tensorflow as tf
from command_words import MODEL, PRETRAIN, SIZES, mixture

from switch_zoo import t5_mesh_transformer
from switch_zoo.launcher import run as launcher_run
from switch_zoo.launcher import training_lock
from switch_zoo.spec import gin_files
from switch_zoo.tasks import pydoc_topics, vocabularies


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
