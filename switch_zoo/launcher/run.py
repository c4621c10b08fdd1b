"""One run of a model, from gin files to the end: train, evaluate, infer or score, in this process."""

import dataclasses
import sys
from collections.abc import Callable, Sequence
from typing import Any

import gin
import mesh_tensorflow.transformer.utils as mesh_utils
import tensorflow.compat.v1 as tf
from t5.models import mesh_transformer

import switch_zoo.tasks  # noqa: F401 - registers the tasks
from switch_zoo.errors import UserError
from switch_zoo.launcher import checkpoint_check, evaluation, model_function, preflight, progress
from switch_zoo.mesh import gin_setup
from switch_zoo.spec import gin_files


@dataclasses.dataclass(frozen=True)
class Tpu:
  """Where the TPU is; all None is this machine."""

  tpu: str | None = None
  tpu_job_name: str | None = None
  gcp_project: str | None = None
  tpu_zone: str | None = None


def run(
  model_dir: str,
  gin_files: Sequence[str],
  gin_params: Sequence[str] = (),
  reporter: progress.Reporter | None = None,
  prefixes: Sequence[str] = (),
) -> list[evaluation.Result]:
  """Does what a run file says (runs/pretrain.gin, eval.gin, ...) with a model in `model_dir`.

  Args:
    model_dir: folder of the checkpoints
    gin_files: model, run and layout, as `t5_mesh_transformer --gin_file` takes them
    gin_params: bindings, as `--gin_param` takes them
    reporter: who is told about training; None prints lines
    prefixes: more folders to look for gin files in
  Returns:
    what an evaluation measured; empty for other modes
  Raises:
    UserError: a mistake in the settings, before anything is written
  """
  configure(gin_files, gin_params, prefixes)
  check(model_dir)
  return execute(model_dir, Tpu(), reporter)


def configure(
  files: Sequence[str], params: Sequence[str], prefixes: Sequence[str] = (), skip_unknown: Any = ()
) -> None:
  """Reads and checks gin files and parameters and binds them.

  Args:
    files, params, prefixes: as in `run`
    skip_unknown: True, or names of configurables that may be missing
  Raises:
    UserError: what is wrong with them
  """
  gin_files.read(files, params, prefixes).check()
  gin_setup.configure(files, params, prefixes, skip_unknown)
  gin.finalize()


def check(model_dir: str) -> None:
  """Opens the vocabulary, binds it, and refuses a run that cannot work.

  Raises:
    UserError: what is wrong
  """
  name = preflight.parameter('mesh_transformer.get_vocabulary.mixture_or_task_name')
  name = name or preflight.parameter('%MIXTURE_NAME')
  if name is None:
    raise UserError('No task is named: set MIXTURE_NAME with --gin_param="MIXTURE_NAME = \'...\'" or in a gin file.')
  preflight.vocabulary_fits(name)
  with gin.unlock_config():
    # Many existing configurations bind a vocabulary class that is gone.
    gin.bind_parameter('utils.run.vocabulary', mesh_transformer.get_vocabulary(name))
  mode = preflight.parameter('utils.run.mode', 'train')
  if mode in _SPLIT:
    preflight.data_can_be_read(name, preflight.parameter(*_SPLIT[mode]))
  if mode == 'train':
    preflight.model_dir_can_be_written(model_dir)
    preflight.init_checkpoint_present(preflight.parameter('utils.run.init_checkpoint'))
  else:
    preflight.checkpoint_present(model_dir)
  _FILES.get(mode, lambda: None)()
  checkpoint_check.same_variables(model_dir, gin.get_bindings(mesh_utils.run))


def _check_infer():
  preflight.input_file_present(preflight.parameter('utils.decode_from_file.input_filename'), 'INPUT_FILE')
  preflight.output_file_possible(preflight.parameter('utils.decode_from_file.output_filename'), 'OUTPUT_FILE')


def _check_score():
  preflight.input_file_present(preflight.parameter('utils.score_from_strings.inputs'), 'INPUT_FILE')
  preflight.input_file_present(preflight.parameter('utils.score_from_strings.targets'), 'TARGET_FILE')
  preflight.output_file_possible(preflight.parameter('launcher.save_scores.scores_filename'), 'SCORES_FILE')


# Which split a mode reads: the parameter and its default.
_SPLIT = {
  'train': ('mesh_train_dataset_fn.dataset_split', 'train'),
  'eval': ('utils.run.dataset_split', 'validation'),
  'perplexity_eval': ('utils.run.dataset_split', 'validation'),
}
_FILES: dict[str, Callable[[], None]] = {'infer': _check_infer, 'score_from_strings': _check_score}


def execute(model_dir: str, tpu: Tpu, reporter: progress.Reporter | None = None) -> list[evaluation.Result]:
  """Runs what gin is configured for. Returns what an evaluation measured."""
  tf.disable_v2_behavior()
  model_function.install()
  steps = preflight.parameter('utils.run.train_steps', 0)
  progress.watch(reporter, steps if isinstance(steps, int) else 0)
  if _done_already(model_dir, steps):
    return []
  mesh_utils.run(model_dir=model_dir, **dataclasses.asdict(tpu))
  if reporter is None:
    _say_what_was_made(model_dir)
  return evaluation.take_results()


def _done_already(model_dir, steps):
  """Says that there is nothing left to train; the released code would end without a word."""
  checkpoint = tf.train.latest_checkpoint(model_dir) if tf.io.gfile.isdir(model_dir) else None
  if preflight.parameter('utils.run.mode', 'train') != 'train' or checkpoint is None or not isinstance(steps, int):
    return False
  step = mesh_utils.get_step_from_checkpoint_path(checkpoint)
  if step < steps:
    return False
  _say(f'{model_dir} is at step {step:,} already, and TRAIN_STEPS = {steps:,}: nothing to do. Raise it to go on.')
  return True


def _say_what_was_made(model_dir):
  made = {
    'train': lambda: tf.train.latest_checkpoint(model_dir),
    'infer': lambda: f'{preflight.parameter("utils.decode_from_file.output_filename")}-{_step(model_dir)}',
    'score_from_strings': lambda: f'{preflight.parameter("launcher.save_scores.scores_filename")}.scores',
  }.get(preflight.parameter('utils.run.mode', 'train'))
  if made:
    _say(f'Written: {made()}')


def _step(model_dir):
  """The step answers are made with, as it ends the name of their file."""
  asked = preflight.parameter('utils.run.eval_checkpoint_step')
  return mesh_utils.get_step_from_checkpoint_path(tf.train.latest_checkpoint(model_dir)) if asked == -1 else '<step>'


def _say(text):
  print(text, file=sys.stderr, flush=True)
