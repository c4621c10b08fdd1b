"""T5's model API (`--use_model_api --mode=...`) behind the same checks as a run configured by gin."""

import functools
import os
from collections.abc import Callable
from typing import Any

import gin
import mesh_tensorflow as mtf
import mesh_tensorflow.transformer.utils as mesh_utils
import tensorflow.compat.v1 as tf
from t5.models import mtf_model

from switch_zoo.errors import UserError
from switch_zoo.launcher import evaluation, model_function, preflight, progress


class Model(mtf_model.MtfModel):
  """T5's MtfModel, but the dtypes are what gin says: the released one forces float32 where there is no TPU."""

  def train(self, mixture_or_task_name, steps, **kwargs):
    """Trains; the released method leaves the schedule without the number of steps it needs."""
    self._learning_rate_schedule = functools.partial(self._learning_rate_schedule, total_train_steps=steps)
    super().train(mixture_or_task_name, steps, **kwargs)

  def estimator(
    self, vocabulary, init_checkpoint=None, disable_tpu=False, score_in_predict_mode=False, sequence_length=None
  ):
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


def check(flags: Any) -> None:
  """Refuses flags that do not fit the mode, and files that are missing.

  Args:
    flags: the parsed flags of `t5_mesh_transformer`
  Raises:
    UserError: what is wrong
  """
  if flags.mode is None:
    raise UserError(f'--use_model_api needs --mode: one of {", ".join(_MODES)}.')
  if flags.checkpoint_steps and flags.checkpoint_mode != 'specific':
    raise UserError(
      f'--checkpoint_steps={",".join(flags.checkpoint_steps)} has no effect with '
      f'--checkpoint_mode={flags.checkpoint_mode}. Use --checkpoint_mode=specific, or leave the steps away.'
    )
  if flags.mode in ('train', 'finetune'):
    preflight.model_dir_can_be_written(flags.model_dir)
  else:
    preflight.checkpoint_present(flags.model_dir)
  if flags.mode == 'finetune':
    preflight.checkpoint_present(flags.pretrained_model_dir)
  if flags.mode in ('train', 'finetune', 'eval'):
    preflight.mixture_or_task(flags.mixture_or_task)
    preflight.vocabulary_fits(flags.mixture_or_task)
    preflight.data_can_be_read(flags.mixture_or_task, flags.eval_split if flags.mode == 'eval' else 'train')
  if flags.mode in ('predict', 'score'):
    preflight.input_file_present(flags.input_file, '--input_file')
    preflight.output_file_possible(flags.output_file, '--output_file')
  if flags.mode == 'score':
    preflight.input_file_present(flags.target_file, '--target_file')


def execute(flags: Any, reporter=None) -> list[evaluation.Result]:
  """Does what --mode says. Returns what an evaluation measured."""
  tf.disable_v2_behavior()
  model_function.install()
  progress.watch(reporter, flags.train_steps)
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
  _MODES[flags.mode](model, flags)
  return evaluation.take_results()


def _steps(flags):
  """--checkpoint_mode and --checkpoint_steps as T5's functions want them."""
  if flags.checkpoint_mode == 'specific':
    return [int(step) for step in flags.checkpoint_steps]
  return 'all' if flags.checkpoint_mode == 'all' else -1


def _one_step(flags):
  steps = _steps(flags)
  if steps == 'all' or (isinstance(steps, list) and len(steps) != 1):
    raise UserError(f'--mode={flags.mode} takes one checkpoint: --checkpoint_mode=latest, or specific with one step.')
  return steps[0] if isinstance(steps, list) else steps


def _train(model, flags):
  model.train(flags.mixture_or_task, steps=flags.train_steps)


def _finetune(model, flags):
  start = _one_step(flags)
  if start == -1:
    start = mesh_utils.get_step_from_checkpoint_path(tf.train.latest_checkpoint(flags.pretrained_model_dir))
  progress.watch(None, start + flags.train_steps)
  model.finetune(flags.mixture_or_task, flags.train_steps, flags.pretrained_model_dir, pretrained_checkpoint_step=start)


def _eval(model, flags):
  model.eval(
    flags.mixture_or_task,
    checkpoint_steps=_steps(flags),
    summary_dir=flags.eval_summary_dir or None,
    split=flags.eval_split,
  )


def _predict(model, flags):
  model.predict(
    flags.input_file,
    flags.output_file,
    checkpoint_steps=_steps(flags),
    beam_size=flags.beam_size,
    temperature=flags.temperature,
    keep_top_k=flags.keep_top_k,
  )


def _score(model, flags):
  model.score(
    inputs=flags.input_file,
    targets=flags.target_file,
    scores_file=flags.output_file,
    checkpoint_steps=_steps(flags),
  )


def _export(model, flags):
  folder = model.export(
    export_dir=flags.export_dir or os.path.join(flags.model_dir, 'export'),
    checkpoint_step=_one_step(flags),
    beam_size=flags.beam_size,
    temperature=flags.temperature,
    keep_top_k=flags.keep_top_k,
    eval_with_score=flags.mode == 'export_score',
  )
  print(tf.compat.as_text(folder))


_MODES: dict[str, Callable[[Model, Any], None]] = {
  'train': _train,
  'finetune': _finetune,
  'eval': _eval,
  'predict': _predict,
  'score': _score,
  'export_predict': _export,
  'export_score': _export,
}
