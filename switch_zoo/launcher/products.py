"""Products of two tensors on a processor, as products of matrices.

TensorFlow's einsum on a processor copies operands and results into the order of a product of many matrices even where
reshaping would do. And products in bfloat16 take twice as long as in float32 on a processor without matrix units, also
on one with instructions for bfloat16 products (measured with TensorFlow 2.15 and AVX-512 BF16: 79 and 145 GFLOP/s).
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow.compat.v1 as tf

from switch_zoo import machine
from switch_zoo.launcher import one_slice


def of_matrices(released: Callable[..., tf.Tensor]) -> Callable[..., tf.Tensor]:
  """`MeshImpl.einsum` by `matrix_product`, in graphs for one slice."""

  @functools.wraps(released)
  def einsum(self: Any, equation: str, *slices: tf.Tensor) -> tf.Tensor:
    product = matrix_product(equation, *slices) if len(slices) == 2 and one_slice.marked() else None
    return released(self, equation, *slices) if product is None else product

  return einsum


class _Axes(NamedTuple):
  """Letters of an equation, in the order in which they appear: of both operands and the result, of one and the result,
  and of both operands."""

  batch: str
  rows: str
  columns: str
  summed: str


def matrix_product(equation: str, x: tf.Tensor, y: tf.Tensor) -> tf.Tensor | None:
  """An einsum of two tensors without a transpose; None if it needs one.

  Args:
    equation: as 'abc,cd->abd'
    x, y: <float>, of known shapes
  """
  operands, result = equation.replace(' ', '').split('->')
  first, second = operands.split(',')
  if not set(first) ^ set(second) <= set(result) or len(set(result)) != len(result):
    return None
  axes = _Axes(
    batch=''.join(c for c in first if c in second and c in result),
    rows=''.join(c for c in first if c not in second),
    columns=''.join(c for c in second if c not in first),
    summed=''.join(c for c in first if c in second and c not in result),
  )
  if result == axes.batch + axes.columns + axes.rows and axes.rows and axes.columns:
    axes = axes._replace(rows=axes.columns, columns=axes.rows)
    first, second, x, y = second, first, y, x
  if result != axes.batch + axes.rows + axes.columns:
    return None
  transpose_x = _transposed(first, axes.batch, axes.rows, axes.summed)
  transpose_y = _transposed(second, axes.batch, axes.summed, axes.columns)
  if transpose_x is None or transpose_y is None or not (x.shape.is_fully_defined() and y.shape.is_fully_defined()):
    return None
  sizes = dict(zip(first + second, [*x.shape.as_list(), *y.shape.as_list()], strict=True))
  matrix = lambda *groups: [functools.reduce(lambda n, c: n * sizes[c], group, 1) for group in groups]
  groups_x = (axes.summed, axes.rows) if transpose_x else (axes.rows, axes.summed)
  groups_y = (axes.columns, axes.summed) if transpose_y else (axes.summed, axes.columns)
  batch = matrix(axes.batch) if axes.batch else []
  product = _product(
    tf.reshape(x, batch + matrix(*groups_x)), tf.reshape(y, batch + matrix(*groups_y)), transpose_x, transpose_y
  )
  return tf.reshape(product, [sizes[letter] for letter in result])


def _product(x: tf.Tensor, y: tf.Tensor, transpose_x: bool, transpose_y: bool) -> tf.Tensor:
  """The product of two matrices, or of many. Where float32 is faster, of the same numbers in float32, rounded then."""
  dtype = x.dtype.base_dtype
  if dtype == tf.bfloat16 and machine.multiplies_float32_faster():
    x, y = tf.cast(x, tf.float32), tf.cast(y, tf.float32)
  return tf.cast(tf.matmul(x, y, transpose_a=transpose_x, transpose_b=transpose_y), dtype)


def _transposed(letters: str, batch: str, rows: str, columns: str) -> bool | None:
  """Whether a tensor holds the transposes of matrices [rows, columns]; None if it holds neither."""
  if letters == batch + rows + columns:
    return False
  return True if letters == batch + columns + rows else None
