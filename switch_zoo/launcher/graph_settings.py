"""What decides the graph of a run: its model type, vocabularies, batch and layout."""

import dataclasses
import inspect
from collections.abc import Mapping
from typing import Any

import gin
import mesh_tensorflow as mtf
import mesh_tensorflow.transformer.utils as mesh_utils
import tensorflow.compat.v1 as tf
from tensorflow.compat.v1.estimator import ModeKeys

from switch_zoo.errors import UserError
from switch_zoo.launcher import preflight
from switch_zoo.mesh import graph as mesh_graph
from switch_zoo.spec.gin_files import GinFiles
from switch_zoo.spec.layouts import Layout, parse_any

# Modes of utils.run whose batches have replicas of the experts; in all others answers are made or scored.
_WITH_REPLICAS = {'train': ModeKeys.TRAIN, 'perplexity_eval': ModeKeys.EVAL}
# An evaluation may take its lengths from the data; no variable depends on them.
_SOME_LENGTHS = {'inputs': 512, 'targets': 512}
# Their one stack reads targets: inputs are the targets shifted, or aligned with them.
_SINGLE_STACK = ('lm', 'delimited_lm', 'aligned')


@dataclasses.dataclass(frozen=True)
class GraphSettings:
  """The settings of a run, from gin or from the model API.

  model_type: as `utils.run.model_type`
  vocab_sizes: entries of the vocabularies of inputs and targets
  lengths: tokens of each feature of a sequence
  batch_size: sequences, or a method and its value: ('tokens_per_batch', 65536)
  mesh_shape, layout_rules: in Mesh-TensorFlow's syntax
  rules_place: where the rules are written, for messages; '' if not in a gin file
  outer_batch_size: replicas of the experts
  mode: 'train', 'perplexity_eval' or another mode of `utils.run`
  """

  model_type: str
  vocab_sizes: tuple[int, int]
  lengths: Mapping[str, int]
  batch_size: int | tuple[str, int]
  mesh_shape: str
  layout_rules: str
  rules_place: str
  outer_batch_size: int
  mode: str

  @property
  def decoding(self) -> bool:
    """Whether answers are made or scored; batches then have no replicas of the experts."""
    return self.mode not in _WITH_REPLICAS

  def layout(self) -> Layout:
    """The layout; rules may name dimensions of a user's own layers.

    Raises:
      UserError: a text that is not NAME:NAME pairs
    """
    outer_batch_size = 1 if self.decoding else self.outer_batch_size
    return parse_any(self.mesh_shape, self.layout_rules, outer_batch_size, self.rules_place)

  def sequences(self) -> int:
    """Sequences of one batch, all replicas together.

    Raises:
      UserError: the batch size is not one
    """
    if isinstance(self.batch_size, int):
      return self.batch_size
    try:
      return mesh_utils.compute_batch_size(self.lengths, self.mesh_shape, self.layout_rules, self.batch_size)
    except ValueError as error:
      raise UserError(
        f'utils.run.batch_size is {self.batch_size!r}, and the longest feature of a sequence has '
        f'{max(self.lengths.values())} tokens: {error}. Use a multiple of that length for tokens_per_batch and '
        'tokens_per_replica, or sequences_per_batch or sequences_per_replica.'
      ) from error

  def build(self, sequences: int) -> mtf.Graph:
    """The graph of one batch's loss, not lowered.

    Raises:
      UserError: a setting that a layer refuses
    """
    targets = self.lengths['targets']
    inputs = targets if self.model_type in _SINGLE_STACK else self.lengths['inputs']
    with tf.Graph().as_default():
      model = mesh_graph.make_transformer(self.vocab_sizes, self.mesh_shape, self.layout_rules, self.model_type)
      forward = mesh_graph.build_forward(
        model,
        mesh_graph.Batch(sequences, {'inputs': inputs, 'targets': targets}),
        outer_batch_size=None if self.decoding else self.outer_batch_size,
        mode=_WITH_REPLICAS.get(self.mode, ModeKeys.EVAL),
      )
    return forward.graph


def of_gin_run(bound: GinFiles) -> GraphSettings:
  """The settings that gin has for `utils.run`.

  Args:
    bound: what gin was configured with, for the places of settings
  """
  run = _arguments(mesh_utils.run)
  return GraphSettings(
    model_type=run['model_type'],
    vocab_sizes=vocab_sizes(run['vocabulary']),
    lengths=_lengths(run['sequence_length']),
    batch_size=run['batch_size'],
    mesh_shape=mesh_text(run['mesh_shape']),
    layout_rules=rules_text(run['layout_rules']),
    rules_place=place(bound, 'run.layout_rules'),
    outer_batch_size=outer_batch_size(),
    mode=run['mode'],
  )


def vocab_sizes(vocabulary: Any) -> tuple[int, int]:
  """Entries of the vocabularies of inputs and targets. vocabulary: as `utils.run.vocabulary`"""
  sides = mesh_utils.inputs_vocabulary(vocabulary), mesh_utils.targets_vocabulary(vocabulary)
  return sides[0].vocab_size, sides[1].vocab_size


def outer_batch_size() -> int:
  """The replicas of the experts that gin has for the model function."""
  return preflight.parameter('utils.tpu_estimator_model_fn.outer_batch_size', 1) or 1


def mesh_text(mesh_shape: Any) -> str:
  """A mesh shape in any form that Mesh-TensorFlow converts, as text: 'batch:4;model:2'."""
  if isinstance(mesh_shape, str):
    return mesh_shape
  shape = mtf.convert_to_shape(mesh_shape) or mtf.Shape([])
  return ';'.join(f'{axis}:{size}' for axis, size in zip(shape.dimension_names, shape.to_integer_list, strict=True))


def rules_text(layout_rules: Any) -> str:
  """Layout rules in any form that Mesh-TensorFlow converts, as text: 'batch:batch;d_ff:model'."""
  if isinstance(layout_rules, str):
    return layout_rules
  # Any: LayoutRules has no public list of its rules.
  rules: Any = mtf.convert_to_layout_rules(layout_rules)
  return ';'.join(f'{dimension}:{axis}' for dimension, axis in sorted(rules._pairs))


def place(bound: GinFiles, setting: str) -> str:
  """The place that binds 'configurable.parameter', whatever module is written before it; '' if none does."""
  places = [binding.place for key, binding in bound.bindings.items() if f'.{key}'.endswith(f'.{setting}')]
  return places[-1] if places else ''


def _lengths(sequence_length: int | Mapping[str, int] | None) -> Mapping[str, int]:
  if isinstance(sequence_length, int):
    return {'inputs': sequence_length, 'targets': sequence_length}
  return sequence_length or _SOME_LENGTHS


def _arguments(configurable: Any) -> dict[str, Any]:
  """The arguments that gin would call a configurable with, its defaults included."""
  parameters = inspect.signature(configurable).parameters.values()
  defaults = {p.name: p.default for p in parameters if p.default is not inspect.Parameter.empty}
  return {**defaults, **gin.get_bindings(configurable)}
