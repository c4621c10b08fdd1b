"""Does this TensorFlow work with TPUs? The one on the package index does not, and would fail without saying why."""

from switch_zoo.errors import UserError

# The operation with which every session on a TPU begins.
_FIRST_OPERATION = '_ConfigureDistributedTPU'


def check(tpu: str | None) -> None:
  """Checks that the installed TensorFlow can run on a TPU.

  Args:
    tpu: the value of --tpu; None or '' if it was not given
  Raises:
    UserError: it has no kernels for TPUs
  """
  if not tpu:
    return
  import tensorflow as tf
  from tensorflow.python.framework import kernels

  if not kernels.get_registered_kernels_for_op(_FIRST_OPERATION).kernel:
    raise UserError(
      f'--tpu={tpu}: the installed TensorFlow {tf.__version__} has no kernels for TPUs; no release on the package '
      'index has them. Use that of the TPU VM image tpu-vm-tf-2.15.1, in an environment made with '
      '--system-site-packages, or leave out --tpu and run with --runtime=pjrt. docs/tpu.md describes both.'
    )
