"""Faster forms of parts of the released model, for graphs whose mesh is one slice: one processor or one GPU.

Each gives the numbers of what it replaces, in another order or in fewer operations. They are made of TensorFlow's own
operations and hold for each slice of a mesh that cuts other dimensions, but other meshes keep what is proven on them.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import mesh_tensorflow as mtf
import tensorflow.compat.v1 as tf

_MARK = 'switch_zoo/one_slice'


def mark(mesh_shape: Any) -> None:
  """Notes in the default graph whether its mesh is one slice.

  Args:
    mesh_shape: in any form that Mesh-TensorFlow converts
  """
  shape = mtf.convert_to_shape(mesh_shape)
  tf.get_collection_ref(_MARK)[:] = [True] * (shape is None or shape.size == 1)


def marked() -> bool:
  """Whether the default graph is for one slice."""
  return bool(tf.get_collection(_MARK))


def one_softmax(released: Callable[..., mtf.Tensor]) -> Callable[..., mtf.Tensor]:
  """`mtf.softmax` as one operation with a gradient of its own, which calls exp once and not twice."""

  @functools.wraps(released)
  def softmax(x: mtf.Tensor, reduced_dim: Any, extra_logit: Any = None, name: str | None = None) -> mtf.Tensor:
    dim = mtf.convert_to_dimension(reduced_dim)
    if extra_logit is None and x.shape.dims[-1] == dim and marked():
      return _softmax(x, dim)
    return released(x, reduced_dim, extra_logit=extra_logit, name=name)

  return softmax


def _softmax(x: mtf.Tensor, dim: mtf.Dimension) -> mtf.Tensor:
  """Softmax over the last dimension. <float>[..., dim] -> same shape"""

  def backward(likelihood: tf.Tensor, dy: tf.Tensor) -> tf.Tensor:
    product = likelihood * dy
    # A product with ones is five times as fast as a sum along the last axis.
    flat = tf.reshape(product, [-1, product.shape[-1]])
    total = tf.reshape(tf.matmul(flat, tf.ones([flat.shape[1], 1], flat.dtype)), [*product.shape[:-1], 1])
    return product - likelihood * total

  def gradient(op: mtf.Operation, dy: mtf.Tensor) -> list[mtf.Tensor]:
    inputs, rest = [op.outputs[0], dy], x.shape - dim
    return [mtf.slicewise(backward, inputs, splittable_dims=rest, grad_function=0, name='softmax_gradient')]

  return mtf.slicewise(tf.nn.softmax, [x], splittable_dims=x.shape - dim, grad_function=gradient, name='softmax')


def by_heads(released: Callable[..., mtf.Tensor]) -> Callable[..., mtf.Tensor]:
  """`attention.attention` of tensors whose heads come before their positions, as products of many matrices need them.

  The released attention keeps positions before heads, so that each of its six products copies a tensor of the size of
  the weights or two smaller ones.
  """

  @functools.wraps(released)
  def attention(
    q: mtf.Tensor,
    k: mtf.Tensor,
    v: mtf.Tensor,
    memory_length_dim: mtf.Dimension,
    key_dim: mtf.Dimension,
    value_dim: mtf.Dimension,
    bias: mtf.Tensor | None = None,
    **kwargs: Any,
  ) -> mtf.Tensor:
    shared = [dim for dim in q.shape.dims if dim in k.shape.dims and dim != key_dim]
    positions = [dim for dim in q.shape.dims if dim not in shared and dim != key_dim]
    every = [*shared, *positions, memory_length_dim]
    same = set(k.shape.dims) == {*shared, memory_length_dim, key_dim} and v.shape - value_dim == k.shape - key_dim
    if not marked() or len(positions) != 1 or not same or not (bias is None or set(bias.shape.dims) <= set(every)):
      return released(q, k, v, memory_length_dim, key_dim, value_dim, bias=bias, **kwargs)
    attended = released(
      mtf.transpose(q, [*shared, *positions, key_dim]),
      mtf.transpose(k, [*shared, memory_length_dim, key_dim]),
      mtf.transpose(v, [*shared, memory_length_dim, value_dim]),
      memory_length_dim,
      key_dim,
      value_dim,
      bias=None if bias is None else _in_order(bias, every),
      **kwargs,
    )
    return mtf.transpose(attended, q.shape - key_dim + value_dim)

  return attention


def _in_order(bias: mtf.Tensor, dims: Sequence[mtf.Dimension]) -> mtf.Tensor:
  """A bias with its dimensions in the order of `dims`. A sum is added up in that order, as its parts are smaller."""
  order = mtf.Shape([dim for dim in dims if dim in bias.shape.dims])
  if isinstance(bias.operation, mtf.AddOperation):
    parts = [_in_order(part, dims) for part in bias.operation.inputs]
    return mtf.add(*parts, output_shape=order)
  return bias if bias.shape == order else mtf.transpose(bias, order)


def by_index(released: Callable[..., mtf.Tensor]) -> Callable[..., mtf.Tensor]:
  """`mtf.gather` of the rows of a table, without a product with the positions' one-hot vectors."""

  @functools.wraps(released)
  def gather(weights: mtf.Tensor, indices: Any, dim: Any, output_shape: Any = None) -> mtf.Tensor:
    rows = mtf.convert_to_dimension(dim)
    table = weights.dtype.is_floating and weights.shape.ndims == 2 and weights.shape.dims[0] == rows
    known = isinstance(indices, mtf.Tensor) and output_shape is None and weights.shape.dims[1] not in indices.shape.dims
    if table and known and rows not in indices.shape.dims and marked():
      return _rows(weights, indices)
    return released(weights, indices, dim, output_shape=output_shape)

  return gather


def _rows(table: mtf.Tensor, indices: mtf.Tensor) -> mtf.Tensor:
  """Rows of a table; zeros for an index outside, as a one-hot vector would give. <float>[rows, M] -> [indices, M]"""
  rows, columns = table.shape.dims

  def take(values: tf.Tensor, index: tf.Tensor) -> tf.Tensor:
    taken = tf.gather(values, tf.clip_by_value(index, 0, rows.size - 1))
    inside = tf.logical_and(index >= 0, index < rows.size)
    return taken * tf.cast(inside, taken.dtype)[..., None]

  def add(gradient: tf.Tensor, index: tf.Tensor) -> tf.Tensor:
    # Many tokens may have one row: a sum in bfloat16 would lose them.
    flat = tf.cast(tf.reshape(gradient, [-1, gradient.shape[-1]]), tf.float32)
    inside = tf.where_v2(tf.logical_and(index >= 0, index < rows.size), index, -1)
    return tf.cast(tf.math.unsorted_segment_sum(flat, tf.reshape(inside, [-1]), rows.size), gradient.dtype)

  def gradient(op: mtf.Operation, dy: mtf.Tensor) -> list[mtf.Tensor | None]:
    summed = mtf.slicewise(
      add, [dy, indices], table.shape, dy.dtype, splittable_dims=[columns], grad_function=0, name='rows_gradient'
    )
    return [summed, None]

  return mtf.slicewise(
    take,
    [table, indices],
    output_shape=mtf.Shape([*indices.shape.dims, columns]),
    output_dtype=table.dtype,
    splittable_dims=[*indices.shape.dims, columns],
    grad_function=gradient,
    name='rows',
  )
