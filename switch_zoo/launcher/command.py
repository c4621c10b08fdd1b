"""The part of `t5_mesh_transformer` that needs TensorFlow: from parsed flags to the end of the run."""

import importlib
import os
import shlex
import sys
from typing import Any

import t5.data
import tensorflow.compat.v1 as tf

from switch_zoo.errors import UserError
from switch_zoo.launcher import literal_folder, model_api, results
from switch_zoo.launcher import run as launcher_run
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
  with literal_folder.alias(flags.model_dir) as folder, literal_folder.link(flags.pretrained_model_dir) as pretrained:
    flags.model_dir, flags.pretrained_model_dir = folder, pretrained
    model = model_api.checked_model(flags, bound)
    log_command(folder)
    return model_api.execute(model, flags)


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
