"""One run of a model, from gin files to the end: train, evaluate, infer or score, in this process."""

import contextlib
import dataclasses
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import gin
import mesh_tensorflow as mtf
import mesh_tensorflow.transformer.utils as mesh_utils
import tensorflow.compat.v1 as tf
from t5.models import mesh_transformer

import switch_zoo.tasks  # noqa: F401 - registers the tasks
from switch_zoo import garbage, machine, number_format
from switch_zoo.checkpoints.source import Source
from switch_zoo.errors import UserError
from switch_zoo.launcher import (
  checkpoint_check,
  decoding_check,
  disk,
  graph_settings,
  init_checkpoint,
  latest,
  layout_check,
  literal_folder,
  preflight,
  progress,
  replacements,
  run_state,
  teacher_check,
  training_lock,
)
from switch_zoo.launcher.graph_settings import GraphSettings
from switch_zoo.launcher.results import MetricResult
from switch_zoo.launcher.validation import best
from switch_zoo.launcher.validation import history as validation_history
from switch_zoo.launcher.validation import settings as validation_settings
from switch_zoo.mesh import gin_setup
from switch_zoo.mesh.one_core.steps import Optimization
from switch_zoo.mesh.teaching import Teaching
from switch_zoo.spec import setting_kinds
from switch_zoo.spec.gin_files import GinFiles
from switch_zoo.spec.gin_files import read as read_gin_files


@dataclasses.dataclass(frozen=True)
class Tpu:
  """Where the TPU is; if all fields are None, the run is on this machine."""

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
) -> list[MetricResult]:
  """Does what a run file says (runs/pretrain.gin, eval.gin, ...) with a model in `model_dir`.

  Args:
    model_dir: folder of the checkpoints
    gin_files: model, run and layout, as `t5_mesh_transformer --gin_file` takes them
    gin_params: bindings, as `--gin_param` takes them
    reporter: receives the progress of training; None prints lines
    prefixes: more folders to search for gin files
  Returns:
    what an evaluation measured; [] in other modes
  Raises:
    UserError: a mistake in the settings, before anything is written
  """
  bound = read_gin_files(gin_files, gin_params, prefixes)
  bound.check()
  setting_kinds.check(bound)
  configure(bound)
  check(model_dir, bound)
  return execute(model_dir, Tpu(), reporter)


def configure(bound: GinFiles, skip_unknown: bool | Sequence[str] = (), on_tpu: bool = False) -> None:
  """Configures gin for a run, and prints the number format it will compute in where that is not what was set.

  Args:
    bound: gin files and parameters that have been read and checked
    skip_unknown: True, or names of configurables that may be missing
    on_tpu: the run is on a TPU and not on this machine
  Raises:
    UserError: a name that does not exist
  """
  note = gin_setup.configure(bound, skip_unknown, number_format.OF_TPU if on_tpu else machine.fast_format())
  if note:
    _print(note)
  gin.finalize()


def check(model_dir: str, bound: GinFiles) -> None:
  """Opens the vocabulary, binds it, and checks that the run can work.

  Args:
    model_dir: folder of the checkpoints
    bound: what gin is configured with
  Raises:
    UserError: what is wrong
  """
  name = preflight.parameter('mesh_transformer.get_vocabulary.mixture_or_task_name')
  name = name or preflight.parameter('%MIXTURE_NAME')
  if name is None:
    raise UserError('No task is named: set MIXTURE_NAME with --gin_param="MIXTURE_NAME = \'...\'" or in a gin file.')
  preflight.vocabulary_fits(name)
  with gin.unlock_config():
    # Many existing configurations bind a vocabulary class that no longer exists.
    gin.bind_parameter('utils.run.vocabulary', mesh_transformer.get_vocabulary(name))
  mode = preflight.parameter('utils.run.mode', 'train')
  if mode == 'train':
    training_lock.check(model_dir)
  if mode in _SPLIT:
    preflight.data_can_be_read(name, preflight.parameter(*_SPLIT[mode]))
  with literal_folder.link(model_dir) as folder:
    if mode == 'train':
      preflight.model_dir_can_be_written(folder)
      checkpoint = latest.to_resume(folder)[0]
    else:
      preflight.checkpoint_present(folder)
      checkpoint = next(iter(latest.to_evaluate(folder, evaluated_steps())), latest.newest(folder))
    initial = _initial() if mode == 'train' else None
    _FILES.get(mode, lambda: None)()
    settings = graph_settings.of_gin_run(bound)
    distilled = teacher_check.check(settings) if mode == 'train' else None
    graph = layout_check.checked_graph(settings, bound)
    if distilled:
      _check_student(*distilled, graph, settings)
    if mode == 'train':
      _check_validation(folder, settings.lengths, checkpoint)
      disk.check(folder, disk.checkpoint_bytes(graph))
    if checkpoint:
      checkpoint_check.same_variables(checkpoint, graph)
      if mode == 'train':
        filtered = preflight.parameter('utils.run.variable_filter')
        chosen = getattr(filtered, 'scoped_configurable_fn', filtered)
        checkpoint_check.resumable(checkpoint, graph, Optimization(variable_filter=chosen))
    if initial:
      _check_initial(initial, graph, resumed=checkpoint is not None)


def _check_student(teaching: Teaching, source: Source | None, graph: mtf.Graph, settings: GraphSettings) -> None:
  """Checks that the student can start as it should, and says what is unusual about its teacher."""
  teacher_check.check_start(teaching, source, graph)
  note = teacher_check.lengths_note(source, settings)
  if note:
    _print(note)


def evaluated_steps() -> Any:
  """The steps whose checkpoints a run other than a training reads: -1 for the newest, 'all', a step or a list."""
  if preflight.parameter('utils.run.mode', 'train').startswith('export'):
    return preflight.parameter('utils.run.export_checkpoint_step') or -1
  return preflight.parameter('utils.run.eval_checkpoint_step')


def _initial() -> str | None:
  """The prefix of the checkpoint that weights are taken from; None: they start random."""
  path = preflight.parameter('utils.run.init_checkpoint')
  prefix = init_checkpoint.find(path)
  note = latest.note(path) if path else ''
  if note:
    _print(note)
  return prefix


@contextlib.contextmanager
def _initial_linked() -> Iterator[None]:
  """Within, the checkpoint that weights are taken from has a path that TensorFlow does not read as a pattern."""
  prefix = preflight.parameter('utils.run.init_checkpoint') if _is_training() else None
  with literal_folder.link(os.path.dirname(prefix or '')) as folder:
    if prefix and folder != os.path.dirname(prefix):
      with gin.unlock_config():
        gin.bind_parameter('utils.run.init_checkpoint', os.path.join(folder, os.path.basename(prefix)))
    yield


def _check_initial(prefix: str, graph: mtf.Graph, resumed: bool) -> None:
  """Checks the checkpoint that weights are taken from, and binds it: TensorFlow's own way to find it differs."""
  random = init_checkpoint.check(prefix, graph, preflight.parameter(_VARIABLE_FILTER) or '')
  if random and not resumed:
    _print(random)
  with gin.unlock_config():
    gin.bind_parameter('utils.run.init_checkpoint', prefix)


def _check_validation(model_dir: str, lengths: Mapping[str, int], checkpoint: str | None) -> None:
  """Checks the settings of validations, and that the best checkpoint in the folder is one of this training."""
  mixture = preflight.parameter('mesh_train_dataset_fn.mixture_or_task_name')
  if isinstance(mixture, str):
    validation_settings.check(model_dir, mixture, lengths)
  if checkpoint is None and best.read(model_dir):
    folder = os.path.join(model_dir, best.FOLDER)
    raise UserError(
      f'{folder} has the best checkpoint of an earlier training, and {model_dir} has no checkpoint to resume from. '
      'Move it away, or train in another --model_dir.'
    )


def _check_infer() -> None:
  decoding_check.decoding_possible()
  preflight.input_file_readable(preflight.parameter('utils.decode_from_file.input_filename'), 'INPUT_FILE')
  preflight.output_file_possible(preflight.parameter('utils.decode_from_file.output_filename'), 'OUTPUT_FILE')


def _check_score() -> None:
  inputs, targets = map(preflight.parameter, ('utils.score_from_strings.inputs', 'utils.score_from_strings.targets'))
  preflight.input_file_readable(inputs, 'INPUT_FILE')
  preflight.input_file_readable(targets, 'TARGET_FILE')
  preflight.one_target_for_each_input(inputs, targets, ('INPUT_FILE', 'TARGET_FILE'))
  preflight.output_file_possible(preflight.parameter('launcher.save_scores.scores_filename'), 'SCORES_FILE')


_VARIABLE_FILTER = 'utils.tpu_estimator_model_fn.init_variable_filter'
# Which split a mode reads: the parameter and its default.
_SPLIT = {
  'train': ('mesh_train_dataset_fn.dataset_split', 'train'),
  'eval': ('utils.run.dataset_split', 'validation'),
  'perplexity_eval': ('utils.run.dataset_split', 'validation'),
}
_FILES: dict[str, Callable[[], None]] = {'infer': _check_infer, 'score_from_strings': _check_score}


def execute(
  model_dir: str, tpu: Tpu, reporter: progress.Reporter | None = None, processes: run_state.Processes | None = None
) -> list[MetricResult]:
  """Runs what gin is configured for.

  Args:
    model_dir: folder of the checkpoints
    tpu: where the TPU is
    reporter: receives the progress of training; None prints lines
    processes: that do the run; None: this one alone
  Returns:
    what an evaluation measured; [] in other modes
  """
  processes = processes or run_state.Alone()
  lock = training_lock.held(model_dir) if processes.is_chief and _is_training() else contextlib.nullcontext()
  named = literal_folder.alias if processes.is_chief else literal_folder.link
  with lock, named(model_dir) as folder, _initial_linked():
    return _execute(model_dir, folder, tpu, reporter, processes)


def _execute(
  model_dir: str, folder: str, tpu: Tpu, reporter: progress.Reporter | None, processes: run_state.Processes
) -> list[MetricResult]:
  """As `execute`; `folder` is another path of `model_dir`, for TensorFlow."""
  tf.disable_v2_behavior()
  replacements.install()
  steps = preflight.parameter('utils.run.train_steps', 0)
  # Also of a training that was killed after its last checkpoint, while it removed what it no longer needed.
  _prepare(model_dir, folder)
  if _done_already(model_dir, folder, steps):
    return []
  last_step = steps if isinstance(steps, int) else 0
  run = run_state.Run(reporter or progress.Lines(), last_step, processes=processes)
  read = _checkpoints_read(folder)
  # A training switches collections on again when its first step is done.
  start = garbage.without_collections() if _is_training() else contextlib.nullcontext()
  with run_state.as_current(run), latest.damage_explained(*read), disk.full_explained(model_dir), start:
    mesh_utils.run(model_dir=folder, **dataclasses.asdict(tpu))
  if reporter is None:
    _print_what_was_written(model_dir, folder)
  return run.all_results()


def _checkpoints_read(model_dir: str) -> list[str | None]:
  """The prefixes of all checkpoints that a run reads."""
  if _is_training():
    return [latest.newest(model_dir), preflight.parameter('utils.run.init_checkpoint')]
  return [*latest.to_evaluate(model_dir, evaluated_steps()), latest.newest(model_dir)]


def _prepare(model_dir: str, folder: str) -> None:
  """Makes the folder of a training ready, and says which checkpoint is used where that was in doubt."""
  note = latest.prepare_training(folder) if _is_training() else latest.note(folder)
  if note:
    _print(note.replace(folder, model_dir))


def _is_training() -> bool:
  return preflight.parameter('utils.run.mode', 'train') == 'train'


def _done_already(model_dir: str, folder: str, steps: object) -> bool:
  """Prints that there is nothing left to train, if so; the released code would end without a word."""
  checkpoint = latest.to_resume(folder)[0] if _is_training() else None
  if checkpoint is None or not isinstance(steps, int):
    return False
  step = mesh_utils.get_step_from_checkpoint_path(checkpoint)
  settings = validation_settings.ValidationSettings()
  patience = settings.patience
  if step < steps and validation_history.stopped_early(folder, step, patience):
    _print(
      f'{model_dir} ended early at step {step:,}: {patience} validations were not better than the best one, in '
      f'{os.path.join(model_dir, best.FOLDER)}. Raise PATIENCE to continue.'
    )
    return True
  # The last validation decides which checkpoint is the best.
  if step < steps or (step == steps and validation_history.owes(folder, step, settings.every)):
    return False
  _print(f'{model_dir} is already at step {step:,}, and TRAIN_STEPS = {steps:,}: nothing to do. Raise it to continue.')
  return True


def _print_what_was_written(model_dir: str, folder: str) -> None:
  written: Callable[[], str | None] | None = {
    'train': lambda: latest.newest(folder),
    'infer': lambda: f'{preflight.parameter("utils.decode_from_file.output_filename")}-{_step(folder)}',
    'score_from_strings': lambda: f'{preflight.parameter("launcher.save_scores.scores_filename")}.scores',
  }.get(preflight.parameter('utils.run.mode', 'train'))
  if written:
    _print(f'Written: {written()}'.replace(folder, model_dir))


def _step(model_dir: str) -> int | str:
  """The step that answers are made with, as it ends the name of their file."""
  step = preflight.parameter('utils.run.eval_checkpoint_step')
  return mesh_utils.get_step_from_checkpoint_path(latest.newest(model_dir)) if step == -1 else '<step>'


def _print(text: str) -> None:
  print(text, file=sys.stderr, flush=True)
