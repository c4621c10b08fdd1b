"""Does the run's layout fit its model and its batch? Checked before anything is written.

A run that does not fit would fail when Mesh-TensorFlow lowers the graph: after minutes, with a folder half made, and in
terms of tensors.
"""

import dataclasses
import re
from collections.abc import Iterator, Mapping

import mesh_tensorflow as mtf

from switch_zoo.errors import UserError
from switch_zoo.launcher.graph_settings import GraphSettings
from switch_zoo.mesh import graph as mesh_graph
from switch_zoo.spec import layouts, zoo
from switch_zoo.spec.config import ModelConfig
from switch_zoo.spec.gin_files import GinFiles


def checked_graph(settings: GraphSettings, bound: GinFiles) -> mtf.Graph:
  """The graph of a run's forward pass, whose layout fits.

  The settings are checked first, so that messages are about settings; then every tensor of the graph, which covers
  layers that a ModelConfig cannot describe.

  Args:
    settings: of the run; gin is configured
    bound: what gin was configured with
  Raises:
    UserError: the layout does not fit, or a layer refuses a setting
  """
  layout, config = settings.layout(), _described(settings, bound)
  sequences = settings.sequences()
  if config:
    layouts.check_dimensions(settings.layout_rules)
    layouts.check(_as_decoding_sees_it(layout, settings), config, sequences)
  else:
    layouts.check_batch(_as_decoding_sees_it(layout, settings), sequences)
    layouts.check_dimensions(settings.layout_rules, _own_dimensions(settings, sequences))
  graph = _build(settings, layout, sequences)
  if settings.decoding:
    _check_no_replicas(layout, settings.mode, graph)
  layouts.check_tensors(layout, _tensors(graph))
  return graph


def _described(settings: GraphSettings, bound: GinFiles) -> ModelConfig | None:
  """The model as a ModelConfig; None if it has layers of the user's own, or is not an encoder-decoder."""
  if settings.model_type != 'bitransformer':
    return None
  try:
    return zoo.config_of_bound(bound)
  except UserError:
    return None


def _as_decoding_sees_it(layout: layouts.Layout, settings: GraphSettings) -> layouts.Layout:
  """The layout without the rule for replicas of the experts where a batch has none."""
  if not settings.decoding:
    return layout
  rules = {dimension: axis for dimension, axis in layout.rules.items() if dimension != 'outer_batch'}
  return layouts.Layout(layout.mesh, rules, place=layout.place)


def _own_dimensions(settings: GraphSettings, sequences: int) -> set[str]:
  """Dimensions of a model that no ModelConfig describes.

  The graph is built without a layout: released attention gives a dimension that it cuts the name that a rule has for
  the axis, even if it is a name that the model does not know.
  """
  graph = dataclasses.replace(settings, mesh_shape='', layout_rules='').build(sequences)
  return {dimension for _, shape in _tensors(graph) for dimension in shape}


def _build(settings: GraphSettings, layout: layouts.Layout, sequences: int) -> mtf.Graph:
  """The graph; released attention already looks at its layout, and fails on an axis that cuts a tensor twice."""
  try:
    return settings.build(sequences)
  except ValueError as error:
    shape = re.search(r'same Mesh Dimension.*tensor_shape=Shape\[(.*?)\]', str(error))
    if shape:
      sizes = {axis: int(size) for axis, size in re.findall(r'(\w+)=(\d+)', shape[1])}
      layouts.check_tensors(layout, [('an activation', sizes)])
    raise


def _check_no_replicas(layout: layouts.Layout, mode: str, graph: mtf.Graph) -> None:
  """Without replicas, tokens on the way to experts still have the dimension, of size 1, which no axis can cut."""
  parts = layout.parts('outer_batch')
  if any(shape.get('outer_batch', parts) % parts for _, shape in _tensors(graph)):
    raise UserError(
      f'layout rule "outer_batch:{layout.rules["outer_batch"]}" cuts replicas of the experts into {parts} parts, but '
      f'with utils.run.mode = "{mode}" a batch has none. Use a layout without outer_batch, such as '
      'layouts/expert_data.gin: a checkpoint can be read under any layout.'
    )


def _tensors(graph: mtf.Graph) -> Iterator[tuple[str, Mapping[str, int]]]:
  """Name and {axis: size} of every tensor of a graph."""
  for operation in graph.operations:
    for tensor in operation.outputs:
      yield tensor.name, mesh_graph.axes(tensor)
