"""Products for one token's step, in the forms that TensorFlow's kernels compute fastest on a CPU.

Measured by benchmarks/serving.py; all are the same sums as the plain form.

M inputs  H outputs  R rows  E experts
"""

import tensorflow as tf

from switch_zoo.keras.shapes import static_size

# A product whose operands fit into a core's L2 cache runs on the thread that asks for it, without being handed to
# others and back, which can take longer than the product. CPUs that multiply bfloat16 have a megabyte of L2.
PIECE_BYTES = 600_000
PIECES = 1, 2, 4, 6, 8


class Matrix(tf.Module):
  """A matrix [M, H] or those of experts [E, M, H]; in bfloat16 it is stored transposed, which is read faster."""

  def __init__(self, value: tf.Tensor, dtype: tf.DType) -> None:
    super().__init__()
    value = tf.cast(value, dtype)
    self.transposed = dtype == tf.bfloat16
    self.weight = tf.Variable(tf.linalg.matrix_transpose(value) if self.transposed else value, trainable=False)

  def times(self, x: tf.Tensor, expert: tf.Tensor | int | None = None) -> tf.Tensor:
    """<float>[R, M] -> <float>[R, H], with one expert's matrix if there are several."""
    return tf.matmul(x, self._selected(expert), transpose_b=self.transposed)

  def times_few(self, x: tf.Tensor, expert: tf.Tensor | int | None = None) -> tf.Tensor:
    """The same for few rows: in pieces that run in parallel."""
    weight = self._selected(expert)
    pieces = num_pieces(weight) if self.transposed else 1
    if pieces == 1:
      return self.times(x, expert)
    return tf.concat([tf.matmul(x, piece, transpose_b=True) for piece in tf.split(weight, pieces)], -1)

  def _selected(self, expert: tf.Tensor | int | None) -> tf.Tensor:
    return self.weight if expert is None else self.weight[expert]


def num_pieces(weight: tf.Tensor) -> int:
  """How many equal parts the rows of a matrix are cut into; 1 if it is small, or keeps all threads busy as it is."""
  rows, columns = static_size(weight, 0), static_size(weight, 1)
  for pieces in PIECES:
    if rows % pieces == 0 and rows // pieces * columns * weight.dtype.size <= PIECE_BYTES:
      return pieces
  return 1


def product_of_few(a: tf.Tensor, b: tf.Tensor, transpose_b: bool = False) -> tf.Tensor:
  """tf.matmul of few numbers, in b's dtype. In float32 by an operation that stays on one thread for so little work.

  Not in bfloat16, which that operation rounds towards zero.

  <float>[..., n, m], <float>[..., m, k] (or [..., k, m]) -> <float>[..., n, k]
  """
  a = tf.cast(a, b.dtype)
  if b.dtype != tf.float32:
    return tf.matmul(a, b, transpose_b=transpose_b)
  return tf.raw_ops.BatchMatMulV3(x=a, y=b, Tout=tf.float32, adj_y=transpose_b)


def softmax_of_few(x: tf.Tensor) -> tf.Tensor:
  """tf.nn.softmax in parts: for the few numbers of one step that operation takes several times as long.

  <float32>[..., n] -> same shape
  """
  exponentials = tf.exp(x - tf.reduce_max(x, -1, keepdims=True))
  return exponentials / tf.reduce_sum(exponentials, -1, keepdims=True)
