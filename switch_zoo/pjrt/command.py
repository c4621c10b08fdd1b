"""`t5_mesh_transformer --runtime=pjrt`: from parsed flags to the printed results."""

import random
from typing import Any

import gin
import mesh_tensorflow.transformer.utils as mesh_utils
import tensorflow.compat.v1 as tf

from switch_zoo.errors import UserError
from switch_zoo.launcher import command as launcher_command
from switch_zoo.launcher import graph_settings, latest, literal_folder, preflight, results, teacher_check
from switch_zoo.launcher import run as launcher_run
from switch_zoo.pjrt import devices, estimator, hooks, processes
from switch_zoo.spec.gin_files import GinFiles
from switch_zoo.spec.layouts import parse_any

MODES = ('train', 'perplexity_eval', 'eval', 'infer', 'score_from_strings')
_DATA_SEED = 'mesh_train_dataset_fn.seed'


def run(flags: Any, bound: GinFiles) -> None:
  """Joins the other processes, checks the run that the flags describe, executes it, and prints what it measured.

  Args:
    flags: the parsed flags of `t5_mesh_transformer`
    bound: their gin files and parameters, read and checked
  Raises:
    UserError: a mistake in the settings, before anything is written
    LostProcessError: another process ended
  """
  _check_flags(flags)
  with processes.loss_explained(flags.model_dir):
    processes.join(flags.coordinator, flags.num_processes, flags.process_id, flags.coordinator_timeout)
    mesh_shape = parse_any(graph_settings.mesh_text(bound.value('utils.run.mesh_shape', '')), '').mesh
    devices.prepare_host(mesh_shape)
    mesh = devices.mesh_of(mesh_shape)
    launcher_command.prepare(flags, bound, on_accelerator=devices.platform() != 'cpu')
    processes.check_same(f'{gin.config_str()}\nmodel_dir = {flags.model_dir!r}', 'setting')
    _check_mode()
    teacher_check.refuse_with('--runtime=pjrt')
    _check_folder(flags.model_dir)
    launcher_run.check(flags.model_dir, bound)
    processes.wait('checked')
    _prepare_folder(flags.model_dir)
    processes.wait('prepared')
    with estimator.on_devices(mesh):
      reporter = None if processes.is_chief() else hooks.Silent()
      measured = launcher_run.execute(flags.model_dir, launcher_run.Tpu(), reporter, exclusive=processes.is_chief())
    processes.wait('done')
  if measured and processes.is_chief():
    print(results.table(measured))


def _check_flags(flags: Any) -> None:
  for name in ('use_model_api', 'tpu'):
    if getattr(flags, name):
      raise UserError(
        f'--{name} is for --runtime=tensorflow. PJRT uses the devices of this machine, and gin says what to do '
        '(utils.run.mode).'
      )


def _check_mode() -> None:
  mode = preflight.parameter('utils.run.mode', 'train')
  if mode not in MODES:
    raise UserError(
      f'utils.run.mode = "{mode}" is not for --runtime=pjrt yet, which has {", ".join(MODES)}. Use '
      '--runtime=tensorflow in the same --model_dir: checkpoints are the same.'
    )
  if mode not in ('train', 'perplexity_eval') and processes.count() > 1:
    raise UserError(f'utils.run.mode = "{mode}" is for one process yet. Run it without --coordinator.')
  dtype = mesh_utils.get_variable_dtype()
  if mode == 'train' and not dtype.master_dtype == dtype.slice_dtype == tf.float32:
    raise UserError(
      f'utils.get_variable_dtype has the master_dtype {dtype.master_dtype.name} and the slice_dtype '
      f'{dtype.slice_dtype.name}. With --runtime=pjrt both must be float32: devices keep variables as checkpoints do.'
    )


def _check_folder(model_dir: str) -> None:
  if latest.is_remote(model_dir):
    raise UserError(
      f'--model_dir={model_dir}: --runtime=pjrt reads and writes checkpoints in folders of a file system that all '
      'hosts see. Mount the bucket, or use --runtime=tensorflow.'
    )


def _prepare_folder(model_dir: str) -> None:
  """What one process does in the folder before the others look at it; all get the same order of the data."""
  is_training = preflight.parameter('utils.run.mode', 'train') == 'train'
  if processes.is_chief():
    if is_training:
      with literal_folder.alias(model_dir) as folder:
        latest.prepare_training(folder)
    launcher_command.log_command(model_dir)
  if is_training and processes.count() > 1 and preflight.parameter(_DATA_SEED) is None:
    known = hooks.seed_of_data(model_dir)
    drawn = random.SystemRandom().randrange(1 << 31) if known is None else known
    with gin.unlock_config():
      gin.bind_parameter(_DATA_SEED, processes.same_number(drawn))
