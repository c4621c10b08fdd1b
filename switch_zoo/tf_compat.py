"""What it takes to run the released Mesh-TensorFlow 0.1.21 and T5 0.9.4 on TensorFlow 2.15.

`import switch_zoo` calls `install`, which is cheap: it imports nothing, and puts a finder on `sys.meta_path` that makes
each repair at the moment the module that needs it is first imported, in whatever process that happens. `repair` does
the same at once, for programs that import Mesh-TensorFlow on the next line.

The repairs, and when each can go:
1. Mesh-TensorFlow (`tpu_variables.py`) reads `tensorflow.python.framework.ops.register_tensor_conversion_function`,
   which TensorFlow 2.13 moved to `tensor_conversion_registry`. Goes with a Mesh-TensorFlow release that knows it.
2. `t5.models` imports PyTorch for its Hugging Face wrapper, which nothing here uses. Without PyTorch a stand-in takes
   the wrapper's place. Goes with a T5 release that imports the wrapper on first use.
"""

import importlib.abc
import importlib.machinery
import importlib.util
import logging
import os
import sys
import types
import warnings

import absl.logging

DEBUG_VARIABLE = 'SWITCH_ZOO_DEBUG'


def debugging() -> bool:
  """True when the user asked to see tracebacks and TensorFlow's own messages (--debug or SWITCH_ZOO_DEBUG=1)."""
  return os.environ.get(DEBUG_VARIABLE, '') not in ('', '0')


def quiet() -> None:
  """Keeps TensorFlow's start-up noise and deprecation warnings off the screen; must run before TensorFlow is imported.

  Errors still arrive as exceptions. SWITCH_ZOO_DEBUG=1 leaves everything visible.
  """
  if debugging():
    return
  os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')
  os.environ.setdefault('TF_ENABLE_ONEDNN_OPTS', '1')  # stated, so that TensorFlow does not announce it
  for message in ('pkg_resources is deprecated', r'.*tf\.(keras|layers|nn)\..* is deprecated'):
    warnings.filterwarnings('ignore', message=message)
  warnings.filterwarnings('ignore', category=DeprecationWarning, module=r'(tensorflow|mesh_tensorflow|t5|seqio|flax)')
  for name in ('tensorflow', 'jax'):
    logging.getLogger(name).setLevel(logging.CRITICAL)
  absl.logging.set_verbosity(absl.logging.ERROR)


def _repair_conversion_registry() -> None:
  from tensorflow.python.framework import ops, tensor_conversion_registry

  if not hasattr(ops, 'register_tensor_conversion_function'):
    ops.register_tensor_conversion_function = tensor_conversion_registry.register_tensor_conversion_function


class _HfModelStandIn(importlib.abc.Loader):
  """Loads t5.models.hf_model as a module whose one class says what is missing."""

  def create_module(self, spec):
    return types.ModuleType(spec.name, 'Stand-in: PyTorch is not installed.')

  def exec_module(self, module):
    class HfPyTorchModel:
      """Stands for T5's wrapper of PyTorch models."""

      def __init__(self, *args, **kwargs):
        raise ImportError('t5.models.HfPyTorchModel needs PyTorch, which is not installed.')

    module.HfPyTorchModel = HfPyTorchModel


class _RepairingLoader(importlib.machinery.SourceFileLoader):
  """Loads mesh_tensorflow as ever, after the repair it needs. (Finding it alone must not import TensorFlow.)"""

  def exec_module(self, module):
    _repair_conversion_registry()
    super().exec_module(module)


class _RepairFinder(importlib.abc.MetaPathFinder):
  """Puts the repair in front of the module that needs it; every other module is left to the other finders."""

  def find_spec(self, fullname, path=None, target=None):
    if fullname == 'mesh_tensorflow':
      spec = importlib.machinery.PathFinder.find_spec(fullname, path)
      if spec:
        spec.loader = _RepairingLoader(fullname, spec.origin)
      return spec
    if fullname == 't5.models.hf_model' and importlib.util.find_spec('torch') is None:
      return importlib.machinery.ModuleSpec(fullname, _HfModelStandIn())
    return None


def install() -> None:
  """Arranges for the repairs to be made when they are needed. Imports nothing; calling it again changes nothing."""
  if not any(isinstance(finder, _RepairFinder) for finder in sys.meta_path):
    sys.meta_path.insert(0, _RepairFinder())


def repair() -> None:
  """Makes the repairs now (imports TensorFlow). Calling it again changes nothing."""
  quiet()
  install()
  _repair_conversion_registry()
