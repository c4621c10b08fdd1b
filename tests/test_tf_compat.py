"""The repairs, each in a fresh process: what matters is what happens at the first import."""

import subprocess
import sys
import textwrap

import pytest

from switch_zoo import tf_compat


def fresh_process(code, **environment):
  """Runs code in a new interpreter; returns what it printed."""
  import os

  env = {**os.environ, **environment}
  env.pop(tf_compat.DEBUG_VARIABLE, None) if tf_compat.DEBUG_VARIABLE not in environment else None
  env.pop('TF_CPP_MIN_LOG_LEVEL', None)
  done = subprocess.run([sys.executable, '-c', textwrap.dedent(code)], capture_output=True, text=True, env=env)
  assert done.returncode == 0, done.stderr
  return done


def test_without_us_the_released_library_does_not_import():
  """When this fails, Mesh-TensorFlow was mended and repair 1 can go."""
  done = subprocess.run([sys.executable, '-c', 'import mesh_tensorflow'], capture_output=True, text=True)
  assert done.returncode != 0
  assert 'register_tensor_conversion_function' in done.stderr


def test_with_us_it_does_and_nothing_is_said():
  done = fresh_process(
    """
      from switch_zoo import tf_compat
      tf_compat.quiet()
      import mesh_tensorflow
      import mesh_tensorflow.transformer.moe
      """
  )
  assert done.stdout == '' and done.stderr == ''


def test_finding_the_library_does_not_import_tensorflow():
  done = fresh_process(
    """
      import importlib.util, sys
      import switch_zoo
      assert importlib.util.find_spec('mesh_tensorflow')
      print('tensorflow' in sys.modules)
      """
  )
  assert done.stdout == 'False\n'


def test_t5_models_imports_without_torch():
  done = fresh_process(
    """
      import importlib.machinery, importlib.util, sys
      from switch_zoo import tf_compat
      tf_compat.quiet()
      find = importlib.util.find_spec
      importlib.util.find_spec = lambda name, *rest: None if name == 'torch' else find(name, *rest)
      import t5.models
      assert 'torch' not in sys.modules
      try:
        t5.models.HfPyTorchModel()
      except ImportError as error:
        print(error)
      """
  )
  assert 'needs PyTorch, which is not installed' in done.stdout


def test_installing_twice_adds_one_finder():
  tf_compat.install()
  before = list(sys.meta_path)
  tf_compat.install()
  assert sys.meta_path == before


def test_repairing_twice_changes_nothing():
  from tensorflow.python.framework import ops

  tf_compat.repair()
  first = ops.register_tensor_conversion_function
  tf_compat.repair()
  assert ops.register_tensor_conversion_function is first


def test_debug_shows_the_messages_of_tensorflow():
  done = fresh_process(
    """
      from switch_zoo import tf_compat
      tf_compat.quiet()
      import tensorflow
      """,
    SWITCH_ZOO_DEBUG='1',
  )
  assert done.stderr != ''


@pytest.mark.parametrize(('value', 'expected'), [('', False), ('0', False), ('1', True)])
def test_debugging(monkeypatch, value, expected):
  monkeypatch.setenv(tf_compat.DEBUG_VARIABLE, value)
  assert tf_compat.debugging() is expected
