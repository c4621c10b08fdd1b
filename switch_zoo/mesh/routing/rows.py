"""Rows moved by index: `take` reads them, `place` adds them up; each is the other's gradient.

A table is a tensor [..., M] whose dimensions before the last hold O and G, anywhere, and rows: [O, G, S, M] or
[E, O, G, C, M]. An index <int32>[O, G, ...] names a row by its number within the group, counted over the table's
dimensions other than O, G and M in their order, so slot c of expert e is e * C + c; -1 names none. Rows never leave
their group, so both work on each slice of a mesh that cuts O, G or M.
"""

from collections.abc import Callable, Sequence

import mesh_tensorflow as mtf
import tensorflow.compat.v1 as tf

OutputShape = mtf.Shape | Sequence[mtf.Dimension]


def take(table: mtf.Tensor, index: mtf.Tensor, output_shape: OutputShape) -> mtf.Tensor:
  """Row `index` of `table`, zeros for -1.

  Args:
    table: <float>[..., M]
    index: <int32>[O, G, ...]
    output_shape: the dimensions of `index` in any order, and M
  Returns:
    <float>[output_shape]
  """
  output_shape = mtf.Shape(output_shape)

  def take_slice(table_slice: tf.Tensor, index_slice: tf.Tensor) -> tf.Tensor:
    row = _flat_row(index_slice, index.shape, table.shape, table_slice.shape.as_list())
    row = _transpose(row, index.shape, output_shape[:-1])
    taken = tf.gather(tf.reshape(table_slice, [-1, table_slice.shape[-1]]), tf.maximum(row, 0))
    return taken * tf.cast(row >= 0, taken.dtype)[..., None]

  return _slicewise(take_slice, place, table, index, output_shape)


def place(rows: mtf.Tensor, index: mtf.Tensor, output_shape: OutputShape) -> mtf.Tensor:
  """A table of zeros to which each of `rows` is added at `index`; rows with index -1 are left out.

  Args:
    rows: <float>[..., M], the dimensions of `index` in any order, and M
    index: <int32>[O, G, ...]
    output_shape: of the table
  Returns:
    <float>[output_shape]
  """
  output_shape = mtf.Shape(output_shape)

  def place_slice(rows_slice: tf.Tensor, index_slice: tf.Tensor) -> tf.Tensor:
    cut = dict(zip(rows.shape.dimension_names, rows_slice.shape.as_list(), strict=True))
    sizes = [cut.get(dim.name, dim.size) for dim in output_shape.dims]
    row = _flat_row(index_slice, index.shape, output_shape, sizes)
    row = _transpose(row, index.shape, rows.shape[:-1])
    flat_rows = tf.reshape(rows_slice, [-1, sizes[-1]])
    table = tf.math.unsorted_segment_sum(flat_rows, tf.reshape(row, [-1]), mtf.list_product(sizes[:-1]))
    return tf.reshape(table, sizes)

  return _slicewise(place_slice, take, rows, index, output_shape)


def _slicewise(
  slice_fn: Callable[[tf.Tensor, tf.Tensor], tf.Tensor],
  transposed: Callable[[mtf.Tensor, mtf.Tensor, OutputShape], mtf.Tensor],
  x: mtf.Tensor,
  index: mtf.Tensor,
  output_shape: mtf.Shape,
) -> mtf.Tensor:
  """`slice_fn` on each slice of x and index, and `transposed` for the gradient of x."""
  return mtf.slicewise(
    slice_fn,
    [x, index],
    output_shape=output_shape,
    output_dtype=x.dtype,
    splittable_dims=index.shape.dims[:2] + x.shape.dims[-1:],
    grad_function=lambda op, dy: [transposed(dy, index, x.shape), None],
    name=slice_fn.__name__,
  )


def _flat_row(index: tf.Tensor, index_shape: mtf.Shape, table_shape: mtf.Shape, sizes: Sequence[int]) -> tf.Tensor:
  """Row numbers within a group become row numbers of the whole slice; -1 stays.

  Args:
    index: <int32>[O, G, ...], a slice
    index_shape: of the whole index
    table_shape: of the whole table
    sizes: of the table's slice
  Returns:
    <int32>, shaped as index
  """
  group = {index_shape[axis]: _coordinate(index, axis) for axis in range(2)}
  within, flat, stride = index, 0, 1
  for dim, size in list(zip(table_shape.dims, sizes, strict=True))[-2::-1]:
    if dim in group:
      coordinate = group[dim]
    else:
      coordinate, within = within % size, within // size
    flat += coordinate * stride
    stride *= size
  return tf.where_v2(index < 0, index, flat)


def _coordinate(x: tf.Tensor, axis: int) -> tf.Tensor:
  """0, 1, 2 ... along `axis` of x, shaped to be broadcast over it."""
  shape = [1] * x.shape.ndims
  shape[axis] = -1
  return tf.reshape(tf.range(x.shape[axis]), shape)


def _transpose(x: tf.Tensor, shape: mtf.Shape, dims: Sequence[mtf.Dimension]) -> tf.Tensor:
  """x, whose axes are those of `shape`, with its axes in the order of `dims`."""
  return x if shape.dims == list(dims) else tf.transpose(x, [shape.dims.index(dim) for dim in dims])
