"""Layouts: which mesh axis cuts which dimension, read from gin without TensorFlow, and checked against a model.

A layout is two texts. The mesh shape gives a slice's cores axes, 'batch:16;model:2'; the rules give dimensions of the
model to axes, 'batch:batch;d_ff:model'. A rule for an axis the mesh does not have does nothing.
"""

import dataclasses
import math
import re
from collections.abc import Mapping

from switch_zoo.errors import UserError, did_you_mean
from switch_zoo.spec import gin_files
from switch_zoo.spec.config import ModelConfig

# Dimensions a rule can name in the models of this package, and what a user knows each by.
DIMENSIONS = {
  'outer_batch': 'replicas of the experts (outer_batch_size)',
  'batch': 'sequences of the batch, for each replica of the experts',
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
SEQUENCES = 2048


@dataclasses.dataclass(frozen=True)
class Layout:
  """Mesh axes and their sizes, dimensions and their axes.

  mesh: axis -> slices along it; the product is the number of slices
  rules: dimension -> axis, only those with an axis of the mesh
  outer_batch_size: replicas of the experts
  place: where the rules stand, for messages
  """

  mesh: Mapping[str, int]
  rules: Mapping[str, str]
  outer_batch_size: int = 1
  place: str = ''

  @property
  def num_slices(self) -> int:
    """Slices of the mesh, as many as there are cores."""
    return math.prod(self.mesh.values())

  def parts(self, dimension: str) -> int:
    """Into how many parts a dimension is cut; 1 where no rule cuts it."""
    return self.mesh[self.rules[dimension]] if dimension in self.rules else 1

  def text(self) -> tuple[str, str]:
    """Mesh shape and rules as Mesh-TensorFlow takes them."""
    mesh = ';'.join(f'{axis}:{size}' for axis, size in self.mesh.items())
    return mesh, ';'.join(f'{dimension}:{axis}' for dimension, axis in self.rules.items())


def list_layouts() -> list[str]:
  """Layout files that come with switch_zoo: 'data' is a strategy, 'v3-8/switch_base_8' a slice and a model."""
  folder = gin_files.configs_folder() / 'layouts'
  return sorted(str(path.relative_to(folder).with_suffix('')) for path in folder.rglob('*.gin'))


def load_layout(name: str, parameters: tuple[str, ...] = ()) -> Layout:
  """Reads a layout.

  Args:
    name: one of `list_layouts`, or the path of a gin file
    parameters: bindings laid over the file: "mesh_shape = 'batch:8'"
  Raises:
    UserError: an unknown name, a mesh shape that is missing, a text that cannot be read
  """
  path = gin_files.configs_folder() / 'layouts' / f'{name}.gin'
  bound = gin_files.GinFiles()
  bound.read_file(str(path) if path.is_file() else _own_file(name))
  for text in parameters:
    bound.read_parameter(text)
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
  """Reads the two texts of a layout.

  >>> parse('batch:4;model:2', 'batch:batch,d_ff:model').num_slices
  8

  Raises:
    UserError: a text that is not NAME:NAME pairs, a dimension or axis named twice, an axis without a positive size
  """
  mesh = {}
  for axis, size in _pairs(mesh_shape, 'mesh_shape', 'batch:4;model:2'):
    if not size.isdigit() or int(size) < 1:
      raise UserError(f'mesh_shape "{mesh_shape}": axis "{axis}" has size {size}. Use a whole number above 0.')
    mesh[axis] = int(size)
  rules = dict(_pairs(layout_rules, 'layout_rules', 'batch:batch;d_ff:model'))
  for dimension in rules:
    if dimension not in DIMENSIONS:
      raise UserError(
        f'layout rule "{dimension}:{rules[dimension]}": no model has a dimension "{dimension}", so that the rule '
        f'would cut nothing.{did_you_mean(dimension, DIMENSIONS)} Dimensions are {", ".join(DIMENSIONS)}.'
      )
  present = {dimension: axis for dimension, axis in rules.items() if axis in mesh}
  return Layout(mesh, present, outer_batch_size, place)


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
  """Refuses a layout that does not fit a model.

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
  if sequences % layout.outer_batch_size:
    raise UserError(
      f'{sequences} sequences do not divide over {layout.outer_batch_size} replicas of the experts '
      f'(outer_batch_size). Use a multiple of {layout.outer_batch_size}.'
    )
  for dimension, size in _sizes(layout, config, sequences):
    _check_divides(layout, dimension, size)
  for name, shape in config.variables.items():
    _check_axes(layout, name, shape)
  _check_axes(layout, 'a batch', {'outer_batch': 1, 'batch': 1, 'length': 1})


def parameters_per_core(layout: Layout, config: ModelConfig) -> int:
  """Weights one core holds: of each variable the part that the rules leave it."""
  share = lambda shape: math.prod(size // layout.parts(dimension) for dimension, size in shape.items())
  return sum(share(shape) for shape in config.variables.values())


def _own_file(name):
  known = list_layouts()
  if not name.endswith('.gin'):
    hint = did_you_mean(name, known) or f' Strategies are: {", ".join(k for k in known if "/" not in k)}.'
    raise UserError(f'There is no layout "{name}".{hint}')
  return name


def _pairs(text, setting, example):
  """('name', 'name') for each pair of a text, each first name once."""
  pairs = []
  for part in filter(None, re.split('[;,]', text.replace(' ', ''))):
    name, colon, value = part.partition(':')
    if not (name and colon and value):
      raise UserError(f'{setting} "{text}": "{part}" is not a pair. Write it as in "{example}".')
    if name in dict(pairs):
      raise UserError(f'{setting} "{text}" names "{name}" twice. Keep one of them.')
    pairs.append((name, value))
  return pairs


def _sizes(layout, config, sequences):
  """(dimension, size) of everything a rule can cut: of variables, and of activations where they differ."""
  sizes = {(dimension, size) for shape in config.variables.values() for dimension, size in shape.items()}
  sizes |= {('heads', config.num_heads), ('d_kv', config.d_kv), ('d_model_split', config.d_model)}
  sizes |= {('outer_batch', layout.outer_batch_size), ('batch', sequences // layout.outer_batch_size)}
  return sorted(sizes)


def _check_divides(layout, dimension, size):
  parts = layout.parts(dimension)
  if size % parts:
    axis = layout.rules[dimension]
    rule = f'layout rule "{dimension}:{axis}"' + (f' of {layout.place}' if layout.place else '')
    raise UserError(
      f'{DIMENSIONS[dimension]}={size} does not divide over mesh axis "{axis}" of size {parts} ({rule}). '
      f'Use a multiple of {parts}, or a smaller axis "{axis}".'
    )


def _check_axes(layout, name, shape):
  """A core's part of a tensor is only defined if each axis cuts at most one of its dimensions."""
  cut = [dimension for dimension in shape if dimension in layout.rules]
  for dimension in cut:
    others = [other for other in cut if other != dimension and layout.rules[other] == layout.rules[dimension]]
    if others:
      raise UserError(
        f'Layout rules give {dimension} and {others[0]} of {name} to the same mesh axis '
        f'"{layout.rules[dimension]}". Give one of them another axis, or none.'
      )
