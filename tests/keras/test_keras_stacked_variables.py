"""Small variables in one, and layers in one function."""

import numpy as np
import pytest
import tensorflow as tf

import switch_zoo
from switch_zoo.keras import SwitchTransformer, generation, stacked_variables
from switch_zoo.keras.repeated import Repeated
from switch_zoo.keras.stacked_variables import StackedVariables

IDS = tf.constant([[5, 9, 7, 1]])


class Layer(tf.Module):
  """x * weight + bias"""

  def __init__(self, weight, bias=0.0):
    super().__init__()
    self.weight, self.bias = tf.Variable([weight]), tf.Variable(bias)

  def __call__(self, x):
    return x * self.weight + self.bias


class Layers(tf.Module):
  """Two layers that are alike."""

  def __init__(self):
    super().__init__()
    self.first, self.second = Layer(2.0), Layer(3.0, 1.0)

  def __call__(self, x):
    return self.second(self.first(x))


def test_variables_of_one_shape_are_rows_of_one():
  layers = Layers()
  weights = StackedVariables(layers)
  assert sorted(stack.numpy().ravel().tolist() for stack in weights.stacks) == [[0.0, 1.0], [2.0, 3.0]]
  assert not layers.variables, 'the layers still hold what lies in the stacks'


def test_inside_using_the_layers_have_their_weights_and_outside_none():
  layers = Layers()
  weights = StackedVariables(layers)
  with weights.using(weights.read()):
    assert layers(tf.constant([5.0])).numpy() == [31.0]
  assert layers.first.weight is None
  with pytest.raises(KeyError), weights.using(weights.read()):
    raise KeyError
  assert layers.first.weight is None


def test_using_may_be_nested():
  layers = Layers()
  weights = StackedVariables(layers)
  outer, inner = weights.read(), [tf.zeros_like(value) for value in weights.read()]
  with weights.using(outer):
    with weights.using(inner):
      assert layers(tf.constant([5.0])).numpy() == [0.0]
    assert layers(tf.constant([5.0])).numpy() == [31.0]


def test_a_variable_with_two_names_is_stored_once():
  layers = Layers()
  layers.second.weight = layers.first.weight
  weights = StackedVariables(layers)
  assert sorted(stack.shape.as_list() for stack in weights.stacks) == [[1], [2]]
  with weights.using(weights.read()):
    assert layers(tf.constant([5.0])).numpy() == [21.0]


def test_what_is_large_stands_alone(monkeypatch):
  monkeypatch.setattr(stacked_variables, 'SMALL_BYTES', 3)
  layers = Layers()
  variable = layers.first.weight
  assert any(stack is variable for stack in StackedVariables(layers).stacks)


def test_only_what_has_one_shape_and_dtype_is_stacked():
  layers = Layers()
  layers.first.weight = tf.Variable([2.0], dtype=tf.float64)
  layers.second.bias = tf.Variable([1.0])
  weights = StackedVariables(layers)
  shapes = sorted((stack.dtype.name, stack.shape.as_list()) for stack in weights.stacks)
  # The weight and the bias of the second layer have become alike.
  assert shapes == [('float32', []), ('float32', [2, 1]), ('float64', [1])]


def test_a_module_without_variables():
  weights = StackedVariables(tf.Module())
  assert (weights.stacks, weights.read()) == ([], ())
  with weights.using(()):
    pass


def test_read_gives_the_values_of_now():
  layers = Layers()
  weights = StackedVariables(layers)
  before = weights.read()
  for stack in weights.stacks:
    stack.assign(tf.zeros_like(stack))
  with weights.using(before):
    assert layers(tf.constant([5.0])).numpy() == [31.0]
  with weights.using(weights.read()):
    assert layers(tf.constant([5.0])).numpy() == [0.0]


def test_values_of_another_model_are_refused():
  weights = StackedVariables(Layers())
  with pytest.raises(ValueError, match='zip'):
    weights.using(weights.read()[:1])


@pytest.mark.parametrize('name', ['tiny_switch_8', 'tiny_dense', 'moe_base_128', 'mt5_base'])
def test_a_model_holds_each_weight_once(name):
  small = ['d_model = 8', 'd_ff = 16', 'd_kv = 4', 'num_heads = 2', 'vocab_size = 64']
  config = switch_zoo.load_config(name, small + (['num_experts = 4'] if name == 'moe_base_128' else []))
  model = SwitchTransformer(config).for_inference()
  assert sum(np.prod(variable.shape) for variable in model.variables) == config.num_parameters


def test_layers_that_are_alike_share_a_function():
  layers = Layers()
  weights, calls = StackedVariables(layers), Repeated()

  @tf.function
  def both(x, read):
    with weights.using(read):
      return calls(Layer.__call__, layers.second, calls(Layer.__call__, layers.first, x))

  graph = both.get_concrete_function(tf.constant([5.0]), weights.read()).graph
  assert both(tf.constant([5.0]), weights.read()).numpy() == [31.0]
  called = [op.get_attr('f').name for op in graph.get_operations() if op.type == 'PartitionedCall']
  assert len(called) == 2 and len(set(called)) == 1


class Plain(tf.Module):
  """x * weight, with a weight that is a tensor; counts how often TensorFlow traces it."""

  traces = 0

  def __init__(self, weight):
    super().__init__()
    self.weight = tf.constant(weight)

  def __call__(self, x):
    Plain.traces += 1
    return x * self.weight

  def both(self, pair):
    return {'first': pair[0] * self.weight, 'second': pair[1]}


def test_layers_that_are_alike_are_traced_once_and_others_by_themselves(monkeypatch):
  monkeypatch.setattr(Plain, 'traces', 0)
  calls, x = Repeated(), tf.constant([5.0])
  alike = [Plain([2.0]), Plain([3.0]), Plain([2.0])]
  assert [calls(Plain.__call__, layer, x).numpy().tolist() for layer in alike] == [[10.0], [15.0], [10.0]]
  assert Plain.traces == 1
  np.testing.assert_array_equal(calls(Plain.__call__, Plain([2.0, 4.0]), x), [10.0, 20.0])
  np.testing.assert_array_equal(calls(Plain.__call__, Plain(np.array([2.0])), tf.constant([5.0], tf.float64)), [10.0])
  assert Plain.traces == 3


def test_methods_take_and_give_structures():
  calls = Repeated()
  found = calls(Plain.both, Plain([2.0]), (tf.constant([5.0]), tf.constant([7.0])))
  assert {name: value.numpy().tolist() for name, value in found.items()} == {'first': [10.0], 'second': [7.0]}
  product = calls(Plain.__call__, Plain([2.0]), tf.constant([5.0]))
  assert product.numpy() == [10.0], 'another method of the same layer'


def test_a_call_leaves_the_layers_weights_as_they_were():
  calls, layer, other = Repeated(), Plain([2.0]), Plain([3.0])
  weights = layer.weight, other.weight
  calls(Plain.__call__, layer, tf.constant([1.0]))
  calls(Plain.__call__, other, tf.constant([1.0]))
  assert layer.weight is weights[0] and other.weight is weights[1]


def size(blocks):
  """Nodes of a model's answer, in the graph and all its functions; and functions."""
  small = ['d_model = 8', 'd_ff = 16', 'd_kv = 4', 'num_heads = 2', 'vocab_size = 64']
  depth = [f'num_encoder_layers = {blocks}', f'num_decoder_layers = {blocks}']
  model = SwitchTransformer(switch_zoo.load_config('tiny_switch_8', small + depth)).for_inference()
  answer = tf.function(lambda ids: generation.answer(model, ids, 3).ids).get_concrete_function(IDS)
  graph = answer.graph.as_graph_def()
  functions = graph.library.function
  return len(graph.node) + sum(len(function.node_def) for function in functions), len(functions)


def test_a_deeper_model_has_more_calls_but_no_more_functions():
  nodes, functions = zip(*(size(blocks) for blocks in (2, 4, 6)), strict=True)
  assert len(set(functions)) == 1
  assert nodes[2] - nodes[1] == nodes[1] - nodes[0] < 100
