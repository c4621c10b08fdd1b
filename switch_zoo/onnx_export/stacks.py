"""What the graphs of the encoder and of the decoder share: sublayers with norms and sums, and positions.

T queries  S keys  N heads  M d_model  R rows
"""

from collections.abc import Callable, Iterator

import numpy as np

from switch_zoo.onnx_export import feed_forward, positions
from switch_zoo.onnx_export.attention import Attention
from switch_zoo.onnx_export.graph import MICROSOFT, GraphBuilder
from switch_zoo.onnx_export.products import Products
from switch_zoo.onnx_export.weight_file import WeightFile
from switch_zoo.spec.config import ModelConfig
from switch_zoo.spec.shape import MAX_RELATIVE_DISTANCE, NORM_EPSILON
from switch_zoo.spec.sublayers import EXPERTS, SELF_ATTENTION

Read = Callable[[str], np.ndarray]


class Stack:
  """The rows on their way through a stack.

  The result of a sublayer is added to them by the next norm: the two are one operator.
  """

  def __init__(self, config: ModelConfig, read: Read, weights: WeightFile, dtype: str, scope: str) -> None:
    """
    Args:
      config: ModelConfig
      read: Mesh-TensorFlow's name of a variable -> its value
      weights: the file of the weights
      dtype: one of `products.DTYPES`
      scope: 'encoder' or 'decoder'
    """
    self.config, self.read, self.scope = config, read, scope
    self.graph = GraphBuilder(weights)
    self.products = Products(self.graph, dtype)
    self.attention = Attention(self.products, config)
    self._sum, self._term = '', ''

  def table(self) -> tuple[str, ...]:
    """The embedding of this stack, as `Products.table` returns it."""
    name = 'shared/embedding' if self.config.shared_embedding else f'{self.scope}/embedding'
    return self.products.table(name, self.read(name))

  def begin(self, rows: str) -> None:
    """Embedded tokens, <float32>[R, M] by name."""
    self._sum, self._term = rows, ''

  def add(self, rows: str) -> None:
    """The result of a sublayer, <float32>[R, M] by name."""
    assert not self._term
    self._term = rows

  def sublayers(self) -> Iterator[tuple[str, str]]:
    """Kind and scope of each sublayer, in order."""
    config, is_encoder = self.config, self.scope == 'encoder'
    block = config.encoder_block if is_encoder else config.decoder_block
    for number in range(config.num_encoder_blocks if is_encoder else config.num_decoder_blocks):
      for index, kind in enumerate(block):
        yield kind, f'{self.scope}/block_{number:03d}/layer_{index:03d}'

  def feed_forward(self, kind: str, scope: str) -> None:
    """A dense layer, or one with experts."""
    layer = feed_forward.sparse if kind == EXPERTS else feed_forward.dense
    self.add(layer(self.products, self.config, self.read, f'{scope}/{kind}', self.norm(scope)))

  def norm(self, scope: str, factor: float = 1.0) -> str:
    """RMS norm of the sum so far, times a factor. -> <float32>[R, M]"""
    graph, name = self.graph, f'{scope}/rms_norm/scale'
    scale = graph.weight(name, np.asarray(self.read(name), np.float32) * np.float32(factor))
    if not self._term:
      return self._first_norm(scale)
    rows, total = graph.name('norm'), graph.name('sum')
    inputs, outputs = [self._sum, self._term, scale], [rows, '', '', total]
    graph.node('SkipSimplifiedLayerNormalization', inputs, outputs, domain=MICROSOFT, epsilon=NORM_EPSILON)
    self._sum, self._term = total, ''
    return rows

  def _first_norm(self, scale: str) -> str:
    graph, x = self.graph, self._sum
    mean = graph.call('ReduceMean', graph.call('Mul', x, x), graph.constant([1]), keepdims=1)
    root = graph.call('Sqrt', graph.call('Add', mean, graph.constant(NORM_EPSILON, np.float32)))
    return graph.call('Mul', graph.call('Div', x, root), scale)

  def position_bias(self, queries: str, keys: str, bidirectional: bool) -> str:
    """Positions <int64>[T] and <int64>[S] by name -> <float32>[N or 1, T, S]"""
    graph, learned = self.graph, None
    if self.config.relative_attention_num_buckets:
      learned = self.read(f'{self.scope}/block_000/layer_000/{SELF_ATTENTION}/relative_attention_bias')
    table = graph.weight(f'{self.scope}/positions', positions.bias_table(learned, bidirectional))
    longest = graph.constant(MAX_RELATIVE_DISTANCE)
    distances = graph.call('Sub', keys, graph.call('Unsqueeze', queries, graph.constant([1])))
    distances = graph.call('Clip', distances, graph.constant(-MAX_RELATIVE_DISTANCE), longest)
    return graph.call('Gather', table, graph.call('Add', distances, longest), axis=1)

  def size(self, name: str, axis: int) -> str:
    """A size of a tensor. -> <int64>[1]"""
    return self.graph.call('Shape', name, start=axis, end=axis + 1)

  def range(self, size: str) -> str:
    """<int64>[1] by name -> <int64>[size], 0, 1, ..."""
    return self.graph.call('Range', self.graph.constant(0), self.graph.call('Squeeze', size), self.graph.constant(1))

  def heads_shape(self, batch: str, length: str) -> str:
    """The shape of tokens with their heads apart. <int64>[1], <int64>[1] by name -> <int64>[4]"""
    heads = self.graph.constant([self.config.num_heads, self.config.d_kv])
    return self.graph.call('Concat', batch, length, heads, axis=0)
