"""What every run adds to the released model function: progress, summaries, a seed, the step of an evaluation.

Mesh-TensorFlow builds the Estimator's model function in `transformer.utils.tpu_estimator_model_fn`, which both
`utils.run` and T5's `MtfModel` call and which takes no hooks. `replacements` puts a thin wrapper around it.
"""

import functools
from collections.abc import Callable
from typing import Any

import tensorflow.compat.v1 as tf
from tensorflow.compat.v1 import estimator as tf_estimator

from switch_zoo import garbage
from switch_zoo.launcher import (
  building,
  evaluation,
  gradient_norm,
  one_slice,
  preflight,
  progress,
  run_state,
  saving,
  seeds,
  summary_hook,
  teacher_weights,
  updates,
)
from switch_zoo.launcher.validation import hook as validation_hook
from switch_zoo.launcher.validation.checkpoint_model import CheckpointModel
from switch_zoo.mesh import observe, teaching

_GRAPHS = {
  tf_estimator.ModeKeys.TRAIN: 'the training step',
  tf_estimator.ModeKeys.EVAL: 'the evaluation',
  tf_estimator.ModeKeys.PREDICT: 'the answers',
}


def with_hooks(make_model_fn: Callable[..., Any]) -> Callable[..., Any]:
  """`mesh_utils.tpu_estimator_model_fn` whose model functions report to the run in progress."""

  @functools.wraps(make_model_fn)
  def make(*args: Any, **kwargs: Any) -> Callable[..., Any]:
    released, run = make_model_fn(*args, **kwargs), run_state.current()

    def build(*arguments: Any) -> Any:
      if not kwargs.get('use_tpu'):
        one_slice.mark(kwargs['mesh_shape'])
        gradient_norm.mark()
      return released(*arguments)

    def model_fn(features: Any, labels: Any, mode: str, params: Any = None, config: Any = None) -> Any:
      progress.note(run.reporter, f'Building the graph of {_GRAPHS[mode]}.')
      seeds.reproducible()
      with garbage.without_collections():
        spec = build(features, labels, mode, params, config)
      return spec if kwargs.get('use_tpu') else _on_host(spec, mode, run, build, kwargs)

    return model_fn

  return make


def _on_host(spec: Any, mode: str, run: run_state.Run, released: Callable[..., Any], made_with: dict[str, Any]) -> Any:
  """The Estimator's specification with our hooks instead of the released printing of every step."""
  if mode == tf_estimator.ModeKeys.TRAIN:
    return _training(spec, run, released, made_with)
  if mode == tf_estimator.ModeKeys.PREDICT:
    return spec._replace(prediction_hooks=(*spec.prediction_hooks, evaluation.StepOfCheckpoint(run)))
  if mode == tf_estimator.ModeKeys.EVAL:
    batches = evaluation.CountedBatches(preflight.parameter('utils.run.perplexity_eval_steps'))
    return spec._replace(evaluation_hooks=(*(spec.evaluation_hooks or ()), batches))
  return spec


def _training(spec: Any, run: run_state.Run, released: Callable[..., Any], made_with: dict[str, Any]) -> Any:
  settings, model_dir = saving.Saving(), made_with['model_dir']
  saving.open_events(model_dir, settings)
  loss = spec.loss.op.inputs[0] if spec.loss.op.type == 'Print' else spec.loss
  exported = observe.exported()
  written = {'loss': loss, **summary_hook.take_scalars(), **exported}
  steps = progress.Hook(loss, exported, run.reporter, run.last_step)
  savers = saving.lean(spec.training_chief_hooks, settings)
  lesson = teaching.lesson()
  updates.come_last(spec.train_op, written.values())
  hooks = (
    steps,
    summary_hook.SummaryHook(written, model_dir, settings.summary_steps, steps.clock),
    *_validation(released, made_with, savers, steps, run),
    building.CollectionsAfterFirstStep(),
  )
  return spec._replace(
    loss=loss,
    scaffold=summary_hook.scaffold(teacher_weights.initial_weights(lesson) if lesson else None),
    training_hooks=(*spec.training_hooks, *hooks),
    training_chief_hooks=(*([teacher_weights.TeacherHook(lesson, run.reporter)] if lesson else []), *savers),
  )


def _validation(
  released: Callable[..., Any],
  made_with: dict[str, Any],
  savers: tuple[tf.train.SessionRunHook, ...],
  steps: progress.Hook,
  run: run_state.Run,
) -> tuple[tf.train.SessionRunHook, ...]:
  """The hook that validates, if there is one and something saves."""
  saver = next((hook for hook in savers if isinstance(hook, saving.SaverHook)), None)
  if saver is None:
    return ()
  make_model = lambda mode, datasets, num_batches: CheckpointModel(released, mode, datasets, num_batches)
  hook = validation_hook.of_training(make_model, made_with, saver, steps, run)
  return () if hook is None else (hook,)
