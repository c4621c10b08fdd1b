"""What it takes to run the released Mesh-TensorFlow 0.1.21 and T5 0.9.4 on TensorFlow 2.15 and on TensorFlow 2.21.

`import switch_zoo` calls `install`, which is cheap: it imports nothing, and puts two finders on `sys.meta_path` that
make each repair at the moment the module that needs it is first imported, in whatever process that happens. `repair`
makes them at once, for programs that import Mesh-TensorFlow on the next line.

TensorFlow 2.16 removed Estimator and the modules that only Estimator used. tensorflow-estimator 2.15.0, its last
release, still has Estimator, and lacks nothing but those modules. Repairs 1, 9 and 10 act on every TensorFlow, 2 to 8
only where something is missing: what exists is never replaced.

1. `mesh_tensorflow` reads `tensorflow.python.framework.ops.register_tensor_conversion_function`, which TensorFlow 2.13
   moved to `tensor_conversion_registry`. It is set again. Goes with a Mesh-TensorFlow release that knows the move.
2. `mesh_tensorflow` and `gin.tf` read `tf.compat.v1.estimator` and `tf.estimator`. Both are names of
   tensorflow_estimator's modules again. Goes with releases of both that do without.
3. `tensorflow_estimator`'s decorator of public names reads `tf_export.ESTIMATOR_API_NAME`. Its module is replaced by a
   decorator that records nothing; nothing reads those names. 3 and 5 to 8 go when Mesh-TensorFlow no
   longer needs tensorflow_estimator.
4. `tensorflow.python.tpu.tpu_config` and `.tpu_estimator`, in 2.15 other names of tensorflow_estimator's modules, are
   that again. Goes with a Mesh-TensorFlow release that imports the modules themselves.
5. `tensorflow.python.distribute.estimator_training` is for tf.distribute strategies, which Mesh-TensorFlow does not
   use: its functions raise.
6. `tensorflow.python.tpu.session_support` saves a checkpoint when a TPU worker is lost: its functions raise, and
   TPUEstimator does without unless the user chose (TF_TPU_GRACEFUL_SHUTDOWN_MODE).
7. `tensorflow.python.tpu.tpu_embedding` and `.tpu_embedding_gradient` are for embedding tables on the sparse cores of
   TPUs, which T5 does not have: their classes and functions raise.
8. `mesh_tensorflow` uses `tf.data.experimental.CheckpointInputPipelineHook` where
   `utils.run.checkpoint_input_pipeline` is set: the class raises, and names `skip_seen_data` instead.
9. `t5.models` imports its wrapper of PyTorch models, which nothing here uses: it is imported when it is read. Without
   PyTorch, Transformers or TensorBoard a class takes its place that says what is missing. Goes with a T5 release that
   imports the wrapper on first use.
10. T5's metrics import SciPy, scikit-learn and NLTK, and seqio imports PyGlove, which few runs use: they are imported
   when something of them is used (`deferred`). With 9, a run starts three seconds earlier.

In a process that called `quiet`, as every command does, `import tensorflow` is silent (`silence`) and leaves out what
TensorFlow imports only because it is installed (`optional_packages`).
"""

import importlib.util
import sys

from switch_zoo.tf_compat import finders, repairs
from switch_zoo.tf_compat.silence import DEBUG_VARIABLE, debugging, quiet

__all__ = ['DEBUG_VARIABLE', 'debugging', 'install', 'quiet', 'repair']


def install() -> None:
  """Arranges for the repairs to be made when they are needed. Imports nothing; calling it again changes nothing."""
  if not any(isinstance(finder, finders.First) for finder in sys.meta_path):
    sys.meta_path.insert(0, finders.First(repairs.CHANGED))
  if not any(isinstance(finder, finders.Last) for finder in sys.meta_path):
    sys.meta_path.append(finders.Last(repairs.MADE))


def repair() -> None:
  """Makes the repairs now (imports TensorFlow). Calling it again changes nothing."""
  quiet()
  install()
  repairs.conversion_registry()
  if importlib.util.find_spec('tensorflow_estimator'):
    repairs.estimator_attributes()
