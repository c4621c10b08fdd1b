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
