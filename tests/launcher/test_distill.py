"""Distillation by the real command: what is trained, saved, resumed and refused; docs/distillation.md."""

import json
import os
import pathlib
import re
import shlex
import subprocess
import sys

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from switch_zoo.tasks import pydoc_topics, vocabularies

DOCUMENT = pathlib.Path(__file__).resolve().parents[2] / 'docs' / 'distillation.md'
SIZES = {
  'd_model': 8, 'd_ff': 16, 'd_kv': 4, 'num_heads': 2, 'num_encoder_layers': 2, 'num_decoder_layers': 2,
  'BATCH_SIZE': 8, 'INPUTS_LENGTH': 32, 'TARGETS_LENGTH': 16, 'SAVE_STEPS': 2, 'SEED': 1, 'dropout_rate': 0.0,
  'progress.every': 1,
}  # fmt: skip
# Of the teacher: groups of 16 tokens are the same on every mesh.
GROUPS = {'--model_dir=teacher': {'group_size': 16}}
DRIVER = """
import contextlib, io, json, sys
from switch_zoo import cli, t5_mesh_transformer
results = []
for name, *arguments in json.load(sys.stdin):
  out, err = io.StringIO(), io.StringIO()
  with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
    if name == 'switch_zoo':
      sys.argv = [name, *arguments]
      code = cli.run()
    else:
      code = t5_mesh_transformer.main([name, *arguments])
  results.append([code, out.getvalue() + err.getvalue()])
json.dump(results, open('results.json', 'w'))
"""


def documented():
  """The commands of the document: those that train get small sizes and few steps."""
  (block,) = re.findall(r'<!-- run by a test -->\n```bash\n(.*?)```', DOCUMENT.read_text(encoding='utf-8'), re.DOTALL)
  commands = [shlex.split(line) for line in block.replace('\\\n', ' ').splitlines()]
  training = lambda words: gin(TRAIN_STEPS=4, **GROUPS.get(words[1], {}))
  return [words if words[0] == 'switch_zoo' else [*words, *training(words)] for words in commands]


def gin(**settings):
  return [f'--gin_param={name} = {value!r}' for name, value in {**SIZES, **settings}.items()]


def train(folder, run='distill', model='tiny_dense', layout='cpu', flags=(), **settings):
  settings = {'MIXTURE_NAME': 'zoo_demo_span', 'TRAIN_STEPS': 1, **settings}
  if 'distill' in run:
    settings = {'TEACHER_CHECKPOINT': 'teacher', **settings}
  files = [f'--gin_file={kind}/{name}.gin' for kind, name in (('models', model), ('runs', run), ('layouts', layout))]
  return ['t5_mesh_transformer', f'--model_dir={folder}', *files, *gin(**settings), *flags]


TEACHER, STUDENT, CONVERT, VERIFY = documented()
ALONE = {'INIT_FROM_TEACHER': None}
COMMANDS = {
  'teacher': TEACHER,
  'student': STUDENT,
  'student to hf': CONVERT,
  'student is hf': VERIFY,
  'first half': train('halves', TRAIN_STEPS=2),
  'second half': train('halves', TRAIN_STEPS=4),
  'teacher to hf': ['switch_zoo', 'convert', 'teacher', 'teacher_hf', '--to', 'hf'],
  'twin': ['switch_zoo', 'convert', 'teacher', 'twin', '--to', 'mesh', '--dense-from', 'fresh', '--seed', '1'],
  'from hf and the twin': train('from_twin', TEACHER_CHECKPOINT='teacher_hf', INIT_CHECKPOINT='twin', **ALONE),
  'without a share': train('without', FRACTION_SOFT=0.0, dropout_rate=0.1, **ALONE),
  'plain': train('plain', 'pretrain', dropout_rate=0.1),
  'slices': train('slices', layout='expert_data', mesh_shape='batch:8'),
  'microbatches': train('micro', **{'utils.serialize_num_microbatches.tokens_per_microbatch_per_replica': 128}),
  'fine-tuned': train('tuned', 'distill_finetune', MIXTURE_NAME='zoo_demo_topics', TARGETS_LENGTH=8),
}
REFUSED = {
  'share': (train('no', FRACTION_SOFT=1.5), r'FRACTION_SOFT is 1.5; it must be a number from 0 to 1'),
  'temperature': (train('no', TEMPERATURE=0.0), r'TEMPERATURE is 0.0; it must be a number above 0'),
  'start': (train('no', INIT_FROM_TEACHER='new'), r'INIT_FROM_TEACHER is \S+; it must be "fresh", "mean" or None'),
  'both starts': (train('no', INIT_CHECKPOINT='teacher'), r'Set one of them to None'),
  'no teacher': (train('no', TEACHER_CHECKPOINT='none'), r'TEACHER_CHECKPOINT = "none": There is no folder "none"'),
  'other model': (train('no', TEACHER_MODEL='tiny_dense'), r'hold the tensors of tiny_dense: .* with TEACHER_MODEL'),
  'dense teacher': (train('no', TEACHER_CHECKPOINT='plain'), r'takes a teacher with experts, and .* is dense'),
  'width': (train('no', d_model=16), r'the student is not the dense twin of the teacher, .*, of d_model = 8: .*16'),
  'depth': (train('no', num_decoder_layers=4), r'the student is not the dense twin of the teacher'),
  'vocabulary': (
    train('no', MIXTURE_NAME='zoo_demo_other_vocabulary', vocab_size=384, flags=['--module_import=own_vocabulary']),
    r'the teacher has 1,024 rows for the vocabulary of inputs, and the vocabulary of the task takes 384',
  ),
  'layout': (
    train('no', layout='expert_data', mesh_shape='batch:16', BATCH_SIZE=16),
    r'The layout does not fit the teacher, .*: num_experts=8 does not divide over mesh axis "batch" of size 16',
  ),
  'model API': (
    train('no', flags=['--use_model_api', '--mode=train', '--mixture_or_task=zoo_demo_span']),
    r'--use_model_api does not distill',
  ),
  # Last: it prepares JAX in the process.
  'pjrt': (train('no', flags=['--runtime=pjrt']), r'--runtime=pjrt does not distill'),
}  # fmt: skip
OWN_VOCABULARY = """
import seqio
from switch_zoo.tasks import pydoc_topics
task = seqio.get_mixture_or_task('zoo_demo_span')
feature = seqio.Feature(seqio.ByteVocabulary(125), add_eos=True)
seqio.TaskRegistry.add('zoo_demo_other_vocabulary', source=task.source, preprocessors=task.preprocessors,
                       output_features={'inputs': feature, 'targets': feature}, metric_fns=[])
"""


@pytest.fixture(scope='module')
def job(tmp_path_factory):
  """name -> the exit code and the output of a command, and the folder."""
  folder = tmp_path_factory.mktemp('distill')
  vocabularies.train(list(pydoc_topics.documents())[:400], folder / 'vocabulary.model', num_pieces=924)
  (folder / 'own_vocabulary.py').write_text(OWN_VOCABULARY)
  env = {
    **os.environ,
    vocabularies.DEMO_VARIABLE: str(folder / 'vocabulary.model'),
    'PYTHONWARNINGS': 'ignore',
    'PYTHONPATH': os.pathsep.join([str(folder), os.environ.get('PYTHONPATH', '')]),
  }
  commands = {**COMMANDS, **{name: command for name, (command, _) in REFUSED.items()}}
  items = json.dumps(list(commands.values()))
  done = subprocess.run(
    [sys.executable, '-c', DRIVER], input=items, text=True, cwd=folder, env=env, capture_output=True
  )
  assert done.returncode == 0, done.stderr
  return dict(zip(commands, json.loads((folder / 'results.json').read_text()), strict=True)), folder


def succeeded(result):
  assert result[0] == 0, result[1]
  return result[1]


def losses(result):
  """step -> what its line says of the loss: {'loss': 7.1, 'cross-entropy': 7.2, 'soft': 6.9, 'teacher': 7.0}."""
  lines = [line for line in succeeded(result).splitlines() if line.startswith('step')]
  pairs = [re.findall(r'(loss|cross-entropy|soft|teacher) ([\d.]+)', line) for line in lines]
  steps = [int(re.match(r'step (\d+)/', line)[1]) for line in lines]
  return {step: {name: float(value) for name, value in of_step} for step, of_step in zip(steps, pairs, strict=True)}


def weights(folder):
  reader = tf.train.load_checkpoint(str(folder))
  return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}


@pytest.mark.slow
class TestDistillation:
  def test_the_terms_of_the_loss_are_reported_apart(self, job):
    for of_step in losses(job[0]['student']).values():
      assert of_step.keys() == {'loss', 'cross-entropy', 'soft', 'teacher'}
    records = [json.loads(line) for line in (job[1] / 'student' / 'metrics.jsonl').read_text().splitlines()]
    first = records[0]
    terms = 0.75 * first['loss/cross_entropy'] + 0.25 * first['loss/soft_cross_entropy'] + first['loss/logits_z']
    assert first['loss'] == pytest.approx(terms, rel=1e-5) and 'loss/teacher_cross_entropy' in first

  def test_the_student_is_an_ordinary_checkpoint(self, job):
    for name in ('student to hf', 'student is hf'):
      succeeded(job[0][name])
    names = set(weights(job[1] / 'student'))
    assert names == set(weights(job[1] / 'plain')) and not [name for name in names if 'teacher' in name]

  def test_a_resumed_one_goes_the_same_way(self, job):
    assert losses(job[0]['student']) == {**losses(job[0]['first half']), **losses(job[0]['second half'])}
    whole, halves = weights(job[1] / 'student'), weights(job[1] / 'halves')
    assert all(whole[name].tobytes() == value.tobytes() for name, value in halves.items())

  def test_a_teacher_of_hugging_face_and_the_converted_start_are_the_same(self, job):
    (first,) = losses(job[0]['from hf and the twin']).values()
    assert first == pytest.approx(losses(job[0]['student'])[1], abs=2e-4)

  def test_without_a_share_it_is_plain_training_bit_for_bit(self, job):
    assert losses(job[0]['without a share']) == losses(job[0]['plain'])
    plain, without = weights(job[1] / 'plain'), weights(job[1] / 'without')
    assert plain.keys() == without.keys()
    assert all(value.tobytes() == without[name].tobytes() for name, value in plain.items())

  @pytest.mark.parametrize('name', ['slices', 'microbatches'])
  def test_slices_and_microbatches_change_nothing(self, job, name):
    expected, result = (losses(job[0][of])[1] for of in ('student', name))
    # Microbatches weigh the same, however many real tokens they have.
    assert result == pytest.approx(expected, rel=1e-2 if name == 'microbatches' else 1e-4)

  def test_a_teacher_on_a_task(self, job):
    assert losses(job[0]['fine-tuned'])[1]['soft'] > 0

  @pytest.mark.parametrize('name', REFUSED)
  def test_a_mistake_is_one_paragraph_and_nothing_is_written(self, job, name):
    if name == 'pjrt':
      pytest.importorskip('jax')
    code, output = job[0][name]
    assert code == 2 and 'Traceback' not in output, output
    assert re.search(REFUSED[name][1], output.splitlines()[-1]), output
    assert not (job[1] / 'no').exists()


def test_what_is_said_of_the_defaults_is_so():
  """The table of settings in the document has the defaults of runs/distill.gin."""
  from switch_zoo.spec import gin_files

  files = gin_files.read(['models/tiny_dense.gin', 'runs/distill.gin'])
  rows = re.findall(r'^\| `([A-Z_]+)` \| (\S+) \|', DOCUMENT.read_text(encoding='utf-8'), re.MULTILINE)
  assert len(rows) >= 6 and np.all([str(files.value(name)) == value.strip("`'") for name, value in rows])
