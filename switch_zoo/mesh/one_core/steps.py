"""A training step, an evaluation, decoding and scoring as Mesh-TensorFlow graphs, as `transformer.utils` builds them.

The released `tpu_estimator_model_fn` builds the same graphs, but only for an Estimator.
"""

import dataclasses
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import gin
import mesh_tensorflow as mtf
import tensorflow.compat.v1 as tf
from mesh_tensorflow.transformer import transformer, utils
from tensorflow.compat.v1.estimator import ModeKeys

from switch_zoo.mesh import graph as mesh_graph
from switch_zoo.mesh import observe
from switch_zoo.spec.layouts import Layout

Features = Mapping[str, mtf.Tensor]
LearningRate = float | Callable[[tf.Tensor], tf.Tensor]
SCORE = 'score'


@dataclasses.dataclass(frozen=True)
class StepSettings:
  """What decides a step, besides what gin is configured with.

  vocab_sizes: entries of the vocabularies of inputs and targets
  batch: sequences of all cores, and the features that are fed with their lengths: inputs, targets and, of packed
    sequences, inputs_segmentation, inputs_position, targets_segmentation, targets_position
  layout: its slices are the cores
  model_type: as `utils.run.model_type`
  """

  vocab_sizes: tuple[int, int]
  batch: mesh_graph.Batch
  layout: Layout
  model_type: str = 'bitransformer'

  def make_model(self) -> Any:
    """The model that gin describes, under the layout."""
    return mesh_graph.make_transformer(self.vocab_sizes, *self.layout.text(), self.model_type)

  def feature_shapes(self, replicas: bool) -> dict[str, mtf.Shape]:
    """Name -> [outer_batch, batch, length] of each feature; replicas: whether outer_batch is there."""
    outer = [mtf.Dimension('outer_batch', self.layout.outer_batch_size)] if replicas else []
    batch = mtf.Dimension('batch', self.batch.size // (self.layout.outer_batch_size if replicas else 1))
    return {
      name: mtf.Shape([*outer, batch, mtf.Dimension('length', length)]) for name, length in self.batch.lengths.items()
    }

  def microbatches(self) -> int:
    """Into how many parts gin divides a training step."""
    batch = mtf.Dimension('batch', self.batch.size // self.layout.outer_batch_size)
    lengths = {name: length for name, length in self.batch.lengths.items() if '_' not in name}
    return utils.serialize_num_microbatches(batch, lengths, *self.layout.text())


class Training(NamedTuple):
  """loss: <float32>[]; updates: operations that change variables; learning_rate: <float32>[]."""

  loss: mtf.Tensor
  updates: list[mtf.Operation]
  learning_rate: tf.Tensor


@dataclasses.dataclass(frozen=True)
class Optimization:
  """How a training step changes variables.

  learning_rate: a number, or a function of the step
  optimizer: of Mesh-TensorFlow; by default the one that gin has for `utils.run.optimizer`
  variable_filter: a pattern or a function that chooses what is trained; by default everything
  """

  learning_rate: LearningRate = 1e-3
  optimizer: Callable[..., Any] | None = None
  variable_filter: str | Callable[[mtf.Variable], bool] | None = None

  def trains(self, variable: mtf.Variable) -> bool:
    """Whether a variable is trained."""
    if isinstance(self.variable_filter, str):
      return bool(re.search(self.variable_filter, variable.name))
    return self.variable_filter is None or bool(self.variable_filter(variable))

  def make(self, learning_rate: tf.Tensor) -> Any:
    """The optimizer. learning_rate: <float32>[]"""
    optimizer = self.optimizer or gin.query_parameter('utils.run.optimizer').scoped_configurable_fn
    return optimizer(learning_rate=learning_rate)


def training(settings: StepSettings, features: Features, step: tf.Tensor, optimization: Optimization) -> Training:
  """One training step, in microbatches if gin says so. step: <int32>[]"""
  model, batch_dim = settings.make_model(), features['targets'].shape.dims[-2]
  turns = settings.microbatches()
  variables = features['targets'].graph.trainable_variables
  if turns > 1:
    serialize = observe.through_microbatches(mtf.serialize_training_step)
    loss_of = lambda part: {'loss': _logits_and_loss(settings, model, part, ModeKeys.TRAIN, turns)[1]}
    gradients, outputs = serialize(features, loss_of, batch_dim, turns)
    loss = outputs['loss']
  else:
    loss = _logits_and_loss(settings, model, features, ModeKeys.TRAIN)[1]
    gradients = mtf.gradients([loss], [variable.outputs[0] for variable in variables])
  rate = optimization.learning_rate
  rate = tf.convert_to_tensor(rate(step) if callable(rate) else rate, tf.float32)
  trained = [(g, v) for g, v in zip(gradients, variables, strict=True) if optimization.trains(v)]
  updates = optimization.make(rate).apply_grads([g for g, _ in trained], [v for _, v in trained])
  return Training(loss, updates, rate)


def evaluation(settings: StepSettings, features: Features) -> dict[str, mtf.Tensor]:
  """What the released perplexity evaluation measures.

  Returns:
    loss: <float32>[]; cross_entropy <float32>[batch..., length], predictions, targets <int32> and weights <float32> of
    the same shape; weights are 0 for padding
  """
  targets = features['targets']
  logits, loss = _logits_and_loss(settings, settings.make_model(), features, ModeKeys.EVAL)
  logits = mtf.cast(logits, tf.float32)
  vocab = logits.shape.dims[-1]
  weights = mtf.cast(mtf.greater(targets, 0), tf.float32)
  if settings.model_type == 'delimited_lm':
    weights *= mtf.cast(mtf.logical_not(transformer.delimited_lm_inputs_mask(targets)), tf.float32)
  return {
    'loss': mtf.cast(loss, tf.float32),
    'cross_entropy': mtf.layers.softmax_cross_entropy_with_logits(logits, targets, vocab),
    'predictions': mtf.cast(mtf.argmax(logits, vocab), tf.int32),
    'targets': targets,
    'weights': weights,
  }


def decoding(settings: StepSettings, features: Features) -> dict[str, mtf.Tensor]:
  """Answers as gin says: greedy, sampled, or with beams. -> outputs <int32>[batch, length]"""
  model, inputs = settings.make_model(), features['inputs']
  dtype = utils.get_variable_dtype()
  if isinstance(model, transformer.Unitransformer):
    room = mtf.pad(inputs, [0, settings.batch.lengths['targets']], 'length')
    return {'outputs': model.sample_autoregressive(room, variable_dtype=dtype, remove_partial_sequences=True)}
  return {'outputs': model.decode(inputs, variable_dtype=dtype)}


def scoring(settings: StepSettings, features: Features) -> dict[str, mtf.Tensor]:
  """The log-likelihood of each target. -> scores <float32>[batch]"""
  model, targets = settings.make_model(), features['targets']
  single = isinstance(model, transformer.Unitransformer)
  logits, _ = model.call_simple(
    inputs=transformer.autoregressive_inputs(targets) if single else features['inputs'],
    targets=targets,
    compute_loss=False,
    mode=SCORE,
    variable_dtype=utils.get_variable_dtype(),
  )
  logits = mtf.cast(logits, tf.float32)
  entropy = mtf.layers.softmax_cross_entropy_with_logits(logits, targets, logits.shape.dims[-1])
  entropy *= mtf.cast(mtf.greater(targets, 0), entropy.dtype)
  if settings.model_type == 'delimited_lm':
    entropy *= mtf.cast(mtf.logical_not(transformer.delimited_lm_inputs_mask(targets)), entropy.dtype)
  return {'scores': -mtf.reduce_sum(entropy, reduced_dim=targets.shape.dims[-1])}


def _logits_and_loss(
  settings: StepSettings, model: Any, features: Features, mode: str, num_microbatches: int = 1
) -> tuple[Any, Any]:
  if settings.model_type == 'delimited_lm':
    features = utils._dynamic_text2self(features)  # pylint: disable=protected-access - as the released code does
  segmentation = features.get('targets_segmentation')
  if settings.model_type in ('lm', 'delimited_lm'):
    inputs = transformer.autoregressive_inputs(features['targets'], sequence_id=segmentation)
  else:
    inputs = features['inputs']
  if isinstance(model, transformer.Unitransformer):
    positions = {'sequence_id': segmentation, 'position': features.get('targets_position')}
  else:
    positions = {
      'encoder_sequence_id': features.get('inputs_segmentation'),
      'decoder_sequence_id': segmentation,
      'decoder_subsequence_id': features.get('targets_subsegmentation'),
      'encoder_position': features.get('inputs_position'),
      'decoder_position': features.get('targets_position'),
    }
  return model.call_simple(
    inputs=inputs,
    targets=features['targets'],
    compute_loss=True,
    mode=mode,
    variable_dtype=utils.get_variable_dtype(),
    num_microbatches=num_microbatches,
    **positions,
  )
