"""Products of rows with the weights, in float32 or in int8.

In int8 a weight has a scale for each of its columns, and the rows are quantized when they come, each with a scale that
is its own: with one scale for all, as DynamicQuantizeLinear has it, an answer would depend on the rest of its batch.

R rows  K, N sides of a weight
"""

from typing import Any, NamedTuple

import numpy as np

from switch_zoo.onnx_export.graph import MICROSOFT, GraphBuilder

FLOAT32, INT8 = 'float32', 'int8'
DTYPES = (FLOAT32, INT8)
LARGEST = 127.0


class Grid(NamedTuple):
  """What integers from 0 to 255 mean, as multiples of the scale of a row.

  step: between two of them
  zero: the integer that means 0
  """

  step: float
  zero: int


AROUND_ZERO, FROM_ZERO = Grid(1 / LARGEST, 128), Grid(1 / 255, 0)


class QuantizedRows(NamedTuple):
  """Rows in integers.

  values: <uint8>[R, K]
  scales: <float32>[R, 1]
  grid: of the values
  """

  values: str
  scales: str
  grid: Grid


def quantized(graph: GraphBuilder, rows: str) -> QuantizedRows:
  """<float32>[R, K], by its name in the graph -> QuantizedRows"""
  largest = graph.call('ReduceMax', graph.call('Abs', rows), graph.constant([1]), keepdims=1)
  return QuantizedRows(_on_grid(graph, rows, largest, AROUND_ZERO), largest, AROUND_ZERO)


def rectified(graph: GraphBuilder, rows: str, scales: str) -> QuantizedRows:
  """Rows times their scales through a relu, which leaves 8 bits for what is above 0.

  Args:
    graph: GraphBuilder
    rows: <float32>[R, K] by name
    scales: <float32>[R, 1], none below 0
  """
  largest = graph.call('Relu', graph.call('ReduceMax', rows, graph.constant([1]), keepdims=1))
  return QuantizedRows(_on_grid(graph, rows, largest, FROM_ZERO), graph.call('Mul', scales, largest), FROM_ZERO)


def _on_grid(graph: GraphBuilder, rows: str, largest: str, grid: Grid) -> str:
  # A row of zeros is divided by 0. Whatever integers it becomes, its scale makes them 0 again.
  shares, step = graph.call('Div', rows, largest), graph.constant(grid.step, np.float32)
  return graph.call('QuantizeLinear', shares, step, graph.constant(grid.zero, np.uint8))


def integer_product(graph: GraphBuilder, values: str, grid: Grid, weight: tuple[str, ...]) -> str:
  """Quantized rows with an int8 weight, without the rows' scales.

  Args:
    graph: GraphBuilder
    values: <uint8>[R, K]
    grid: of the values
    weight: <int8>[K, N], and the scales of its columns, <float32>[N]
  Returns:
    <float32>[R, N]
  """
  step, zero = graph.constant(grid.step, np.float32), graph.constant(grid.zero, np.uint8)
  return graph.fused('MatMulIntegerToFloat', values, weight[0], step, weight[1], zero)


def quantize_columns(weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """A weight <float>[K, N] as <int8>[K, N] and the scales of its columns, <float32>[N]."""
  scales = np.abs(weight).max(0).astype(np.float32) / np.float32(LARGEST)
  scales[scales == 0] = 1
  return np.rint(weight / scales).astype(np.int8), scales


class Products:
  """Makes the nodes of products, in one of DTYPES."""

  def __init__(self, graph: GraphBuilder, dtype: str) -> None:
    self.graph, self.dtype = graph, dtype
    self._quantized = dict[str, QuantizedRows]()

  def inside(self, graph: GraphBuilder) -> 'Products':
    """The same in a branch."""
    return Products(graph, self.dtype)

  def weight(self, name: str, value: Any) -> tuple[str, ...]:
    """A weight <float>[K, N] in the file: its name, in int8 also that of its scales."""
    graph = self.graph
    if self.dtype == FLOAT32:
      return (graph.weight(name, np.asarray(value, np.float32)),)
    values, scales = quantize_columns(np.asarray(value, np.float32))
    return graph.weight(f'{name}/int8', values), graph.weight(f'{name}/scales', scales)

  def times(self, rows: str, weight: tuple[str, ...]) -> str:
    """<float32>[R, K] by name, what `weight` returned -> <float32>[R, N]"""
    if self.dtype == FLOAT32:
      return self.graph.call('MatMul', rows, weight[0])
    return self.times_quantized(self.rows(rows), weight)

  def rows(self, rows: str) -> QuantizedRows:
    """Rows in integers, quantized once for all products that take them."""
    if rows not in self._quantized:
      self._quantized[rows] = quantized(self.graph, rows)
    return self._quantized[rows]

  def times_quantized(self, rows: QuantizedRows, weight: tuple[str, ...]) -> str:
    """As `times`, for rows that are quantized already."""
    return self.graph.call('Mul', integer_product(self.graph, rows.values, rows.grid, weight), rows.scales)

  def table(self, name: str, value: Any) -> tuple[str, ...]:
    """An embedding <float>[V, M] in the file: its name, in int8 also that of the scales of its rows."""
    graph = self.graph
    if self.dtype == FLOAT32:
      return (graph.weight(name, np.asarray(value, np.float32)),)
    values, scales = quantize_columns(np.asarray(value, np.float32).T)
    return graph.weight(f'{name}/int8', np.ascontiguousarray(values.T)), graph.weight(f'{name}/scales', scales)

  def looked_up(self, table: tuple[str, ...], ids: str) -> str:
    """Rows of a table. <int64>[R] by name -> <float32>[R, M]"""
    graph = self.graph
    rows = graph.call('Gather', table[0], ids)
    if self.dtype == FLOAT32:
      return rows
    scales = graph.call('Unsqueeze', graph.call('Gather', table[1], ids), graph.constant([1]))
    return graph.call('Mul', graph.call('Cast', rows, to=1), scales)

  def times_table(self, rows: str, table: tuple[str, ...]) -> str:
    """Products with the rows of a table. <float32>[R, M] by name -> <float32>[R, V]"""
    graph = self.graph
    if self.dtype == FLOAT32:
      return graph.calls('FusedMatMul', 1, rows, table[0], domain=MICROSOFT, transB=1)[0]
    # The runtime transposes it once, when it loads the graph: the file holds the table once.
    return self.times(rows, (graph.call('Transpose', table[0], perm=[1, 0]), table[1]))
