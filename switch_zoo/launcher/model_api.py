"""T5's model API (`--use_model_api --mode=...`) behind the same checks as a run configured by gin."""

import functools
import os
from collections.abc import Callable, Mapping
from typing import Any

import gin
import mesh_tensorflow as mtf
import mesh_tensorflow.transformer.utils as mesh_utils
import tensorflow.compat.v1 as tf
from t5.models import mesh_transformer, mtf_model

from switch_zoo.errors import UserError
from switch_zoo.launcher import (
  disk,
  graph_settings,
  init_checkpoint,
  latest,
  layout_check,
  preflight,
  progress,
  replacements,
  run_state,
  teacher_check,
  training_lock,
)
from switch_zoo.launcher.results import MetricResult
from switch_zoo.mesh import gin_setup
from switch_zoo.spec.gin_files import GinFiles

TRAINING = ('train', 'finetune')
_OF_A_TASK = (*TRAINING, 'eval')
_EXPORTS = ('export_predict', 'export_score')


class Model(mtf_model.MtfModel):
  """T5's MtfModel, but the dtypes are what gin says: the released one forces float32 where there is no TPU."""

  def train(self, mixture_or_task_name: str, steps: int, **kwargs: Any) -> None:
    """Trains; the released method does not give the schedule the number of steps, which it needs."""
    self._learning_rate_schedule = functools.partial(self._learning_rate_schedule, total_train_steps=steps)
    super().train(mixture_or_task_name, steps, **kwargs)

  def use_folder(self, model_dir: str) -> None:
    """Uses another path of its folder."""
    self._model_dir = model_dir

  def estimator(
    self,
    vocabulary: Any,
    init_checkpoint: str | None = None,
    disable_tpu: bool = False,
    score_in_predict_mode: bool = False,
    sequence_length: Mapping[str, int] | None = None,
  ) -> Any:
    """The Estimator of this model; arguments as in MtfModel."""
    with gin.unlock_config():
      gin.parse_config(self._gin_bindings)
    here = disable_tpu or not self._tpu
    return mesh_utils.get_estimator(
      model_type=self._model_type,
      vocabulary=vocabulary,
      mesh_shape=mtf.Shape([]) if disable_tpu else self._mesh_shape,
      mesh_devices=None if disable_tpu else self._mesh_devices,
      layout_rules=self._layout_rules,
      model_dir=self._model_dir,
      batch_size=self.batch_size,
      sequence_length=sequence_length or self._sequence_length,
      autostack=self._autostack,
      learning_rate_schedule=self._learning_rate_schedule,
      keep_checkpoint_max=self._keep_checkpoint_max,
      save_checkpoints_steps=self._save_checkpoints_steps,
      optimizer=self._optimizer,
      predict_fn=self._predict_fn,
      variable_filter=self._variable_filter,
      ensemble_inputs=self._ensemble_inputs,
      use_tpu=None if here else self._tpu,
      tpu_job_name=self._tpu_job_name,
      iterations_per_loop=self._iterations_per_loop,
      cluster=self._cluster,
      init_checkpoint=init_checkpoint,
      score_in_predict_mode=score_in_predict_mode,
    )


def checked_model(flags: Any, bound: GinFiles) -> Model:
  """The model that the flags describe, after all checks; nothing has been written.

  Args:
    flags: the parsed flags of `t5_mesh_transformer`
    bound: what gin is configured with; the operative_config.gin of the model's folder, which T5 lets override it, is
      added
  Raises:
    UserError: flags that do not fit the mode, files that are missing, a layout that does not fit
  """
  _check_flags(flags)
  model = Model(
    model_dir=flags.model_dir,
    tpu=flags.tpu,
    tpu_job_name=flags.tpu_job_name,
    tpu_zone=flags.tpu_zone,
    gcp_project=flags.gcp_project,
    tpu_topology=flags.tpu_topology,
    model_parallelism=flags.model_parallelism,
    batch_size=flags.batch_size,
    sequence_length={'inputs': flags.input_sequence_length, 'targets': flags.target_sequence_length},
  )
  if flags.mode != 'train':
    read_operative_config(flags.pretrained_model_dir if flags.mode == 'finetune' else flags.model_dir, bound)
  if flags.mode in TRAINING:
    teacher_check.refuse_with('--use_model_api')
  graph = layout_check.checked_graph(_graph_settings(model, flags, bound), bound)
  if flags.mode in TRAINING:
    disk.check(flags.model_dir, disk.checkpoint_bytes(graph))
  if flags.mode == 'finetune':
    init_checkpoint.check(_pretrained(flags), graph)
  return model


def _check_flags(flags: Any) -> None:
  if flags.mode is None:
    raise UserError(f'--use_model_api needs --mode: one of {", ".join(_MODES)}.')
  if flags.checkpoint_steps and flags.checkpoint_mode != 'specific':
    raise UserError(
      f'--checkpoint_steps={",".join(flags.checkpoint_steps)} has no effect with '
      f'--checkpoint_mode={flags.checkpoint_mode}. Use --checkpoint_mode=specific, or leave out the steps.'
    )
  if flags.mode in TRAINING:
    training_lock.check(flags.model_dir)
    preflight.model_dir_can_be_written(flags.model_dir)
    latest.to_resume(flags.model_dir)
  else:
    preflight.checkpoint_present(flags.model_dir)
    latest.to_evaluate(flags.model_dir, _steps(flags))
  if flags.mode in _OF_A_TASK:
    preflight.mixture_or_task(flags.mixture_or_task)
    preflight.vocabulary_fits(flags.mixture_or_task)
    preflight.data_can_be_read(flags.mixture_or_task, flags.eval_split if flags.mode == 'eval' else 'train')
  if flags.mode in ('predict', 'score'):
    preflight.input_file_readable(flags.input_file, '--input_file')
    preflight.output_file_possible(flags.output_file, '--output_file')
  if flags.mode == 'score':
    preflight.input_file_readable(flags.target_file, '--target_file')
    files = (flags.input_file or None, flags.target_file or None)
    preflight.one_target_for_each_input(*files, ('--input_file', '--target_file'))


def _pretrained(flags: Any) -> str:
  """The prefix of the checkpoint that --mode=finetune starts from.

  Raises:
    UserError: there is none, or it is damaged
  """
  step = _one_step(flags)
  path = flags.pretrained_model_dir if step == -1 else os.path.join(flags.pretrained_model_dir, f'model.ckpt-{step}')
  prefix = init_checkpoint.find(path, '--pretrained_model_dir')
  if prefix is None:
    raise UserError('--mode=finetune needs --pretrained_model_dir, the folder of the checkpoint to start from.')
  return prefix


def read_operative_config(folder: str, bound: GinFiles) -> None:
  """Configures gin with a training's operative_config.gin, as T5 does before it uses a checkpoint.

  T5 reads the file once more itself. By then the modules that it imports under the names they had before are imported.

  Args:
    folder: of the checkpoint
    bound: takes what the file binds
  Raises:
    UserError: the file is not gin, its macros have no value, or it imports a module that does not exist
  """
  path = os.path.join(folder, 'operative_config.gin')
  if os.path.isfile(path):  # T5 itself reads those in a bucket
    bound.read_file(path)
    bound.check_chains()
    gin_setup.import_modules(bound.imports)
  mtf_model._parse_operative_config(folder)  # pylint: disable=protected-access - what MtfModel's methods call


def _graph_settings(model: Model, flags: Any, bound: GinFiles) -> graph_settings.GraphSettings:
  """The settings of the graph that a mode builds. MtfModel keeps them in private attributes."""
  # pylint: disable=protected-access
  vocabulary = (
    mesh_transformer.get_vocabulary(flags.mixture_or_task)
    if flags.mode in _OF_A_TASK
    else mtf_model.utils.get_vocabulary()
  )
  return graph_settings.GraphSettings(
    model_type=model._model_type,
    vocab_sizes=graph_settings.vocab_sizes(vocabulary),
    lengths=model._sequence_length,
    batch_size=model.batch_size,
    mesh_shape='' if flags.mode in _EXPORTS else graph_settings.mesh_text(model._mesh_shape),
    layout_rules=graph_settings.rules_text(model._layout_rules),
    rules_place=graph_settings.place(bound, 'MtfModel.layout_rules'),
    outer_batch_size=graph_settings.outer_batch_size(),
    mode='train' if flags.mode in TRAINING else flags.mode,
  )


def execute(model: Model, flags: Any, reporter: progress.Reporter | None = None) -> list[MetricResult]:
  """Does what --mode says.

  Args:
    model: of `checked_model`
    flags: the parsed flags of `t5_mesh_transformer`
    reporter: receives the progress of training; None prints lines
  Returns:
    what an evaluation measured
  """
  tf.disable_v2_behavior()
  replacements.install()
  if flags.mode in TRAINING:
    latest.prepare_training(flags.model_dir)
  run = run_state.Run(reporter or progress.Lines(), flags.train_steps, task=flags.mixture_or_task)
  damage = latest.damage_explained(latest.newest(flags.model_dir))
  with run_state.as_current(run), damage, disk.full_explained(flags.model_dir):
    _MODES[flags.mode](model, flags, run)
  return run.all_results()


def _steps(flags: Any) -> Any:
  """--checkpoint_mode and --checkpoint_steps as T5's functions take them: -1 for the latest, 'all' or a list."""
  if flags.checkpoint_mode == 'specific':
    return [int(step) for step in flags.checkpoint_steps]
  return 'all' if flags.checkpoint_mode == 'all' else -1


def _one_step(flags: Any) -> int:
  steps = _steps(flags)
  if isinstance(steps, list) and len(steps) == 1:
    return steps[0]
  if not isinstance(steps, int):
    raise UserError(f'--mode={flags.mode} takes one checkpoint: --checkpoint_mode=latest, or specific with one step.')
  return steps


def _train(model: Model, flags: Any, run: run_state.Run) -> None:
  model.train(flags.mixture_or_task, steps=flags.train_steps)


def _finetune(model: Model, flags: Any, run: run_state.Run) -> None:
  start = mesh_utils.get_step_from_checkpoint_path(_pretrained(flags))
  run.last_step = start + flags.train_steps
  model.finetune(flags.mixture_or_task, flags.train_steps, flags.pretrained_model_dir, pretrained_checkpoint_step=start)


def _eval(model: Model, flags: Any, run: run_state.Run) -> None:
  model.eval(
    flags.mixture_or_task,
    checkpoint_steps=_steps(flags),
    summary_dir=flags.eval_summary_dir or None,
    split=flags.eval_split,
  )


def _predict(model: Model, flags: Any, run: run_state.Run) -> None:
  model.predict(
    flags.input_file,
    flags.output_file,
    checkpoint_steps=_steps(flags),
    beam_size=flags.beam_size,
    temperature=flags.temperature,
    keep_top_k=flags.keep_top_k,
  )


def _score(model: Model, flags: Any, run: run_state.Run) -> None:
  model.score(
    inputs=flags.input_file,
    targets=flags.target_file,
    scores_file=flags.output_file,
    checkpoint_steps=_steps(flags),
  )


def _export(model: Model, flags: Any, run: run_state.Run) -> None:
  folder = model.export(
    export_dir=flags.export_dir,
    checkpoint_step=_one_step(flags),
    beam_size=flags.beam_size,
    temperature=flags.temperature,
    keep_top_k=flags.keep_top_k,
    eval_with_score=flags.mode == 'export_score',
  )
  print(tf.compat.as_text(folder))


_MODES: dict[str, Callable[[Model, Any, run_state.Run], None]] = {
  'train': _train,
  'finetune': _finetune,
  'eval': _eval,
  'predict': _predict,
  'score': _score,
  'export_predict': _export,
  'export_score': _export,
}
