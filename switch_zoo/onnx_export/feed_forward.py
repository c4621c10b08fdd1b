"""Feed-forward layers: the dense one, and that with experts, of which only those that have rows are computed.

R rows  K choices of a row  E experts  M d_model  H d_ff
"""

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import numpy as np
from onnx import helper

from switch_zoo.errors import UserError, did_you_mean
from switch_zoo.onnx_export.graph import FLOAT, INT64, GraphBuilder, tensor
from switch_zoo.onnx_export.products import INT8, Products, QuantizedRows, integer_product, rectified
from switch_zoo.spec.config import ModelConfig

# Experts are skipped this many at a time: asking for each takes as long as computing one that has no rows.
EXPERTS_AT_ONCE = 8
ROUTERS = ('top1', 'top2', 'top_n')  # those that decide row by row
RELU = ('relu',)  # whose result is quantized in fewer steps
Activation = Callable[[GraphBuilder, str], str]
Read = Callable[[str], np.ndarray]
# As in Mesh-TensorFlow; gelu is the form with tanh.
ACTIVATIONS: Mapping[str, Activation] = {
  'relu': lambda graph, x: graph.call('Relu', x),
  'gelu': lambda graph, x: graph.call('Gelu', x, approximate='tanh'),
  'swish': lambda graph, x: graph.call('Mul', x, graph.call('Sigmoid', x)),
  'sigmoid': lambda graph, x: graph.call('Sigmoid', x),
  'tanh': lambda graph, x: graph.call('Tanh', x),
  'elu': lambda graph, x: graph.call('Elu', x),
  'selu': lambda graph, x: graph.call('Selu', x),
  'softplus': lambda graph, x: graph.call('Softplus', x),
  'squared_relu': lambda graph, x: _squared(graph, graph.call('Relu', x)),
  'linear': lambda graph, x: x,
}


def _squared(graph: GraphBuilder, x: str) -> str:
  return graph.call('Mul', x, x)


class Weights(NamedTuple):
  """What one network of a feed-forward layer needs, as `Products.weight` returns it."""

  inward: tuple[tuple[str, ...], ...]
  outward: tuple[str, ...]


def check(config: ModelConfig) -> None:
  """Raises UserError for a model that cannot be exported: an unknown activation, a router that sees the whole batch."""
  for name in config.ff_activation:
    if name not in ACTIVATIONS:
      hint = did_you_mean(name, ACTIVATIONS) or f' Known are {", ".join(ACTIVATIONS)}.'
      raise UserError(f'{config.name} has the activation "{name}", which an ONNX export does not have.{hint}')
  if config.num_experts and config.router not in ROUTERS:
    raise UserError(
      f'{config.name} has the router "{config.router}", which runs in Mesh-TensorFlow only: an ONNX export has '
      f'{", ".join(ROUTERS)}.'
    )


def dense(products: Products, config: ModelConfig, read: Read, scope: str, x: str) -> str:
  """The dense layer. <float32>[R, M] by name -> the same"""
  weights = _weights(products, config, {name: read(f'{scope}/{name}/kernel') for name in _names(config)}, scope)
  graph = products.graph
  if products.dtype == INT8 and config.ff_activation == RELU:
    taken = products.rows(x)
    hidden = integer_product(graph, taken.values, taken.grid, weights.inward[0])
    return products.times_quantized(rectified(graph, hidden, taken.scales), weights.outward)
  hidden = _activated(graph, config, [products.times(x, weight) for weight in weights.inward])
  return products.times(hidden, weights.outward)


def sparse(products: Products, config: ModelConfig, read: Read, scope: str, x: str) -> str:
  """The layer with experts. <float32>[R, M] by name -> the same

  Rows are sorted by expert, so that those of an expert are adjacent; the order is undone at the end.
  """
  graph, k = products.graph, config.experts_per_token
  expert, gates = _routed(graph, config, read, scope, x)
  order, counts = _sorted(graph, expert, config.num_experts)
  rows = graph.call('Gather', x, order if k == 1 else graph.call('Div', order, graph.constant(k)))
  values = {name: read(f'{scope}/{name}/kernel') for name in _names(config)}
  y = _through_experts(products, config, values, scope, rows, counts)
  places = graph.call('Unsqueeze', order, graph.constant([1]))
  y = graph.call('ScatterND', rows, places, y)  # all of `rows`, which has the right shape, is replaced
  if k == 1:
    return graph.call('Mul', y, gates)
  y = graph.call('Reshape', y, graph.constant([-1, k, config.d_model]))
  y = graph.call('Mul', y, graph.call('Unsqueeze', gates, graph.constant([2])))
  return graph.call('ReduceSum', y, graph.constant([1]), keepdims=0)


def _names(config: ModelConfig) -> tuple[str, ...]:
  return ('wi_0', 'wi_1', 'wo') if config.gated else ('wi', 'wo')


def _weights(products: Products, config: ModelConfig, values: Mapping[str, np.ndarray], scope: str) -> Weights:
  *inward, outward = (products.weight(f'{scope}/{name}', values[name]) for name in _names(config))
  return Weights(tuple(inward), outward)


def _activated(graph: GraphBuilder, config: ModelConfig, factors: Iterable[str]) -> str:
  """The product of the projections, each through its function."""
  first, *others = (ACTIVATIONS[f](graph, x) for f, x in zip(config.ff_activation, factors, strict=True))
  for other in others:
    first = graph.call('Mul', first, other)
  return first


def _routed(graph: GraphBuilder, config: ModelConfig, read: Read, scope: str, x: str) -> tuple[str, str]:
  """The experts of rows, <int64>[R * K], and their gates, <float32>[R, K]; in float32 whatever the weights are in."""
  name = f'{scope}/{config.router_kernels[0]}/kernel'
  router = graph.weight(name, np.asarray(read(name), np.float32))
  probabilities = graph.call('Softmax', graph.call('MatMul', x, router), axis=-1)
  gates, expert = graph.calls('TopK', 2, probabilities, graph.constant([config.experts_per_token]))
  if config.experts_per_token > 1:
    total = graph.call('ReduceSum', gates, graph.constant([1]), keepdims=1)
    gates = graph.call('Div', gates, graph.call('Add', total, graph.constant(1e-9, np.float32)))
  return graph.call('Reshape', expert, graph.constant([-1])), gates


def _sorted(graph: GraphBuilder, expert: str, num_experts: int) -> tuple[str, str]:
  """The order of rows by expert, and how many each has. <int64>[R] by name -> <int64>[R], <int64>[E]"""
  count = graph.call('Shape', expert)
  scalar = graph.call('Squeeze', count)
  place = graph.call('Range', graph.constant(0), scalar, graph.constant(1))
  key = graph.call('Add', graph.call('Mul', expert, count), place)  # no two are equal: the order is the same everywhere
  _, order = graph.calls('TopK', 2, key, count, largest=0)
  chosen = graph.call('Equal', graph.call('Unsqueeze', expert, graph.constant([1])), graph.constant(range(num_experts)))
  counts = graph.call('ReduceSum', graph.call('Cast', chosen, to=INT64), graph.constant([0]), keepdims=0)
  return order, counts


def _through_experts(
  products: Products, config: ModelConfig, values: Mapping[str, np.ndarray], scope: str, rows: str, counts: str
) -> str:
  """Sorted rows through their experts.

  Args:
    products: Products
    config: ModelConfig
    values: name of a kernel -> <float>[E, K, N]
    scope: of the layer
    rows: <float32>[R, M] by name
    counts: <int64>[E] by name
  Returns:
    <float32>[R, M]
  """
  graph, experts = products.graph, range(config.num_experts)
  parts = [experts[start : start + EXPERTS_AT_ONCE] for start in range(0, len(experts), EXPERTS_AT_ONCE)]
  if len(parts) == 1:
    return _experts(products, config, values, scope, experts, rows, counts)
  sizes = graph.constant([len(part) for part in parts])
  each_count = graph.calls('Split', len(parts), counts, sizes, axis=0)
  totals = [graph.call('ReduceSum', part, graph.constant([0])) for part in each_count]
  each_rows = graph.calls('Split', len(parts), rows, graph.call('Concat', *totals, axis=0), axis=0)
  results = []
  for part, part_rows, part_counts, total in zip(parts, each_rows, each_count, totals, strict=True):
    some = graph.call('Greater', graph.call('Squeeze', total), graph.constant(0))
    branch = GraphBuilder(graph.weights, graph.name('experts') + '/')
    result = _experts(products.inside(branch), config, values, scope, part, part_rows, part_counts)
    results.append(
      graph.call('If', some, then_branch=_branch(branch, result, config), else_branch=_nothing(graph, config))
    )
  return graph.call('Concat', *results, axis=0)


def _branch(branch: GraphBuilder, result: str, config: ModelConfig) -> object:
  return branch.graph('experts', (), [tensor(result, FLOAT, [f'{result}_rows', config.d_model])])


def _nothing(graph: GraphBuilder, config: ModelConfig) -> object:
  """No rows."""
  branch = GraphBuilder(graph.weights, graph.name('nothing') + '/')
  shape = branch.constant([0, config.d_model])
  result = branch.call('ConstantOfShape', shape, value=helper.make_tensor('', FLOAT, [1], [0.0]))
  return branch.graph('nothing', (), [tensor(result, FLOAT, [f'{result}_rows', config.d_model])])


def _experts(
  products: Products,
  config: ModelConfig,
  values: Mapping[str, np.ndarray],
  scope: str,
  part: range,
  rows: str,
  counts: str,
) -> str:
  """Sorted rows through some experts; what is done row by row is done once for all of them."""
  graph, is_int8 = products.graph, products.dtype == INT8
  each = lambda name, x: _each(products, values[name], f'{scope}/{name}', part, x, counts)
  *names, outward = _names(config)
  if not is_int8:
    return each(outward, _activated(graph, config, [each(name, rows) for name in names]))
  taken = products.rows(rows)
  if config.ff_activation == RELU:
    hidden = rectified(graph, each(names[0], taken), taken.scales)
  else:
    factors = [graph.call('Mul', each(name, taken), taken.scales) for name in names]
    hidden = products.rows(_activated(graph, config, factors))
  return graph.call('Mul', each(outward, hidden), hidden.scales)


def _each(
  products: Products, values: np.ndarray, name: str, part: range, rows: str | QuantizedRows, counts: str
) -> str:
  """Sorted rows times the kernels of their experts, without the scales of rows in integers. -> <float32>[R, N]"""
  graph = products.graph
  values_of_rows = rows.values if isinstance(rows, QuantizedRows) else rows
  pieces = graph.calls('Split', len(part), values_of_rows, counts, axis=0)
  results = []
  for expert, piece in zip(part, pieces, strict=True):
    weight = products.weight(f'{name}/{expert:04d}', values[expert])
    if isinstance(rows, QuantizedRows):
      results.append(integer_product(graph, piece, rows.grid, weight))
    else:
      results.append(graph.call('MatMul', piece, weight[0]))
  return graph.call('Concat', *results, axis=0) if len(results) > 1 else results[0]
