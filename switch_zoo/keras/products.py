"""Products of one token's time, in the forms that TensorFlow's kernels compute fastest on a processor.

Measured by benchmarks/serving.py; all are the same sums as the plain form.

M inputs  H outputs  R rows  E experts
"""

import tensorflow as tf

# A product whose operands fit into a core's second-level cache runs where it is asked for, without handing it to
# other threads and back, which can take longer than the product. Processors that multiply bfloat16 have a megabyte.
PIECE_BYTES = 600_000
PIECES = 1, 2, 4, 6, 8


class Matrix(tf.Module):
  """A matrix [M, H] or those of experts [E, M, H]; in bfloat16 it lies transposed, which is read faster."""

  def __init__(self, value, dtype):
    super().__init__()
    value = tf.cast(value, dtype)
    self.transposed = dtype == tf.bfloat16
    self.weight = tf.Variable(tf.linalg.matrix_transpose(value) if self.transposed else value, trainable=False)

  def times(self, x, expert=None):
    """<float>[R, M] -> <float>[R, H], with an expert's matrix where there are several."""
    return tf.matmul(x, self._of(expert), transpose_b=self.transposed)

  def times_few(self, x, expert=None):
    """The same, for few rows: in pieces that run side by side."""
    weight = self._of(expert)
    pieces = pieces_of(weight) if self.transposed else 1
    if pieces == 1:
      return self.times(x, expert)
    return tf.concat([tf.matmul(x, piece, transpose_b=True) for piece in tf.split(weight, pieces)], -1)

  def _of(self, expert):
    return self.weight if expert is None else self.weight[expert]


def pieces_of(weight):
  """Into how many equal parts the rows of a matrix are cut; 1 for what is small, or keeps all threads busy as it is."""
  rows, columns = weight.shape
  for pieces in PIECES:
    if rows % pieces == 0 and rows // pieces * columns * weight.dtype.size <= PIECE_BYTES:
      return pieces
  return 1


def product_of_few(a, b, transpose_b=False):
  """tf.matmul of a few numbers, in b's type. In float32 by an operation that asks no other thread for so little.

  Not in bfloat16, which that operation rounds towards zero.

  <float>[..., n, m], <float>[..., m, k] (or [..., k, m]) -> <float>[..., n, k]
  """
  a = tf.cast(a, b.dtype)
  if b.dtype != tf.float32:
    return tf.matmul(a, b, transpose_b=transpose_b)
  return tf.raw_ops.BatchMatMulV3(x=a, y=b, Tout=tf.float32, adj_y=transpose_b)


def softmax_of_few(x):
  """tf.nn.softmax in parts: for the few numbers of one step that operation takes several times as long.

  <float32>[..., n] -> same shape
  """
  likely = tf.exp(x - tf.reduce_max(x, -1, keepdims=True))
  return likely / tf.reduce_sum(likely, -1, keepdims=True)
