"""The part of `t5_mesh_transformer` that needs TensorFlow: from parsed flags to the end of the run."""

import contextlib
import importlib
import os
import shlex
import sys
from collections.abc import Iterator
from typing import Any

import t5.data
import tensorflow.compat.v1 as tf

from switch_zoo.errors import UserError
from switch_zoo.launcher import literal_folder, model_api, results, saving, teacher_check, training_lock
from switch_zoo.launcher import run as launcher_run
from switch_zoo.launcher.validation import settings as validation_settings
from switch_zoo.spec.gin_files import GinFiles


def run(flags: Any, bound: GinFiles) -> None:
  """Configures and checks the run that the flags describe, executes it, and prints what an evaluation measured.

  Args:
    flags: the parsed flags of `t5_mesh_transformer`
    bound: their gin files and parameters, read and checked
  Raises:
    UserError: a mistake in the settings, before anything is written
  """
  prepare(flags, bound, on_accelerator=bool(flags.tpu))
  if flags.use_model_api:
    measured = _run_model_api(flags, bound)
  else:
    if flags.tpu:
      validation_settings.refuse_with('--tpu')
      teacher_check.refuse_with('--tpu')
      saving.refuse_seconds_with('--tpu')
    launcher_run.check(flags.model_dir, bound)
    log_command(flags.model_dir)
    tpu = launcher_run.Tpu(flags.tpu, flags.tpu_job_name, flags.gcp_project, flags.tpu_zone)
    measured = launcher_run.execute(flags.model_dir, tpu)
  if measured:
    print(results.table(measured))


def prepare(flags: Any, bound: GinFiles, on_accelerator: bool) -> None:
  """Imports the modules that the flags name, and configures gin.

  Args:
    flags, bound: as in `run`
    on_accelerator: the run is on a TPU or a GPU and not on this machine's CPU
  Raises:
    UserError: a module that cannot be imported, a name that gin does not know
  """
  for module in flags.module_import:
    _import(module)
  if flags.t5_tfds_data_dir:
    t5.data.set_tfds_data_dir_override(flags.t5_tfds_data_dir)
  skip_unknown = flags.skip_all_gin_unknowns or tuple(flags.additional_deprecated_gin_references)
  launcher_run.configure(bound, skip_unknown, on_tpu=on_accelerator)
  # After gin, so that gin does not override it.
  t5.data.add_global_cache_dirs(flags.additional_task_cache_dirs)


def _run_model_api(flags: Any, bound: GinFiles) -> list[results.MetricResult]:
  model_dir = flags.model_dir
  flags.export_dir = flags.export_dir or os.path.join(model_dir, 'export')
  with _literal_folders(flags):
    model = model_api.checked_model(flags, bound)
  is_training = flags.mode in model_api.TRAINING
  # The lock creates the folder: only then can it be linked to.
  with training_lock.held(model_dir) if is_training else contextlib.nullcontext(), _literal_folders(flags):
    model.use_folder(flags.model_dir)
    log_command(flags.model_dir)
    return model_api.execute(model, flags)


@contextlib.contextmanager
def _literal_folders(flags: Any) -> Iterator[None]:
  """Within, flags name their folders by paths that are not patterns."""
  own = flags.model_dir, flags.pretrained_model_dir
  with literal_folder.alias(own[0]) as model_dir, literal_folder.link(own[1]) as pretrained_model_dir:
    flags.model_dir, flags.pretrained_model_dir = model_dir, pretrained_model_dir
    try:
      yield
    finally:
      flags.model_dir, flags.pretrained_model_dir = own


def _import(module: str) -> None:
  try:
    importlib.import_module(module)
  except ImportError as error:
    raise UserError(f'--module_import={module} cannot be imported: {error}.') from error


def log_command(model_dir: str) -> None:
  """Keeps the command next to the model, as T5 does: commands/command, command.1, ..."""
  folder = os.path.join(model_dir, 'commands')
  tf.io.gfile.makedirs(folder)
  number = len(tf.io.gfile.listdir(folder))
  name = f'command.{number}' if number else 'command'
  with tf.io.gfile.GFile(os.path.join(folder, name), 'w') as file:
    file.write(shlex.join(sys.argv))
