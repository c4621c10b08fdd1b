"""Room for the checkpoints of a training: checked before it starts, and explained if it runs out after all."""

import contextlib
import os
import resource
import shutil
from collections.abc import Iterator

import mesh_tensorflow as mtf

from switch_zoo.errors import UserError, full_disk
from switch_zoo.launcher import latest


def checkpoint_bytes(graph: mtf.Graph) -> int:
  """Bytes that a checkpoint of a model takes at least: those of its weights; Adafactor adds little."""
  return sum(variable.shape.size * variable.dtype.master_dtype.size for variable in graph.trainable_variables)


def check(model_dir: str, nbytes: int) -> None:
  """Checks that one checkpoint fits on the disk of a folder that may not exist yet.

  Raises:
    UserError: with what is free and what is needed
  """
  if latest.is_remote(model_dir):
    return
  folder = os.path.abspath(model_dir)
  while not os.path.exists(folder):
    folder = os.path.dirname(folder)
  free, limit = shutil.disk_usage(folder).free, resource.getrlimit(resource.RLIMIT_FSIZE)[0]
  if free < nbytes:
    raise UserError(
      f'--model_dir={model_dir} is on a disk with {_size(free)} free, and a checkpoint of this model takes at least '
      f'{_size(nbytes)}. Free some space, or choose a folder on another disk.'
    )
  if 0 <= limit < nbytes:
    raise UserError(
      f'A checkpoint of this model takes at least {_size(nbytes)}, and this shell allows files of {_size(limit)}. '
      'Raise the limit with `ulimit -f unlimited`.'
    )


@contextlib.contextmanager
def full_explained(model_dir: str) -> Iterator[None]:
  """Within, an error about a full disk says where, and how the run is resumed."""
  try:
    yield
  except Exception as error:
    full = full_disk(error)
    if not full:
      raise
    prefix = latest.newest(model_dir)
    resumed = f'it resumes from {os.path.basename(prefix)}' if prefix else 'no checkpoint had been written'
    raise UserError(f'{full} for {model_dir}. Free some space, and repeat the command: {resumed}.') from error


def _size(nbytes: int) -> str:
  return f'{nbytes / 1e9:,.2f} GB' if nbytes >= 1e7 else f'{nbytes / 1e6:,.2f} MB'
