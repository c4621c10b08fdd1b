"""The forms of products for one token's time against the plain ones, and rows to experts against a plain loop."""

import hypothesis
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import strategies as st

from switch_zoo.keras import products
from switch_zoo.keras.products import Matrix
from switch_zoo.keras.sparse import NO_EXPERT, by_expert, by_expert_few


def normal(*shape):
  return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize('dtype', [tf.float32, tf.bfloat16])
@pytest.mark.parametrize('expert', [None, 1])
@pytest.mark.parametrize('form', [Matrix.times, Matrix.times_few])
def test_a_matrix_multiplies(dtype, expert, form):
  x = tf.cast(normal(3, 24), dtype)
  value = tf.cast(normal(*([] if expert is None else [2]), 24, 40), dtype)
  found = form(Matrix(value, dtype), x, expert)
  plain = tf.cast(x, tf.float32) @ tf.cast(value if expert is None else value[expert], tf.float32)
  # One rounding to 8 bits of mantissa.
  np.testing.assert_allclose(tf.cast(found, tf.float32), plain, rtol=2**-8 if dtype == tf.bfloat16 else 1e-5, atol=1e-5)


def test_a_large_matrix_is_cut(monkeypatch):
  monkeypatch.setattr(products, 'PIECE_BYTES', 24 * 10 * 2)
  matrix = Matrix(normal(24, 40), tf.bfloat16)
  cut = tf.function(matrix.times_few).get_concrete_function(tf.TensorSpec([None, 24], tf.bfloat16))
  assert sum(op.type == 'MatMul' for op in cut.graph.get_operations()) == 4
  x = tf.cast(normal(3, 24), tf.bfloat16)
  np.testing.assert_array_equal(cut(x), matrix.times(x))


@pytest.mark.parametrize(
  ('rows', 'columns', 'pieces'),
  [
    (768, 768, 2),  # 1.2 MB
    (3072, 768, 8),
    (2048, 512, 4),
    (64, 64, 1),  # small enough as it is
    (768, 767, 2),
    (769, 768, 1),  # no equal parts
    (32128, 768, 1),  # 49 MB keep all threads busy as one product
  ],
)
def test_pieces_of_a_matrix(rows, columns, pieces):
  assert products.num_pieces(tf.zeros([rows, columns], tf.bfloat16)) == pieces


@pytest.mark.parametrize('transpose_b', [False, True])
def test_a_small_product(transpose_b):
  a, b = normal(2, 3, 1, 8), normal(2, 3, *((5, 8) if transpose_b else (8, 5)))
  plain = np.einsum('bnqd,bnkd->bnqk' if transpose_b else 'bnqd,bndk->bnqk', a, b)
  np.testing.assert_allclose(products.product_of_few(a, b, transpose_b=transpose_b), plain, rtol=1e-5, atol=1e-5)


def test_a_small_product_in_bfloat16_is_rounded_to_the_nearest():
  a, b = tf.constant([[[1.0, 1.5 / 256]]], tf.bfloat16), tf.ones([1, 2, 1], tf.bfloat16)
  # 1.0059: between 1 and 1 + 1 / 128, nearer to the second.
  np.testing.assert_array_equal(tf.cast(products.product_of_few(a, b), tf.float32), [[[1 + 1 / 128]]])


def test_softmax_of_few():
  x = np.array([[0.0, 1.0, -2.0], [-1e9, 1000.0, 1000.0]], np.float32)
  np.testing.assert_allclose(products.softmax_of_few(x), tf.nn.softmax(x), rtol=1e-6)


@hypothesis.given(st.lists(st.integers(0, 4), max_size=12))
@hypothesis.settings(max_examples=25, deadline=None)
def test_rows_go_through_the_network_of_their_expert(experts):
  rows, scale = normal(len(experts), 3), np.array([1.0, 2.0, 3.0, 5.0, 7.0], np.float32)
  network = lambda x, expert: x * tf.gather(scale, expert)
  plain = np.array([row * scale[e] for row, e in zip(rows, experts, strict=True)], np.float32).reshape(-1, 3)
  for form in (by_expert, by_expert_few):
    np.testing.assert_array_equal(form(tf.constant(rows), tf.constant(experts, tf.int32), network), plain)


def test_a_row_of_nobody_comes_back_as_zeros():
  found = by_expert(tf.ones([3, 2]), tf.constant([NO_EXPERT, 1, NO_EXPERT]), lambda x, expert: x + 4.0)
  np.testing.assert_array_equal(found, [[0, 0], [5, 5], [0, 0]])
