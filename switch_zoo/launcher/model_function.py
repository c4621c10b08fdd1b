"""What every run adds to the released model function: progress, summaries, a seed, the step of an evaluation.

Mesh-TensorFlow builds the Estimator's model function in `transformer.utils.tpu_estimator_model_fn`, which both
`utils.run` and T5's `MtfModel` call and which has no place for hooks. `install` puts a thin wrapper around it.
"""

import functools

import mesh_tensorflow as mtf
import mesh_tensorflow.transformer.utils as mesh_utils
from tensorflow.compat.v1 import estimator as tf_estimator

from switch_zoo.launcher import answers, evaluation, progress, seeds, updates
from switch_zoo.mesh import observe, summaries
from switch_zoo.tasks import packing


def install() -> None:
  """Wraps the released model function; calling it again changes nothing."""
  if not hasattr(mesh_utils.tpu_estimator_model_fn, 'switch_zoo'):
    mesh_utils.tpu_estimator_model_fn = _wrap(mesh_utils.tpu_estimator_model_fn)
    answers.install()
    evaluation.install()
    packing.install()
    mtf.serialize_training_step = observe.through_microbatches(mtf.serialize_training_step)


def _wrap(make_model_fn):
  @functools.wraps(make_model_fn)
  def make(*args, **kwargs):
    released = make_model_fn(*args, **kwargs)

    def model_fn(features, labels, mode, params=None, config=None):
      seeds.reproducible()
      spec = released(features, labels, mode, params, config)
      return spec if kwargs.get('use_tpu') else _on_host(spec, mode)

    return model_fn

  make.switch_zoo = True
  return make


def _on_host(spec, mode):
  """The Estimator's specification with our hooks in the place of the released print of every step."""
  if mode == tf_estimator.ModeKeys.TRAIN:
    updates.come_last(spec.train_op)
    loss = spec.loss.op.inputs[0] if spec.loss.op.type == 'Print' else spec.loss
    hook = progress.Hook(loss, observe.exported())
    summaries.write()
    return spec._replace(loss=loss, training_hooks=(*spec.training_hooks, hook))
  if mode == tf_estimator.ModeKeys.PREDICT:
    return spec._replace(prediction_hooks=(*spec.prediction_hooks, evaluation.StepOfCheckpoint()))
  return spec
