"""Dropout and router noise that depend on the seed and the step alone, so that a resumed run draws what it would have.

TensorFlow's random operations count their calls since the process began. In a graph with a seed, those of
Mesh-TensorFlow are drawn from counters instead: the operation's own seed, the step and the microbatch.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import mesh_tensorflow as mtf
import tensorflow.compat.v1 as tf
from mesh_tensorflow import placement_mesh_impl

_FROM_STEP = 'switch_zoo/noise_from_step'
_NUMBER = 'switch_zoo_microbatch_number'
_ROW = 'switch_zoo_row'
_MAX_MICROBATCHES = 1 << 20
# What Mesh-TensorFlow calls -> the same distribution from a counter.
_STATELESS: dict[Any, Callable[..., tf.Tensor]] = {
  tf.random.uniform: tf.random.stateless_uniform,
  tf.random.normal: tf.random.stateless_normal,
}


def draw_from_step() -> None:
  """Makes random operations of the default graph depend on the step."""
  tf.get_collection_ref(_FROM_STEP)[:] = [True]


def with_step(lower: Callable[..., None]) -> Callable[..., None]:
  """`mtf.RandomOperation.lower` that draws from the step in graphs that `draw_from_step` was called in."""

  @functools.wraps(lower)
  def lower_from_step(operation: Any, lowering: mtf.Lowering) -> None:
    released = operation._tf_fn
    on_host = isinstance(lowering.mesh_impl(operation), placement_mesh_impl.PlacementMeshImpl)
    if not (on_host and tf.get_collection(_FROM_STEP) and released in _STATELESS):
      lower(operation, lowering)
      return
    operation._tf_fn = functools.partial(_draw, _STATELESS[released], _counter(operation, lowering))
    try:
      lower(operation, lowering)
    finally:
      operation._tf_fn = released

  return lower_from_step


def numbered(serialize_training_step: Callable[..., Any]) -> Callable[..., Any]:
  """`mtf.serialize_training_step` whose random operations draw other numbers in each microbatch."""

  @functools.wraps(serialize_training_step)
  def serialize(
    features: Mapping[str, mtf.Tensor],
    model_fn: Callable[[Mapping[str, mtf.Tensor]], Mapping[str, mtf.Tensor]],
    batch_dim: mtf.Dimension,
    num_splits: int,
  ) -> Any:
    if not tf.get_collection(_FROM_STEP):
      return serialize_training_step(features, model_fn, batch_dim, num_splits)

    def with_number(microbatch: Mapping[str, mtf.Tensor]) -> Mapping[str, mtf.Tensor]:
      # Sequences are dealt out: the first of a microbatch is the one with its number.
      number = mtf.reduce_min(microbatch[_ROW])
      before = len(number.graph.operations)
      outputs = model_fn({name: tensor for name, tensor in microbatch.items() if name != _ROW})
      for operation in number.graph.operations[before:]:
        setattr(operation, _NUMBER, number)
      return outputs

    mesh = next(iter(features.values())).mesh
    rows = mtf.range(mesh, batch_dim, tf.int32)
    return serialize_training_step({**features, _ROW: rows}, with_number, batch_dim, num_splits)

  return serialize


def _counter(operation: mtf.Operation, lowering: mtf.Lowering) -> tf.Tensor:
  """A number that no other step and no other microbatch has, <int64>[]."""
  counter = _step() * _MAX_MICROBATCHES
  number = getattr(operation, _NUMBER, None)
  if number is None:
    return counter
  return counter + tf.cast(lowering.tensors[number].to_laid_out_tensor().tensor_list[0], tf.int64)


def _draw(
  distribution: Callable[..., tf.Tensor], counter: tf.Tensor, shape: Any, seed: int, **kwargs: Any
) -> tf.Tensor:
  """Numbers of a distribution; seed: of the operation, the same in every process."""
  return distribution(shape, seed=tf.stack([tf.constant(seed, tf.int64), counter]), **kwargs)


def _step() -> tf.Tensor:
  """The step of the default graph, <int64>[], read outside of loops."""
  with tf.control_dependencies(None):
    return tf.cast(tf.train.get_or_create_global_step(), tf.int64)
