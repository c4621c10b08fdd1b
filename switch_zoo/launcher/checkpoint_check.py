"""Can the model be built, and is the checkpoint in its folder one of it? Asked before anything is written there."""

from collections.abc import Mapping, Sequence
from typing import Any

import mesh_tensorflow as mtf
import mesh_tensorflow.transformer.utils as mesh_utils
import tensorflow.compat.v1 as tf
from tensorflow.compat.v1 import estimator as tf_estimator

from switch_zoo.checkpoints import differences
from switch_zoo.errors import UserError

Shapes = Mapping[str, Sequence[int]]


def same_variables(model_dir: str, run: Mapping[str, Any]) -> None:
  """Builds the model's graph, and refuses a folder whose latest checkpoint lacks a variable or has another shape.

  The graph is built without a checkpoint too: then it is here that the layers refuse wrong settings.

  Args:
    model_dir: the folder; it may be missing or empty
    run: what gin binds for `utils.run`, evaluated
  Raises:
    UserError: with the first differences
  """
  wanted = variables(run)
  checkpoint = tf.train.latest_checkpoint(model_dir) if tf.io.gfile.isdir(model_dir) else None
  if checkpoint is None:
    return
  found = difference(wanted, dict(tf.train.list_variables(checkpoint)))
  if found:
    raise UserError(
      f'{model_dir} holds the checkpoint of another model: {found}. Use another --model_dir, or the --gin_file and '
      '--gin_param the checkpoint was made with (its operative_config.gin has them).'
    )


def variables(run: Mapping[str, Any]) -> Shapes:
  """Name -> shape of the trainable variables of the model that gin describes: its graph is built, but not lowered.

  Args:
    run: what gin binds for `utils.run`, evaluated
  """
  mesh_shape, layout = mtf.convert_to_shape(run['mesh_shape']), mtf.convert_to_layout_rules(run['layout_rules'])
  batch = run['batch_size']
  if not isinstance(batch, int):
    batch = mesh_utils.compute_batch_size(run['sequence_length'], mesh_shape, layout, batch)
  graph = mtf.Graph()
  with tf.Graph().as_default():
    mesh = mtf.Mesh(graph, 'mesh')
    model = mesh_utils.build_model(
      model_type=run['model_type'],
      input_vocab_size=mesh_utils.inputs_vocabulary(run['vocabulary']).vocab_size,
      output_vocab_size=mesh_utils.targets_vocabulary(run['vocabulary']).vocab_size,
      layout_rules=layout,
      mesh_shape=mesh_shape,
    )
    ids = lambda feature: mtf.zeros(
      mesh, [mtf.Dimension('batch', batch), mtf.Dimension('length', run['sequence_length'][feature])], tf.int32
    )
    model.call_simple(ids('inputs'), ids('targets'), compute_loss=True, mode=tf_estimator.ModeKeys.EVAL)
  return {v.name: v.shape.to_integer_list for v in graph.trainable_variables}


def difference(wanted: Shapes, stored: Shapes, most: int = 2) -> str | None:
  """The first differences between the model's variables and the checkpoint's, in words; None when there is none.

  What only the checkpoint has (the slots of the optimizer) is no difference.
  """
  words = differences.describe_differences({name: stored[name] for name in wanted if name in stored}, wanted)
  return differences.summarize(words, most) or None
