"""The repairs themselves; the package's docstring says what each is for."""

import importlib
import importlib.util
import os
import types

from switch_zoo.tf_compat import deferred, optional_packages, silence
from switch_zoo.tf_compat.finders import Change, Load, Make
from switch_zoo.tf_compat.stand_ins import alias_of, names_that_raise

_INPUT_HOOK = 'CheckpointInputPipelineHook'
_ESTIMATOR_NAMES = ('tensorflow.compat.v1.estimator', 'tensorflow.estimator')
_GONE = 'ended with TensorFlow 2.15. Install tensorflow==2.15.1, on CPython 3.10 or 3.11, to use it.'


# What T5's metrics compute with; the two functions are read when T5 makes its tables of GLUE's metrics.
_METRICS = {
  'scipy': (),
  'scipy.stats': (),
  'sklearn': (),
  'sklearn.metrics': ('matthews_corrcoef', 'fbeta_score'),
  'rouge_score.rouge_scorer': (),
  'rouge_score.scoring': (),
}


def conversion_registry() -> None:
  """Gives `ops` the function back that TensorFlow 2.13 moved to `tensor_conversion_registry`."""
  from tensorflow.python.framework import ops, tensor_conversion_registry

  name = 'register_tensor_conversion_function'
  if not hasattr(ops, name):
    setattr(ops, name, tensor_conversion_registry.register_tensor_conversion_function)


def estimator_attributes() -> None:
  """Makes `tf.estimator` and `tf.compat.v1.estimator` attributes again."""
  import tensorflow as tf

  for name, module in zip(_ESTIMATOR_NAMES, (tf.compat.v1, tf), strict=True):
    if not hasattr(module, 'estimator'):
      importlib.import_module(name)  # made by the last finder; the import sets the attribute


def input_pipeline_hook() -> None:
  """Gives `tf.data.experimental` a CheckpointInputPipelineHook that says what to set instead."""
  import tensorflow.compat.v1 as tf

  if not hasattr(tf.data.experimental, _INPUT_HOOK):
    names_that_raise(
      [_INPUT_HOOK], NotImplementedError, f'{_GONE} Or set utils.run.checkpoint_input_pipeline = '
      'False; utils.run.skip_seen_data = True skips what was read before a restart.',
    )(tf.data.experimental)  # fmt: skip


def _mesh_tensorflow(unused_module: types.ModuleType, load: Load) -> None:
  conversion_registry()
  estimator_attributes()
  input_pipeline_hook()
  load()


def _gin_tf(unused_module: types.ModuleType, load: Load) -> None:
  estimator_attributes()
  load()


def _estimator_export(module: types.ModuleType, load: Load) -> None:
  from tensorflow.python.util import tf_export

  if hasattr(tf_export, 'ESTIMATOR_API_NAME'):
    load()
  else:
    vars(module)['estimator_export'] = _UnrecordedName


class _UnrecordedName:
  """A decorator that leaves what it decorates as it is. The original records a public name, which nothing reads."""

  def __init__(self, *unused_names, v1=None):
    del v1

  def __call__(self, decorated):
    return decorated


def _hf_model(module: types.ModuleType, load: Load) -> None:
  missing = [name for name in ('torch', 'transformers', 'tensorboard') if importlib.util.find_spec(name) is None]
  if missing:
    names_that_raise(['HfPyTorchModel'], ImportError, f'needs {_listed(missing)}.')(module)
  else:
    load()


def _listed(packages):
  shown = {'torch': 'PyTorch', 'transformers': 'Transformers', 'tensorboard': 'TensorBoard'}
  names = [shown[package] for package in packages]
  return f'{" and ".join(names)}, which {"is" if len(names) == 1 else "are"} not installed'


def _estimator_training(module: types.ModuleType) -> None:
  names_that_raise(
    ['init_run_config', 'train_and_evaluate', 'estimator_train', 'estimator_evaluate'],
    NotImplementedError, f'for Estimator with a tf.distribute strategy {_GONE}',
  )(module)  # fmt: skip
  # Asked in every train_and_evaluate; without init_run_config the answer is always no.
  vars(module)['should_run_distribute_coordinator'] = lambda config: False


def _session_support(module: types.ModuleType) -> None:
  names_that_raise(
    ['start_worker_watchdog', 'ShutdownLameWorkers', 'ShutdownAllWorkers', 'ResetComputation', 'GracefulShutdownHook'],
    NotImplementedError,
    f'(TF_TPU_GRACEFUL_SHUTDOWN_MODE, TF_TPU_WATCHDOG_TIMEOUT: what to do when a TPU worker fails) {_GONE}',
  )(module)
  # TPUEstimator's default asks for it. Empty: training on TPUs does without, and stops at the first lost worker.
  os.environ.setdefault('TF_TPU_GRACEFUL_SHUTDOWN_MODE', '')


_embedding_tables = names_that_raise(
  [
    'AdagradParameters', 'AdamParameters', 'FtrlParameters', 'MomentumParameters', 'ProximalAdagradParameters',
    'RMSPropParameters', 'StochasticGradientDescentParameters', 'FeatureConfig', 'TableConfig', 'TPUEmbedding',
    'EnqueueData',
  ],
  NotImplementedError, f'(embedding tables on the sparse cores of TPUs) {_GONE}',
)  # fmt: skip
_embedding_gradients = names_that_raise(
  [
    'create_dummy_table_variables', 'hook_dummy_table_variables_to_activations',
    'get_gradients_through_dummy_table_variables',
  ],
  NotImplementedError, f'(embedding tables on the sparse cores of TPUs) {_GONE}',
)  # fmt: skip


def _tensorflow(unused_module: types.ModuleType, load: Load) -> None:
  with silence.without_log_lines(), optional_packages.hidden():
    load()
  silence.no_renames()


def _without_optional_packages(unused_module: types.ModuleType, load: Load) -> None:
  with optional_packages.hidden():
    load()


CHANGED: dict[str, Change] = {
  'tensorflow': _tensorflow,
  'tensorflow_estimator.python.estimator.inputs.queues.feeding_functions': _without_optional_packages,
  'tensorflow_estimator.python.estimator.inputs.pandas_io': _without_optional_packages,
  'mesh_tensorflow': _mesh_tensorflow,
  'gin.tf': _gin_tf,
  'tensorflow_estimator.python.estimator.estimator_export': _estimator_export,
  't5.models': deferred.attribute_of('t5.models.hf_model', 'HfPyTorchModel'),
  't5.models.hf_model': _hf_model,
  't5.evaluation.metrics': deferred.imports_of(_METRICS),
  'seqio.dataset_providers': deferred.imports_of({'pyglove': ()}),
}
MADE: dict[str, Make] = {
  'tensorflow.compat.v1.estimator': alias_of('tensorflow_estimator._api.v1.estimator'),
  'tensorflow.estimator': alias_of('tensorflow_estimator._api.v2.estimator'),
  'tensorflow.python.tpu.tpu_config': alias_of('tensorflow_estimator.python.estimator.tpu.tpu_config'),
  'tensorflow.python.tpu.tpu_estimator': alias_of('tensorflow_estimator.python.estimator.tpu.tpu_estimator'),
  'tensorflow.python.distribute.estimator_training': _estimator_training,
  'tensorflow.python.tpu.session_support': _session_support,
  'tensorflow.python.tpu.tpu_embedding': _embedding_tables,
  'tensorflow.python.tpu.tpu_embedding_gradient': _embedding_gradients,
}
