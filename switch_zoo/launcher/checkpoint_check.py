"""Is the checkpoint in a run's folder one of its model? Checked before anything is written there."""

from collections.abc import Mapping, Sequence

import mesh_tensorflow as mtf
import tensorflow.compat.v1 as tf

from switch_zoo.checkpoints import differences
from switch_zoo.errors import UserError

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


def difference(model: Shapes, stored: Shapes, shown: int = 2) -> str | None:
  """The first differences between a model's variables and a checkpoint's, in words; None if there are none.

  Variables that only the checkpoint has (the slots of the optimizer) do not count.
  """
  words = differences.describe_differences({name: stored[name] for name in model if name in stored}, model)
  return differences.summarize(words, shown) or None
