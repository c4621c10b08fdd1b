"""Layouts: which mesh axis cuts which dimension, read from gin without TensorFlow, and checked against a model.

A layout is two texts. The mesh shape names the axes of the mesh of cores and their sizes, 'batch:16;model:2'; the rules
assign dimensions of the model to axes, 'batch:batch;d_ff:model'. A rule for an axis that the mesh does not have has no
effect.
"""

import dataclasses
import math
import re
from collections.abc import Collection, Iterable, Mapping

from switch_zoo.errors import UserError, did_you_mean, shortened
from switch_zoo.spec import gin_files
from switch_zoo.spec.config import ModelConfig

# Dimensions of the models of this package that a rule can name -> what a user calls them.
DIMENSIONS = {
  'outer_batch': 'replicas of the experts (outer_batch_size)',
  'batch': 'batch size, in sequences for each replica of the experts',
  'length': 'tokens of a sequence',
  'd_model': 'd_model',
  'd_model_split': 'd_model',
  'd_ff': 'd_ff',
  'd_kv': 'd_kv',
  'heads': 'num_heads',
  'vocab': 'vocab_size',
  'experts': 'num_experts',
  'expert_hidden': 'expert_d_ff',
}
# More dimensions of Mesh-TensorFlow's Transformer layers. Released rules name some of them, in every model:
# "ensemble:ensemble,batch:batch,d_ff:model,heads:model,vocab:model,experts:batch".
RELEASED_DIMENSIONS = frozenset({
    'alpha', 'batch_unsplit', 'beam', 'buckets', 'd_k', 'd_v', 'decoder_module_inputs', 'encoder_module_outputs',
    'ensemble', 'expanded', 'expert_capacity', 'expert_capacity_x', 'expert_capacity_y', 'expert_unsplit',
    'expert_x', 'expert_x_unsplit', 'expert_y', 'expert_y_unsplit', 'gate_embedding', 'gates', 'group',
    'group_size_x', 'group_size_y', 'inner_vocab', 'input_dim', 'key', 'knn', 'knn_square_dim', 'layer',
    'max_length', 'memory_block_length', 'memory_length', 'microbatch', 'n_heads', 'n_keys', 'n_values',
    'new_length', 'num_expert_layers', 'prefix_hidden', 'product_key', 'query_block_length', 'query_heads',
    'repeated_kernel_dim', 'segments', 'single_bias', 'single_scale', 'softmax_components', 'stacked',
    'tail_clusters', 'task_num', 'window',
})  # fmt: skip
SEQUENCES = 2048


@dataclasses.dataclass(frozen=True)
class Layout:
  """Mesh axes and their sizes, dimensions and their axes.

  mesh: axis -> slices along it; the product is the number of slices
  rules: dimension -> axis, only those with an axis of the mesh
  outer_batch_size: replicas of the experts
  place: where the rules are written, for messages
  """

  mesh: Mapping[str, int]
  rules: Mapping[str, str]
  outer_batch_size: int = 1
  place: str = ''

  @property
  def num_slices(self) -> int:
    """Slices of the mesh: one for each core."""
    return math.prod(self.mesh.values())

  def parts(self, dimension: str) -> int:
    """How many parts a dimension is cut into; 1 if no rule cuts it."""
    return self.mesh[self.rules[dimension]] if dimension in self.rules else 1

  def text(self) -> tuple[str, str]:
    """Mesh shape and rules as Mesh-TensorFlow takes them."""
    mesh = ';'.join(f'{axis}:{size}' for axis, size in self.mesh.items())
    return mesh, ';'.join(f'{dimension}:{axis}' for dimension, axis in self.rules.items())


def list_layouts() -> list[str]:
  """Layout files that come with switch_zoo: 'data' is a strategy, 'v3-8/switch_base_8' a slice and a model."""
  folder = gin_files.configs_folder() / 'layouts'
  return sorted(str(path.relative_to(folder).with_suffix('')) for path in folder.rglob('*.gin'))


class OpenMeshError(UserError):
  """A layout that serves many meshes was given none; commands say how theirs is given."""


def load_layout(name: str, parameters: tuple[str, ...] = ()) -> Layout:
  """Reads a layout.

  Args:
    name: one of `list_layouts`, or the path of a gin file
    parameters: bindings that override the file's: "mesh_shape = 'batch:8'"
  Raises:
    OpenMeshError: the mesh shape is missing
    UserError: an unknown name, another value that is missing, a text that cannot be parsed
  """
  path = gin_files.configs_folder() / 'layouts' / f'{name}.gin'
  bound = gin_files.GinFiles()
  bound.read_file(str(path) if path.is_file() else _own_file(name))
  for text in parameters:
    bound.read_parameter(text)
  if open_mesh := bound.missing('mesh_shape'):
    raise OpenMeshError(open_mesh)
  bound.check()
  for setting in ('mesh_shape', 'layout_rules'):
    if f'utils.run.{setting}' not in bound.bindings:
      raise UserError(f'{name} is not a layout: it sets no utils.run.{setting}.')
  return parse(
    bound.value('utils.run.mesh_shape'),
    bound.value('utils.run.layout_rules'),
    bound.value('utils.tpu_estimator_model_fn.outer_batch_size', 1),
    bound.bindings['utils.run.layout_rules'].place,
  )


def parse(mesh_shape: str, layout_rules: str, outer_batch_size: int = 1, place: str = '') -> Layout:
  """Parses the two texts of a layout.

  >>> parse('batch:4;model:2', 'batch:batch,d_ff:model').num_slices
  8

  Args:
    mesh_shape, layout_rules: in Mesh-TensorFlow's syntax
    outer_batch_size: replicas of the experts
    place: where the rules are written, for messages
  Raises:
    UserError: a text that is not NAME:NAME pairs, a dimension or axis named twice, an axis without a positive size, a
      dimension that no model has
  """
  layout = parse_any(mesh_shape, layout_rules, outer_batch_size, place)
  check_dimensions(layout_rules)
  return layout


def parse_any(mesh_shape: str, layout_rules: str, outer_batch_size: int = 1, place: str = '') -> Layout:
  """Like `parse`, whatever dimensions the rules name: a user's own layers may have more, see `check_dimensions`."""
  mesh = {}
  for axis, size in _pairs(mesh_shape, 'mesh_shape', 'batch:4;model:2'):
    if not size.isdigit() or int(size) < 1:
      raise UserError(f'mesh_shape "{mesh_shape}": axis "{axis}" has size {size}. Use a whole number above 0.')
    mesh[axis] = int(size)
  present = {dimension: axis for dimension, axis in _rules(layout_rules) if axis in mesh}
  return Layout(mesh, present, outer_batch_size, place)


def check_dimensions(layout_rules: str, own: Collection[str] = ()) -> None:
  """Checks that rules name dimensions that a model can have.

  Args:
    layout_rules: in Mesh-TensorFlow's syntax
    own: dimensions of a user's own layers
  Raises:
    UserError: the first name that is not one, with the closest ones
  """
  for dimension, axis in _rules(layout_rules):
    if dimension not in {*DIMENSIONS, *RELEASED_DIMENSIONS, *own}:
      raise UserError(
        f'layout rule "{dimension}:{axis}": no model has a dimension "{dimension}", so the rule would cut nothing.'
        f'{did_you_mean(dimension, {*DIMENSIONS, *own})} Dimensions are {", ".join(DIMENSIONS)}.'
      )


def cores(slice_name: str) -> int:
  """Cores of a TPU slice.

  >>> cores('v3-32')
  32

  Raises:
    UserError: a name of another form
  """
  found = re.fullmatch(r'v\d+[a-z]*-(\d+)', slice_name)
  if not found:
    raise UserError(f'"{slice_name}" is not a TPU slice. Its form is version-cores: v3-32, v4-512.')
  return int(found[1])


def check(layout: Layout, config: ModelConfig, sequences: int = SEQUENCES, slice_name: str = '') -> None:
  """Checks that a layout fits a model.

  Args:
    layout: of `load_layout` or `parse`
    config: the model
    sequences: sequences of one batch, all replicas together
    slice_name: a TPU slice whose cores the mesh has to fill; '' for any number
  Raises:
    UserError: a dimension that does not divide over its axis, an axis that cuts a tensor twice, or a mesh of another
      size than the slice
  """
  if slice_name and layout.num_slices != cores(slice_name):
    mesh = ' x '.join(f'{axis}:{size}' for axis, size in layout.mesh.items())
    raise UserError(
      f'The mesh {mesh} has {layout.num_slices} slices, and {slice_name} has {cores(slice_name)} cores: a core holds '
      f'one slice. Make the axes multiply to {cores(slice_name)}.'
    )
  check_batch(layout, sequences)
  for dimension, size in _sizes(config):
    _check_divides(layout, dimension, size)
  for name, shape in config.variables.items():
    _check_axes(layout, name, shape)


def check_batch(layout: Layout, sequences: int) -> None:
  """Checks that a batch divides over its axes, whatever the model.

  Raises:
    UserError: it does not, or an axis cuts it twice
  """
  if sequences % layout.outer_batch_size:
    raise UserError(
      f'{sequences} sequences do not divide over {layout.outer_batch_size} replicas of the experts '
      f'(outer_batch_size). Use a multiple of {layout.outer_batch_size}.'
    )
  sizes = {'outer_batch': layout.outer_batch_size, 'batch': sequences // layout.outer_batch_size}
  for dimension, size in sizes.items():
    _check_divides(layout, dimension, size)
  _check_axes(layout, 'a batch', {**sizes, 'length': 1})


def check_tensors(layout: Layout, tensors: Iterable[tuple[str, Mapping[str, int]]]) -> None:
  """Checks that a layout fits the tensors of a graph, also of layers that a ModelConfig cannot describe.

  Args:
    layout: of `load_layout` or `parse`
    tensors: name and {axis: size} of each
  Raises:
    UserError: a dimension that does not divide over its axis, or an axis that cuts a tensor twice
  """
  for name, shape in tensors:
    for dimension, size in shape.items():
      _check_divides(layout, dimension, size)
    _check_axes(layout, name, shape)


def parameters_per_core(layout: Layout, config: ModelConfig) -> int:
  """Weights that one core holds: its share of each variable under the rules."""
  share = lambda shape: math.prod(size // layout.parts(dimension) for dimension, size in shape.items())
  return sum(share(shape) for shape in config.variables.values())


def _own_file(name: str) -> str:
  known = list_layouts()
  if not name.endswith('.gin'):
    hint = did_you_mean(name, known) or f' Strategies are: {", ".join(k for k in known if "/" not in k)}.'
    raise UserError(f'There is no layout "{name}".{hint}')
  return name


def _pairs(text: str, setting: str, example: str) -> list[tuple[str, str]]:
  """('name', 'name') for each pair of a text, each first name once. Separators are Mesh-TensorFlow's."""
  pairs = []
  for part in filter(None, re.split(r'[,.;\s]', text)):
    name, colon, value = part.partition(':')
    if not (name and colon and value):
      raise UserError(f'{setting} "{shortened(text)}": "{shortened(part)}" is not a pair. Write it as in "{example}".')
    if name in dict(pairs):
      raise UserError(f'{setting} "{shortened(text)}" names "{name}" twice. Keep one of them.')
    pairs.append((name, value))
  return pairs


def _rules(text: str) -> list[tuple[str, str]]:
  return _pairs(text, 'layout_rules', 'batch:batch;d_ff:model')


def _sizes(config: ModelConfig) -> list[tuple[str, int]]:
  """(dimension, size) of all that a rule can cut: of variables, and of activations where those differ."""
  sizes = {(dimension, size) for shape in config.variables.values() for dimension, size in shape.items()}
  sizes |= {('heads', config.num_heads), ('d_kv', config.d_kv)}
  if config.num_experts:
    sizes.add(('d_model_split', config.d_model))
  return sorted(sizes)


def _check_divides(layout: Layout, dimension: str, size: int) -> None:
  parts = layout.parts(dimension)
  if size % parts:
    axis = layout.rules[dimension]
    rule = f'layout rule "{dimension}:{axis}"' + (f' of {layout.place}' if layout.place else '')
    name = DIMENSIONS.get(dimension, dimension)
    raise UserError(
      f'{name}={size} does not divide over mesh axis "{axis}" of size {parts} ({rule}). '
      f'Use a multiple of {parts}, or a smaller axis "{axis}".'
    )


def _check_axes(layout: Layout, name: str, shape: Mapping[str, int]) -> None:
  """Checks that each axis cuts at most one dimension of a tensor: otherwise a core's part is not defined."""
  dimension_of: dict[str, str] = {}
  for dimension in shape:
    axis = layout.rules.get(dimension)
    if axis is None:
      continue
    if axis in dimension_of:
      raise UserError(
        f'Layout rules give {dimension_of[axis]} and {dimension} of {name} to the same mesh axis "{axis}". '
        'Give one of them another axis, or none.'
      )
    dimension_of[axis] = dimension
