"""Places in the experts' queues, as integers: no gradient flows here."""

import mesh_tensorflow as mtf
import tensorflow.compat.v1 as tf


def _count_up(expert: tf.Tensor, start: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
  """Each token's place: the tokens before it that chose the same expert. Plain TensorFlow, one mesh slice.

  Args:
    expert: <int32>[..., S], -1 for a token that does not queue
    start: <int32>[..., E], the length of each queue
  Returns:
    place <int32>[..., S] and the new lengths <int32>[..., E]
  """
  chosen = tf.one_hot(expert, start.shape[-1], dtype=tf.int32)
  # Shape: [..., S, E]
  length = tf.cumsum(chosen, axis=-2) + start[..., None, :]
  return tf.reduce_sum(chosen * length, -1) - 1, length[..., -1, :]


def _count_up_by_priority(expert: tf.Tensor, start: tf.Tensor, priority: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
  """As `_count_up`, but the highest `priority` <float>[..., S] comes first; equal ones in the order of the tokens."""
  order = tf.argsort(priority, direction='DESCENDING', stable=True)
  place, length = _count_up(tf.gather(expert, order, batch_dims=order.shape.ndims - 1), start)
  back = tf.argsort(order)
  return tf.gather(place, back, batch_dims=back.shape.ndims - 1), length


def queue(expert: mtf.Tensor, length: mtf.Tensor, priority: mtf.Tensor | None = None) -> tuple[mtf.Tensor, mtf.Tensor]:
  """Adds the tokens of each group to the queues of their experts.

  The length grows whether or not a token will fit (GShard's algorithm 1, arXiv:2006.16668), which drops the same
  tokens as counting the accepted ones: a full expert stays full.

  Example: with empty queues, experts 1 0 1 1 -1 give the places 0 0 1 2 -1 and the lengths 1 3.

  Args:
    expert: <int32>[O, G, S], -1 for a token that does not queue
    length: <int32>[O, G, E], of each queue
    priority: <float32>[O, G, S], highest first; without it, in the order of the tokens
  Returns:
    place <int32>[O, G, S], -1 for a token that does not queue, and the new length <int32>[O, G, E]
  """
  group_dims = expert.shape.dims[:2]
  inputs = [expert, length] if priority is None else [expert, length, mtf.stop_gradient(priority)]
  place, new_length = mtf.slicewise(
    _count_up if priority is None else _count_up_by_priority,
    inputs,
    output_shape=[expert.shape, length.shape],
    output_dtype=[tf.int32, tf.int32],
    splittable_dims=group_dims,
    grad_function=0,
    name='queue',
  )
  return place, new_length


def empty(expert: mtf.Tensor, experts_dim: mtf.Dimension) -> mtf.Tensor:
  """The lengths of empty queues. expert: <int32>[O, G, S] -> <int32>[O, G, E]"""
  return mtf.zeros(expert.mesh, expert.shape.dims[:2] + [experts_dim], dtype=tf.int32)
