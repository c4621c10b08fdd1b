"""Is the checkpoint in a run's folder one of its model? Checked before anything is written there."""

from collections.abc import Collection, Mapping, Sequence

import mesh_tensorflow as mtf
import tensorflow.compat.v1 as tf

from switch_zoo import garbage
from switch_zoo.checkpoints import differences
from switch_zoo.errors import UserError
from switch_zoo.mesh.one_core.steps import Optimization

Shapes = Mapping[str, Sequence[int]]


def same_variables(checkpoint: str, graph: mtf.Graph) -> None:
  """Checks that a checkpoint has every variable of a model, in the model's shape.

  Args:
    checkpoint: its prefix
    graph: of the model
  Raises:
    UserError: with the first differences
  """
  model = {v.name: v.shape.to_integer_list for v in graph.trainable_variables}
  words = difference(model, dict(tf.train.list_variables(checkpoint)))
  if words:
    raise UserError(
      f'{checkpoint} is the checkpoint of another model: {words}. Use another --model_dir, or the --gin_file and '
      '--gin_param that the checkpoint was made with (they are in its operative_config.gin).'
    )


def resumable(checkpoint: str, graph: mtf.Graph, optimization: Optimization) -> None:
  """Checks that a training can go on: a checkpoint has what its optimizer keeps, and no weights that it would drop.

  Args:
    checkpoint: its prefix, which `same_variables` has checked
    graph: of the model; receives the variables of the optimizer
    optimization: of the training
  Raises:
    UserError: with the first differences
  """
  stored = dict(tf.train.list_variables(checkpoint))
  before = {variable.name for variable in graph.all_variables}
  dropped = [f'{name} is only in the checkpoint' for name in only_weights(stored) if name not in before]
  if dropped:
    raise UserError(
      f'{checkpoint} is the checkpoint of a model with more layers: {differences.summarize(dropped, 2)}. Use another '
      '--model_dir, or the --gin_file and --gin_param that the checkpoint was made with.'
    )
  with tf.Graph().as_default(), garbage.without_collections():
    trained = [variable for variable in graph.trainable_variables if optimization.trains(variable)]
    gradients = [mtf.zeros_like(variable.outputs[0]) for variable in trained]
    optimization.make(tf.constant(1.0)).apply_grads(gradients, trained)
  kept = {v.name: v.shape.to_integer_list for v in graph.all_variables if v.name not in before}
  words = difference(kept, stored)
  if words:
    raise UserError(
      f'{checkpoint} is of a training with another optimizer, or of other weights (variable_filter): {words}. Resume '
      'it with the optimizer that it has, or begin in another --model_dir with its weights (INIT_CHECKPOINT).'
    )


def only_weights(names: Collection[str]) -> list[str]:
  """The names of a checkpoint without the step and what an optimizer keeps, which is named after a weight.

  >>> only_weights(['global_step', 'a/wi', 'a/wi_slot_vr', 'a/wo'])
  ['a/wi', 'a/wo']
  """
  weights: list[str] = []
  for name in sorted(names):
    if name != 'global_step' and not any(name.startswith(f'{weight}_') for weight in weights):
      weights.append(name)
  return weights


def difference(model: Shapes, stored: Shapes, shown: int = 2) -> str | None:
  """The first differences between a model's variables and a checkpoint's, in words; None if there are none.

  Variables that only the checkpoint has (the slots of the optimizer) do not count.
  """
  words = differences.describe_differences({name: stored[name] for name in model if name in stored}, model)
  return differences.summarize(words, shown) or None
