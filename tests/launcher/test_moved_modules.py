"""A training's operative_config.gin outlives the names of modules: one of before they moved still configures a run."""

import importlib
import importlib.util
import os
import pathlib
import subprocess
import sys

import pytest

from switch_zoo.mesh import gin_setup
from switch_zoo.spec import gin_files
from switch_zoo.tasks import pydoc_topics, vocabularies

BEFORE = pathlib.Path(__file__).with_name('operative_config_before.gin')


@pytest.mark.parametrize('name', gin_setup.MOVED)
def test_a_moved_module_is_where_the_table_says(name):
  importlib.import_module(gin_setup.MOVED[name])
  with pytest.raises(ImportError):
    importlib.import_module(name)


def test_the_old_file_imports_what_has_moved():
  imports = gin_files.read([str(BEFORE)]).imports
  assert {'switch_zoo.experts', 'switch_zoo.loss', 'switch_zoo.routing.routers', 'switch_zoo.stacks'} <= set(imports)


def test_every_import_of_ours_in_it_is_known_today():
  ours = [name for name in gin_files.read([str(BEFORE)]).imports if name.startswith('switch_zoo.')]
  for name in ours:
    assert importlib.util.find_spec(gin_setup.MOVED.get(name, name)), name


def in_a_fresh_process(code, *arguments):
  """Runs Python code in which nothing of switch_zoo has been imported; returns what it prints."""
  done = subprocess.run([sys.executable, '-c', code, *map(str, arguments)], capture_output=True, text=True, check=False)
  assert done.returncode == 0, done.stderr
  return done.stdout


def test_it_configures_a_model_and_the_next_file_has_todays_names():
  code = """
import sys
from switch_zoo import tf_compat
tf_compat.repair()
import gin
import tensorflow.compat.v1 as tf
from switch_zoo.mesh import gin_setup
from switch_zoo.mesh import graph as mesh_graph
from switch_zoo.spec import gin_files
gin_setup.configure(gin_files.read([sys.argv[1]]))
with tf.Graph().as_default():
  model = mesh_graph.make_transformer((1024, 1024), '', '')
  training = mesh_graph.build_training(model, mesh_graph.Batch(4, {'inputs': 32, 'targets': 16}))
print(mesh_graph.parameter_count(training.graph))
print(*[line for line in gin.operative_config_str().splitlines() if line.startswith('import switch_zoo')], sep=chr(10))
"""
  parameters, *imports = in_a_fresh_process(code, BEFORE).splitlines()
  assert parameters == '460800'
  modules = {line.split()[1] for line in imports}
  assert {'switch_zoo.mesh.experts', 'switch_zoo.mesh.loss', 'switch_zoo.mesh.routing.routers'} <= modules
  assert not modules & set(gin_setup.MOVED)


def test_the_model_api_reads_it(tmp_path):
  (tmp_path / 'operative_config.gin').write_text(BEFORE.read_text())
  code = """
import sys
from switch_zoo import tf_compat
tf_compat.repair()
import gin
from switch_zoo.launcher import model_api
from switch_zoo.spec import gin_files
bound = gin_files.GinFiles()
model_api.read_operative_config(sys.argv[1], bound)
print(bound.value('num_experts'), gin.query_parameter('%num_experts'))
print(gin.get_configurable('experts.SwitchFeedForward').__module__)
"""
  assert in_a_fresh_process(code, tmp_path) == '8 8\nswitch_zoo.mesh.experts\n'


@pytest.mark.slow
def test_a_training_resumes_with_it(tmp_path):
  vocabulary = tmp_path / 'vocabulary.model'
  vocabularies.train(list(pydoc_topics.documents())[:400], vocabulary, num_pieces=924)
  done = subprocess.run(
    [
      sys.executable, '-m', 'switch_zoo.t5_mesh_transformer', f'--model_dir={tmp_path}/model', f'--gin_file={BEFORE}',
      '--gin_param=TRAIN_STEPS = 1',
    ],
    env={**os.environ, vocabularies.DEMO_VARIABLE: str(vocabulary), 'PYTHONWARNINGS': 'ignore'},
    capture_output=True, text=True, check=False,
  )  # fmt: skip
  assert done.returncode == 0, done.stderr
  assert 'step 1/1' in done.stderr
  imports = (tmp_path / 'model' / 'operative_config.gin').read_text()
  assert 'import switch_zoo.mesh.experts' in imports and 'import switch_zoo.experts' not in imports
