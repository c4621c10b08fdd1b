"""The part of `t5_mesh_transformer` that needs TensorFlow: from parsed flags to the end of the run."""

import importlib
import os
import shlex
import sys
from typing import Any

import t5.data
import tensorflow.compat.v1 as tf

from switch_zoo.errors import UserError
from switch_zoo.launcher import evaluation, model_api
from switch_zoo.launcher import run as launcher_run


def run(flags: Any) -> None:
  """Configures, checks and does what the flags say; prints what an evaluation measured.

  Args:
    flags: the parsed flags of `t5_mesh_transformer`
  Raises:
    UserError: a mistake in the settings, before anything is written
  """
  for module in flags.module_import:
    _import(module)
  if flags.t5_tfds_data_dir:
    t5.data.set_tfds_data_dir_override(flags.t5_tfds_data_dir)
  skip_unknown = flags.skip_all_gin_unknowns or tuple(flags.additional_deprecated_gin_references)
  launcher_run.configure(flags.gin_file or [], flags.gin_param or [], flags.gin_location_prefix, skip_unknown)
  # After gin, so that gin does not override it.
  t5.data.add_global_cache_dirs(flags.additional_task_cache_dirs)
  if flags.use_model_api:
    model_api.check(flags)
    _log_command(flags.model_dir)
    results = model_api.execute(flags)
  else:
    launcher_run.check(flags.model_dir)
    _log_command(flags.model_dir)
    tpu = launcher_run.Tpu(flags.tpu, flags.tpu_job_name, flags.gcp_project, flags.tpu_zone)
    results = launcher_run.execute(flags.model_dir, tpu)
  if results:
    print(evaluation.table(results))


def _import(module):
  try:
    importlib.import_module(module)
  except ImportError as error:
    raise UserError(f'--module_import={module} cannot be imported: {error}.') from error


def _log_command(model_dir):
  """Keeps the command beside the model, as T5 does: commands/command, command.1, ..."""
  folder = os.path.join(model_dir, 'commands')
  tf.io.gfile.makedirs(folder)
  number = len(tf.io.gfile.listdir(folder))
  name = f'command.{number}' if number else 'command'
  with tf.io.gfile.GFile(os.path.join(folder, name), 'w') as file:
    file.write(shlex.join(sys.argv))
