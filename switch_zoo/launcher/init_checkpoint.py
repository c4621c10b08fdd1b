"""The checkpoint whose weights a training starts from: can they be taken over? Checked before anything is written."""

import os
import re
from collections.abc import Mapping

import mesh_tensorflow as mtf
import mesh_tensorflow.transformer.utils as mesh_utils
import tensorflow.compat.v1 as tf

from switch_zoo.checkpoints import differences, mesh_folder, names, sources, tensor_bundle
from switch_zoo.errors import UserError
from switch_zoo.launcher import latest, literal_folder

SETTING = 'INIT_CHECKPOINT'
# A variable of a training's checkpoint that is not a weight.
_STATE = re.compile(r'^global_step$|_slot_')


def find(path: str | None, setting: str = SETTING) -> str | None:
  """The prefix of the checkpoint that a setting names.

  Args:
    path: a prefix, or a folder whose newest checkpoint is meant; None or a path in a bucket is returned as it is
    setting: what the user calls it
  Raises:
    UserError: it is not a checkpoint of Mesh-TensorFlow, or a damaged one
  """
  if path is None or latest.is_remote(path):
    return path
  if tensor_bundle.has_prefix(path):
    damage = tensor_bundle.damage(path)
    if damage:
      raise UserError(f'{setting} = "{path}": {damage} Copy it again.')
    return path
  checkpoint = mesh_folder.newest_whole(path)
  if checkpoint:
    return checkpoint[0]
  raise UserError(
    f'{setting} = "{path}" is not a checkpoint: '
    + (foreign(path) or 'neither a folder that contains one nor a path such as DIR/model.ckpt-1000.')
    + (' Use None to start from random weights.' if setting == SETTING else '')
  )


def foreign(path: str) -> str:
  """What a folder with weights in another format is, and the command that converts them; '' if it has none."""
  if not os.path.isdir(path):
    return ''
  try:
    kind = sources.detect(path)
  except UserError:
    return ''
  converted = f'{path.rstrip("/")}_mesh'
  return (
    f'its format is {names.TITLES[kind]}, and a run reads that of Mesh-TensorFlow. Convert it with '
    f'`switch_zoo convert {path} {converted} --to mesh --dtype float32`, and give {converted}.'
  )


def check(prefix: str, graph: mtf.Graph, variable_filter: str = '') -> str:
  """Checks that the weights of a checkpoint fit the variables of a model.

  Args:
    prefix: of `find`
    graph: of the model
    variable_filter: regular expression of the names that are loaded, as `tpu_estimator_model_fn` takes it
  Returns:
    which of the model's weights are not in it and stay random, as a sentence; '' if all are
  Raises:
    UserError: none of its weights is the model's, one has another shape, or another type than float32
  """
  stored = {name: info for name, info in tensors_of(prefix).items() if re.search(variable_filter or '', name)}
  model = {variable.name: variable for variable in graph.trainable_variables}
  mapped = {name: mesh_utils.init_checkpoint_variable_mapping(name) for name in model}
  loaded = [name for name in model if mesh_utils.should_load_variable(name) and mapped[name] in stored]
  if not loaded:
    weights = [name for name in stored if not _STATE.search(name)]
    raise UserError(
      f'{prefix} has no weight of this model: it has {differences.summarize(weights, 2) or "none at all"}, and the '
      f'model has {differences.summarize(list(model), 2)}. Give a checkpoint of this model, or the model file '
      '(--gin_file) that the checkpoint was made with.'
    )
  shapes = differences.describe_differences(
    {name: stored[mapped[name]][0] for name in loaded}, {name: model[name].shape.to_integer_list for name in loaded}
  )
  if shapes:
    raise UserError(
      f'{prefix} is the checkpoint of another model: {differences.summarize(shapes)}. Give a checkpoint of this model, '
      'or the --gin_file and --gin_param that the checkpoint was made with.'
    )
  _check_types({name: stored[mapped[name]][1] for name in loaded}, prefix)
  absent = [name for name in model if name not in loaded]
  if not absent:
    return ''
  return (
    f'{len(absent):,} of {len(model):,} weights are not in {prefix} and start random: {differences.summarize(absent)}.'
  )


def _check_types(types: Mapping[str, str], prefix: str) -> None:
  """Refuses weights of a type that TensorFlow does not assign to a float32 variable."""
  other = [name for name, dtype in types.items() if dtype != 'float32']
  if other:
    converted = f'{os.path.dirname(prefix) or "weights"}_float32'
    raise UserError(
      f'{prefix}: {other[0]} is {types[other[0]]}, and training reads float32. Convert it with `switch_zoo convert '
      f'{prefix} {converted} --to mesh --dtype float32`, and give {converted}.'
    )


def tensors_of(prefix: str) -> dict[str, tuple[list[int], str]]:
  """Name -> shape and type of every tensor of a checkpoint."""
  with literal_folder.link(os.path.dirname(prefix)) as folder:
    reader = tf.train.load_checkpoint(os.path.join(folder, os.path.basename(prefix)))
  types = reader.get_variable_to_dtype_map()
  return {name: (list(shape), types[name].name) for name, shape in reader.get_variable_to_shape_map().items()}
