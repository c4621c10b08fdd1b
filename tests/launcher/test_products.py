"""Products of matrices in place of einsum, against NumPy."""

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from switch_zoo import machine
from switch_zoo.launcher import products, replacements

SIZES = dict(zip('abcdeh', (2, 3, 4, 5, 6, 7), strict=True))


def operands(equation):
  random = np.random.RandomState(0)
  letters = equation.split('->')[0].split(',')
  return [random.standard_normal([SIZES[c] for c in names]).astype(np.float32) for names in letters]


@pytest.mark.parametrize(
  'equation',
  [
    'abc,cd->abd',  # a dense layer
    'abd,cd->abc',  # the gradient of its input
    'abc,abd->cd',  # and of its weights
    'abd,abc->cd',  # transposed
    'eab,ecb->eac',  # queries times keys
    'eac,ecb->eab',
    'eab,eac->ebc',
    'eac,ebh->eacbh',  # an outer product
    'aecd,aehd->aech',
    'ecd,eabc->edab',  # experts, whose hidden layer comes before the slots
    'eabc,ecd->edab',
    'abc,abc->',
    'ab,ab->a',
    'abcd,cdh->abh',
  ],
)
def test_values(equation):
  x, y = operands(equation)
  with tf.Session() as session:
    product = products.matrix_product(equation, tf.constant(x), tf.constant(y))
    assert product is not None and 'Einsum' not in {op.type for op in product.graph.get_operations()}
    np.testing.assert_allclose(session.run(product), np.einsum(equation, x, y), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('equation', ['abc,cd->adb', 'abc,bd->acd', 'abc,acd->bad', 'acbd,ahbd->abch'])
def test_what_needs_a_transpose_is_left_to_einsum(equation):
  assert products.matrix_product(equation, *map(tf.constant, operands(equation))) is None


def test_sums_over_one_operand_are_left_to_einsum():
  assert products.matrix_product('abc,cd->ad', *map(tf.constant, operands('abc,cd->ad'))) is None


@pytest.mark.parametrize(('faster', 'tolerance'), [(True, 2**-8), (False, 2**-6)])
def test_bfloat16_is_summed_in_float32_and_rounded_once(faster, tolerance, monkeypatch):
  # TensorFlow's own product in bfloat16 cuts digits off.
  monkeypatch.setattr(machine, 'multiplies_float32_faster', lambda: faster)
  x, y = (tf.cast(operand, tf.bfloat16) for operand in operands('abc,cd->abd'))
  product = products.matrix_product('abc,cd->abd', x, y)
  assert product.dtype == tf.bfloat16
  with tf.Session() as session:
    exact = np.einsum('abc,cd->abd', *(session.run(tf.cast(operand, tf.float32)) for operand in (x, y)))
    np.testing.assert_allclose(session.run(tf.cast(product, tf.float32)), exact, rtol=tolerance, atol=1e-6)


def test_the_table_puts_it_in_place():
  assert any(entry.wrap is products.of_matrices for entry in replacements.TABLE)
