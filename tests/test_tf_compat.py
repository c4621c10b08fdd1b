"""The repairs, each in a fresh process: what matters is what happens at the first import."""

import importlib
import importlib.util
import subprocess
import sys
import types

import pytest
import tensorflow as tf
from fresh_process import run

from switch_zoo import tf_compat
from switch_zoo.tf_compat import finders, repairs

HAS_ESTIMATOR = tuple(map(int, tf.__version__.split('.')[:2])) < (2, 16)


def test_without_us_the_released_library_does_not_import():
  """When this fails, Mesh-TensorFlow was mended and repair 1 can go; 2 to 8 where there is no Estimator."""
  done = subprocess.run([sys.executable, '-c', 'import mesh_tensorflow'], capture_output=True, text=True)
  assert done.returncode != 0
  missing = 'register_tensor_conversion_function' if HAS_ESTIMATOR else "cannot import name 'estimator'"
  assert missing in done.stderr


def test_with_us_it_does_and_nothing_is_said():
  done = run(
    """
      from switch_zoo import tf_compat
      tf_compat.quiet()
      import mesh_tensorflow
      import mesh_tensorflow.transformer.moe
      import t5.models
    """
  )
  assert done.stdout == '' and done.stderr == ''


@pytest.mark.parametrize('library', ['gin.tf', 'tensorflow_estimator', 't5'])
def test_each_library_may_be_the_first(library):
  run(f'import switch_zoo, {library}')


def test_finding_the_library_does_not_import_tensorflow():
  done = run(
    """
      import importlib.util, sys
      import switch_zoo
      assert importlib.util.find_spec('mesh_tensorflow')
      assert importlib.util.find_spec('tensorflow')
      print('tensorflow' in sys.modules)
    """
  )
  assert done.stdout == 'False\n'


def test_what_exists_is_not_replaced_and_every_entry_of_the_tables_is_needed():
  done = run(
    """
      import switch_zoo
      from switch_zoo.tf_compat import repairs

      def noted(name, make):
        def make_and_print(module):
          print(name)
          make(module)
        return make_and_print

      for name, make in repairs.MADE.items():
        repairs.MADE[name] = noted(name, make)
      import mesh_tensorflow.transformer.utils, t5.models
      from switch_zoo.mesh import exchange  # imports tensorflow.compat.v1.estimator by that name
    """
  )
  assert sorted(done.stdout.split()) == ([] if HAS_ESTIMATOR else sorted(repairs.MADE))


def test_estimator_is_where_it_was():
  import mesh_tensorflow  # noqa: F401
  import tensorflow.compat.v1 as tf1
  from tensorflow.python.tpu import tpu_config, tpu_estimator

  assert tf1.estimator.tpu.TPUEstimator is tpu_estimator.TPUEstimator
  assert tf1.estimator.tpu.TPUConfig is tpu_config.TPUConfig
  assert tf.estimator.SessionRunHook is tf1.train.SessionRunHook


def test_estimator_trains_evaluates_and_predicts(tmp_path):
  import mesh_tensorflow  # noqa: F401
  import tensorflow.compat.v1 as tf1

  def model(features, labels, mode):
    weight = tf1.get_variable('weight', [], initializer=tf1.zeros_initializer())
    predictions = weight * features
    if mode == tf1.estimator.ModeKeys.PREDICT:
      return tf1.estimator.EstimatorSpec(mode, predictions=predictions)
    loss = tf1.reduce_mean((predictions - labels) ** 2)
    step = tf1.train.GradientDescentOptimizer(0.5).minimize(loss, tf1.train.get_global_step())
    return tf1.estimator.EstimatorSpec(mode, loss=loss, train_op=step)

  ones = lambda: tf.data.Dataset.from_tensors((tf.ones([1]), tf.ones([1]))).repeat(2)
  estimator = tf.estimator.Estimator(model, str(tmp_path))
  training, evaluation = tf.estimator.TrainSpec(ones, max_steps=2), tf.estimator.EvalSpec(ones)
  tf.estimator.train_and_evaluate(estimator, training, evaluation)
  assert estimator.evaluate(ones)['loss'] == 0.0
  assert list(estimator.predict(ones)) == [1.0, 1.0]


def test_t5_models_imports_without_torch():
  done = run(
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
  assert done.stdout.startswith('t5.models.hf_model.HfPyTorchModel needs PyTorch')
  assert done.stdout.rstrip().endswith('not installed.')


@pytest.mark.parametrize(
  ('make', 'name', 'message'),
  [
    (repairs.MADE['tensorflow.python.distribute.estimator_training'], 'init_run_config', 'tf.distribute strategy'),
    (repairs.MADE['tensorflow.python.tpu.session_support'], 'ResetComputation', 'TF_TPU_GRACEFUL_SHUTDOWN_MODE'),
    (repairs.MADE['tensorflow.python.tpu.tpu_embedding'], 'TableConfig', 'embedding tables'),
    (repairs.MADE['tensorflow.python.tpu.tpu_embedding_gradient'], 'create_dummy_table_variables', 'embedding tables'),
  ],
)
def test_a_stand_in_that_is_used_says_what_is_gone(monkeypatch, make, name, message):
  monkeypatch.setenv('TF_TPU_GRACEFUL_SHUTDOWN_MODE', 'reset_computation')
  module = types.ModuleType('stand_in')
  make(module)
  with pytest.raises(NotImplementedError, match=f'stand_in.{name} .*{message}.* ended with TensorFlow 2.15'):
    getattr(module, name)('any', argument='at all')
  assert not isinstance(0, getattr(module, name))


@pytest.mark.skipif(HAS_ESTIMATOR, reason='this TensorFlow has the hook')
def test_checkpoints_of_the_input_pipeline_name_the_setting_that_is_left():
  import mesh_tensorflow  # noqa: F401

  with pytest.raises(NotImplementedError, match='skip_seen_data = True'):
    tf.compat.v1.data.experimental.CheckpointInputPipelineHook(None)


@pytest.mark.parametrize(('chosen', 'expected'), [(None, ''), ('shutdown_worker', 'shutdown_worker')])
def test_training_on_tpus_does_without_graceful_shutdown_unless_the_user_asks(monkeypatch, chosen, expected):
  import os

  monkeypatch.delenv('TF_TPU_GRACEFUL_SHUTDOWN_MODE', raising=False)
  if chosen:
    monkeypatch.setenv('TF_TPU_GRACEFUL_SHUTDOWN_MODE', chosen)
  repairs.MADE['tensorflow.python.tpu.session_support'](types.ModuleType('session_support'))
  assert os.environ['TF_TPU_GRACEFUL_SHUTDOWN_MODE'] == expected


def test_installing_twice_adds_one_finder_at_each_end():
  tf_compat.install()
  before = list(sys.meta_path)
  tf_compat.install()
  assert sys.meta_path == before
  assert [sum(isinstance(finder, kind) for finder in before) for kind in (finders.First, finders.Last)] == [1, 1]


def test_repairing_twice_changes_nothing():
  from tensorflow.python.framework import ops

  tf_compat.repair()
  first = ops.register_tensor_conversion_function, tf.estimator
  tf_compat.repair()
  assert (ops.register_tensor_conversion_function, tf.estimator) == first


@pytest.fixture
def packages(tmp_path, monkeypatch):
  """A folder on the path for packages of a test's own."""
  monkeypatch.syspath_prepend(tmp_path)
  monkeypatch.setattr(sys, 'meta_path', [*sys.meta_path])
  yield tmp_path
  for name in [name for name in sys.modules if name.startswith('compat_test_')]:
    del sys.modules[name]


def test_a_changed_module_is_its_own_loaders_afterwards(packages):
  (packages / 'compat_test_changed.py').write_text('value = 1\n')

  def change(module, load):
    assert not hasattr(module, 'value')
    load()
    module.value += 1

  sys.meta_path.insert(0, finders.First({'compat_test_changed': change}))
  module = importlib.import_module('compat_test_changed')
  assert module.value == 2
  assert isinstance(module.__loader__, importlib.machinery.SourceFileLoader)
  assert module.__spec__.loader is module.__loader__


def test_an_error_while_a_changed_module_loads_is_the_importers(packages):
  (packages / 'compat_test_broken.py').write_text('raise OSError("disk")\n')
  sys.meta_path.insert(0, finders.First({'compat_test_broken': lambda module, load: load()}))
  for _ in range(2):
    with pytest.raises(OSError, match='disk'):
      importlib.import_module('compat_test_broken')


def test_only_a_module_that_nobody_has_is_made(packages):
  (packages / 'compat_test_real.py').write_text('real = True\n')
  fill = lambda module: setattr(module, 'real', False)
  sys.meta_path.append(finders.Last({'compat_test_real': fill, 'compat_test_made': fill}))
  assert importlib.import_module('compat_test_real').real
  assert not importlib.import_module('compat_test_made').real
  with pytest.raises(ModuleNotFoundError):
    importlib.import_module('compat_test_unknown')
