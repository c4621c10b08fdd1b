"""`t5_mesh_transformer --runtime=pjrt`: from parsed flags to the printed results."""

import contextlib
import os
import random
import tempfile
from collections.abc import Iterator
from typing import Any

import gin
import mesh_tensorflow.transformer.utils as mesh_utils
import tensorflow.compat.v1 as tf

from switch_zoo.errors import UserError
from switch_zoo.launcher import command as launcher_command
from switch_zoo.launcher import graph_settings, latest, literal_folder, preflight, results, teacher_check
from switch_zoo.launcher import run as launcher_run
from switch_zoo.launcher.results import MetricResult
from switch_zoo.pjrt import devices, estimator, hooks, joining, processes
from switch_zoo.spec.gin_files import GinFiles
from switch_zoo.spec.layouts import parse_any

MODES = ('train', 'perplexity_eval', 'eval', 'infer', 'score_from_strings')
# Where the released code writes what it answers and measures.
_WRITTEN = (
  'utils.run.eval_summary_dir', 'utils.decode_from_file.output_filename', 'utils.decode_from_dataset.decode_output_dir',
  'launcher.save_scores.scores_filename', 'utils.save_scores.scores_filename',
  'utils.save_scores_to_tfrecords.scores_filename',
)  # fmt: skip


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
  joining.join(flags.coordinator, flags.num_processes, flags.process_id, flags.coordinator_timeout)
  with processes.loss_explained(flags.model_dir):
    with contextlib.nullcontext() if processes.is_chief() else _silent():
      measured = _run(flags, bound)
      if measured:
        print(results.table(measured))
    processes.wait('done')


def _run(flags: Any, bound: GinFiles) -> list[MetricResult]:
  """What all processes do, and what they measured."""
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
  if processes.is_chief():
    _prepare_folder(flags.model_dir)
  processes.wait('prepared')
  _agree_on_data(flags.model_dir)
  with contextlib.nullcontext() if processes.is_chief() else _writing_elsewhere(), estimator.on_devices(mesh):
    return launcher_run.execute(flags.model_dir, launcher_run.Tpu(), processes=processes.Group())


@contextlib.contextmanager
def _silent() -> Iterator[None]:
  """Within, nothing is printed: the first process prints the same."""
  with open(os.devnull, 'w') as nowhere, contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
    yield


@contextlib.contextmanager
def _writing_elsewhere() -> Iterator[None]:
  """Within, answers and measurements go into a folder that is removed afterwards: the first process writes the same."""
  with tempfile.TemporaryDirectory(prefix='switch_zoo_') as folder:
    with gin.unlock_config():
      for name in _WRITTEN:
        gin.bind_parameter(name, os.path.join(folder, 'written'))
    yield


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
  """What one process does in the folder before the others look at it."""
  if _is_training():
    with literal_folder.alias(model_dir) as folder:
      latest.prepare_training(folder)
  launcher_command.log_command(model_dir)


def _agree_on_data(model_dir: str) -> None:
  """Lets all processes draw the same where the data is random: its order, and masked spans."""
  name = 'mesh_train_dataset_fn.seed' if _is_training() else 'mesh_eval_dataset_fn.seed'
  if processes.count() == 1 or preflight.parameter(name) is not None:
    return
  known = hooks.seed_of_data(model_dir) if _is_training() else None
  drawn = random.SystemRandom().randrange(1 << 31) if known is None else known
  with gin.unlock_config():
    gin.bind_parameter(name, processes.same_number(drawn))


def _is_training() -> bool:
  return preflight.parameter('utils.run.mode', 'train') == 'train'
