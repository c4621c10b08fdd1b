"""`switch-zoo-serve`: its wheel, among nothing but the packages that it requires and what these require.

The packages are links to those of this environment in a folder of their own, and the interpreter is started without
site-packages: what the wheel does not require, directly or not, cannot be imported there.
"""

import importlib.metadata
import json
import pathlib
import subprocess
import sys
import zipfile

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

CHECKOUT = pathlib.Path(__file__).resolve().parent.parent
OUTSIDE = ('mesh_tensorflow', 't5', 'seqio', 'jax', 'jaxlib', 'tensorflow_datasets', 'tensorstore', 'clu', 'flax')
LEFT_OUT = ('mesh', 'launcher', 'tasks', 'demo')

pytestmark = [
  pytest.mark.slow,
  pytest.mark.skipif(not (CHECKOUT / 'serve').is_dir(), reason='not in a checkout: there is nothing to build'),
]

VOCABULARY = """
import pathlib, pydoc_data.topics, sentencepiece
sentences = '\\n'.join(pydoc_data.topics.topics.values()).split('\\n')
sentencepiece.SentencePieceTrainer.train(
  sentence_iterator=iter(sentences), model_prefix='vocabulary', vocab_size=924, pad_id=0, eos_id=1, unk_id=2, bos_id=-1,
  minloglevel=2)
"""
WEIGHTS = """
import os, tensorflow as tf, switch_zoo
os.mkdir('random')
tf.keras.utils.set_random_seed(0)
switch_zoo.load('tiny_switch_8').save_weights('random/model.weights.h5')
"""


def installed_for(wheel):
  """The distributions of this environment that a wheel requires, with what these require."""
  with zipfile.ZipFile(wheel) as archive:
    (name,) = [name for name in archive.namelist() if name.endswith('.dist-info/METADATA')]
    lines = archive.read(name).decode().splitlines()
  pending = [(line.removeprefix('Requires-Dist: '), '') for line in lines if line.startswith('Requires-Dist: ')]
  done = {}
  while pending:
    text, extra = pending.pop()
    requirement = Requirement(text)
    if requirement.marker and not requirement.marker.evaluate({'extra': extra}):
      continue
    distribution = importlib.metadata.distribution(requirement.name)
    for wanted in ('', *requirement.extras):
      if (canonicalize_name(requirement.name), wanted) not in done:
        done[canonicalize_name(requirement.name), wanted] = distribution
        pending += [(line, wanted) for line in distribution.requires or []]
  return done.values()


@pytest.fixture(scope='module')
def wheel(tmp_path_factory):
  """The wheel of serve/, built from a clone, so that no build folder is left in the checkout."""
  folder = tmp_path_factory.mktemp('wheel')
  subprocess.run(['git', 'clone', '--quiet', str(CHECKOUT), str(folder / 'source')], check=True)
  build = [sys.executable, '-m', 'pip', 'wheel', '--quiet', '--no-deps', '--no-build-isolation', '-w', str(folder)]
  subprocess.run([*build, str(folder / 'source' / 'serve')], check=True)
  (path,) = folder.glob('*.whl')
  return path


@pytest.fixture(scope='module')
def site(wheel, tmp_path_factory):
  """A folder of packages: the wheel, unpacked, and links to what it requires."""
  folder = tmp_path_factory.mktemp('site')
  with zipfile.ZipFile(wheel) as archive:
    archive.extractall(folder)
  for distribution in installed_for(wheel):
    for top in {file.parts[0] for file in distribution.files or [] if file.parts[0] not in ('..', '__pycache__')}:
      if not (folder / top).exists():
        (folder / top).symlink_to(distribution.locate_file(top))
  return folder


@pytest.fixture(scope='module')
def run(site, tmp_path_factory):
  """Runs Python among those packages alone; all runs share a folder to work in."""
  work = tmp_path_factory.mktemp('work')

  def call(code, *arguments, command='switch_zoo'):
    code = f'import sys; sys.path.insert(0, {str(site)!r}); sys.argv[0] = {command!r}\n{code}'
    python = [sys.executable, '-I', '-S', '-c', code, *arguments]
    return subprocess.run(python, cwd=work, capture_output=True, text=True, check=False, timeout=600)

  return call


@pytest.fixture(scope='module')
def switch_zoo(run):
  """Runs the command, which must succeed; gives what it prints."""

  def call(*arguments):
    done = run('from switch_zoo import cli; cli.main()', *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout

  return call


@pytest.fixture(scope='module')
def converted(run, switch_zoo):
  """A vocabulary and a random tiny model, made there, converted from Keras' format to both others."""
  for code in (VOCABULARY, WEIGHTS):
    done = run(code)
    assert done.returncode == 0, done.stderr
  switch_zoo('convert', 'random', 'mesh', '--to', 'mesh', '--model', 'tiny_switch_8')
  switch_zoo('convert', 'mesh', 'hub', '--to', 'hf')
  return 'mesh', 'hub'


def test_the_wheel_has_only_what_serves(wheel):
  with zipfile.ZipFile(wheel) as archive:
    names = [name for name in archive.namelist() if '.dist-info/' not in name]
  folders = {name.split('/')[1] for name in names if name.count('/') > 1}
  assert {'checkpoints', 'commands', 'configs', 'keras', 'serving', 'spec'} <= folders
  assert not folders & set(LEFT_OUT)
  listed = subprocess.run(['git', 'ls-files', 'gin'], cwd=CHECKOUT, capture_output=True, text=True, check=True).stdout
  gin_files = {f'switch_zoo/configs/{line.removeprefix("gin/")}' for line in listed.split()}
  assert {name for name in names if name.endswith('.gin')} == gin_files


def test_training_cannot_be_imported_there(run):
  code = f"""
import importlib.util
names = [*{OUTSIDE!r}, *(f'switch_zoo.{{name}}' for name in {LEFT_OUT!r})]
print([name for name in names if importlib.util.find_spec(name)], bool(importlib.util.find_spec('tensorflow')))
"""
  assert run(code).stdout == '[] True\n'


def test_models_are_described_as_in_the_whole_package(switch_zoo):
  from switch_zoo import list_models, load_config

  listed = json.loads(switch_zoo('models', '--json'))
  assert [(row['name'], row['parameters']) for row in listed] == [
    (name, load_config(name).num_parameters) for name in list_models()
  ]
  described = json.loads(switch_zoo('describe', 'tiny_switch_8', '--json'))
  here = json.loads(json.dumps(load_config('tiny_switch_8').as_dict()))
  for paths in ('path', 'places'):
    assert described.pop(paths) and here.pop(paths)
  assert described == here


def test_formats_hold_the_same_weights(switch_zoo, converted):
  assert switch_zoo('verify', *converted)


def test_generate_and_score(switch_zoo, converted):
  for folder in converted:
    asked = ('--vocab', 'vocabulary.model', '--text', 'the list', '--json')
    (answer,) = json.loads(switch_zoo('generate', folder, *asked, '--max-new-tokens', '4'))
    (score,) = json.loads(switch_zoo('score', folder, *asked, '--target', 'a value'))
    assert answer['input'] == 'the list' and answer['score'] < 0 and score['score'] < 0


def test_export_answers(run, switch_zoo, converted):
  switch_zoo('export', converted[0], 'exported', '--vocab', 'vocabulary.model', '--max-new-tokens', '4')
  done = run("""
import json
from switch_zoo.serving import saved_model
model = saved_model.load(saved_model.find('exported', None))
print(sorted(model.signatures), [name for name in sys.modules if name in ('mesh_tensorflow', 't5', 'seqio', 'jax')])
""")
  assert done.returncode == 0, done.stderr
  assert done.stdout.startswith("['score', 'serving_default'") and done.stdout.endswith('[]\n')


@pytest.mark.parametrize(
  ('command', 'arguments'),
  [
    ('switch_zoo', ['demo']),
    ('switch_zoo', ['tasks']),
    ('switch_zoo', ['tasks', 'x']),
    ('switch_zoo', ['corpus', '.']),
    ('switch_zoo', ['report', '.']),
    ('switch_zoo', ['compile', 't5_small', '--slice', 'v3-8']),
    ('t5_mesh_transformer', []),
  ],
)
def test_commands_that_need_the_whole_say_so(run, command, arguments):
  target = 'switch_zoo.cli import main' if command == 'switch_zoo' else 'switch_zoo.t5_mesh_transformer import *'
  call = 'main()' if command == 'switch_zoo' else 'console_entry_point()'
  done = run(f'from {target}; {call}', *arguments, command=command)
  assert done.returncode == 2 and not done.stdout
  assert 'which switch-zoo-serve does not install' in done.stderr and done.stderr.count('\n') == 1
