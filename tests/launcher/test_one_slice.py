"""Attention, softmax and embeddings for one slice, against Mesh-TensorFlow's."""

import types

import mesh_tensorflow as mtf
import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from mesh_tensorflow import placement_mesh_impl
from mesh_tensorflow.transformer import attention

from switch_zoo.launcher import one_slice, replacements

BATCH, HEADS, LENGTH, MEMORY, KEY = (
  mtf.Dimension(name, size)
  for name, size in (('batch', 2), ('heads', 3), ('length', 4), ('memory_length', 5), ('d_kv', 6))
)
MODEL, ROWS = mtf.Dimension('d_model', 3), mtf.Dimension('vocab', 7)


class Context:
  """What attention asks of its context."""

  train = False
  model = types.SimpleNamespace(layout=None, mesh_shape=None)


def values(function, *inputs, mesh_shape='', integers=()):
  """The result of a function of mtf.Tensors, and the gradients of its weighted sum.

  Args:
    function: of tensors with the dimensions in `inputs`
    inputs: dimensions of each tensor
    mesh_shape: that the graph is marked with
    integers: arguments after the tensors: (dimensions, values)
  """
  with tf.Graph().as_default(), tf.Session() as session:
    one_slice.mark(mesh_shape)
    mesh = mtf.Mesh(mtf.Graph(), 'mesh')
    random = np.random.RandomState(0)
    array = lambda shape: random.standard_normal(shape.to_integer_list).astype(np.float32)
    given = [mtf.import_tf_tensor(mesh, array(mtf.Shape(dims)), mtf.Shape(dims)) for dims in inputs]
    numbers = [mtf.import_tf_tensor(mesh, np.array(ids, np.int32), mtf.Shape(dims)) for dims, ids in integers]
    result = function(*given, *numbers)
    weights = mtf.import_tf_tensor(mesh, array(result.shape), result.shape)
    gradients = mtf.gradients([mtf.reduce_sum(result * weights)], given)
    lowering = mtf.Lowering(mesh.graph, {mesh: placement_mesh_impl.PlacementMeshImpl([], [], [''])})
    return session.run([lowering.export_to_tf_tensor(tensor) for tensor in (result, *gradients)])


def same(ours, released, *inputs, **kwargs):
  """Asserts that results and gradients are the same."""
  for value, expected in zip(values(ours, *inputs, **kwargs), values(released, *inputs, **kwargs), strict=True):
    assert value.shape == expected.shape
    np.testing.assert_allclose(value, expected, rtol=1e-5, atol=1e-6)


QUERY, STORED = [BATCH, LENGTH, HEADS, KEY], [BATCH, MEMORY, HEADS, KEY]


@pytest.mark.parametrize('key', [STORED, [BATCH, MEMORY, KEY]], ids=['heads', 'one head of memory'])
@pytest.mark.parametrize('bias', [[], [LENGTH, MEMORY, HEADS]], ids=['plain', 'bias'])
def test_attention(key, bias):
  def attend(function):
    return lambda q, k, v, *bias: function(q, k, v, MEMORY, KEY, KEY, *bias, context=Context(), dropout_rate=0.0)

  inputs = [QUERY, key, key] + ([bias] if bias else [])
  same(attend(one_slice.by_heads(attention.attention)), attend(attention.attention), *inputs)


def test_attention_with_a_mask_and_a_bias():
  def attend(function):
    def with_sum(q, k, v, mask, relative):
      return function(q, k, v, MEMORY, KEY, KEY, mtf.add_n([mask, relative]), context=Context())

    return with_sum

  inputs = QUERY, STORED, STORED, [BATCH, LENGTH, MEMORY], [LENGTH, MEMORY, HEADS]
  same(attend(one_slice.by_heads(attention.attention)), attend(attention.attention), *inputs)


def test_attention_of_one_token_is_the_released_one():
  inputs = [BATCH, HEADS, KEY], STORED, STORED
  attend = lambda function: lambda q, k, v: function(q, k, v, MEMORY, KEY, KEY, context=Context())
  same(attend(one_slice.by_heads(attention.attention)), attend(attention.attention), *inputs)


@pytest.mark.parametrize('dim', [LENGTH, MEMORY])
def test_softmax(dim):
  soft = lambda function: lambda x: function(x, dim)
  same(soft(one_slice.one_softmax(mtf.softmax)), soft(mtf.softmax), [BATCH, LENGTH, MEMORY])


def test_rows_of_a_table():
  # Twice the same, none, and one beyond the table.
  ids = [[0, 6, 6, 3], [-1, 7, 2, 0]]
  rows = lambda function: lambda table, index: function(table, index, ROWS)
  gathered = one_slice.by_index(mtf.gather)
  same(rows(gathered), rows(mtf.gather), [ROWS, MODEL], integers=[([BATCH, LENGTH], ids)])


@pytest.mark.parametrize(('mesh_shape', 'ours'), [('', True), ('batch:1', True), ('batch:2', False)])
def test_only_where_the_mesh_is_one_slice(mesh_shape, ours):
  with tf.Graph().as_default():
    assert not one_slice.marked()
    one_slice.mark(mesh_shape)
    assert one_slice.marked() == ours
    one_slice.mark('batch:2')
    assert not one_slice.marked()


@pytest.mark.parametrize('wrap', [one_slice.by_heads, one_slice.one_softmax, one_slice.by_index])
def test_the_table_puts_them_in_place(wrap):
  assert any(entry.wrap is wrap for entry in replacements.TABLE)
