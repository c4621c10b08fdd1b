"""T5's attention: scores are not scaled, there are no biases, and positions enter as a bias on the scores.

B batch  T queries  S keys  C capacity of a cache in tokens  N heads  D d_kv  I = N x D  R rows
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from switch_zoo.onnx_export.products import Products
from switch_zoo.spec.config import ModelConfig

# Of [B, T, N, D]: keys as [B, N, D, T], with which the product of one query is fastest; all else as [B, N, T, D].
Read = Callable[[str], np.ndarray]
HEADS, KEYS = (0, 2, 1, 3), (0, 2, 3, 1)


class PackedTokens(NamedTuple):
  """The tokens of a batch without the padding between them, by names in the graph.

  places: <int64>[R, 1], of each in the batch as rows
  count: <int64>[1], B x T, the rows of the batch
  shape: <int64>[4], [B, T, N, D]
  """

  places: str
  count: str
  shape: str


class Attention:
  """The nodes of attention."""

  def __init__(self, products: Products, config: ModelConfig) -> None:
    self.products, self.graph = products, products.graph
    self.heads, self.d_kv = config.num_heads, config.d_kv
    self.inner = config.num_heads * config.d_kv

  def projected(self, x: str, scope: str, read: Read, letters: str, packing: PackedTokens | None = None) -> list[str]:
    """Rows times several matrices, as one product.

    Args:
      x: <float32>[R, M] by name
      scope: of the attention
      read: name of a variable -> its value
      letters: of the matrices, such as 'qkv'
      packing: of the rows; None: they have no padding
    Returns:
      <float32>[B * T, I] for each letter, zeros for the padding
    """
    matrix = np.concatenate([np.asarray(read(f'{scope}/{letter}'), np.float32) for letter in letters], 1)
    y = self.products.times(x, self.products.weight(f'{scope}/{letters}', matrix))
    if packing:
      y = self._unpacked(y, packing, len(letters) * self.inner)
    if len(letters) == 1:
      return [y]
    return self.graph.calls('Split', len(letters), y, self.graph.constant([self.inner] * len(letters)), axis=1)

  def outward(self, x: str, scope: str, read: Read) -> str:
    """<float32>[R, I] by name -> <float32>[R, M]"""
    return self.products.times(x, self.products.weight(f'{scope}/o', read(f'{scope}/o')))

  def split_heads(self, x: str, shape: str, order: tuple[int, ...] = HEADS) -> str:
    """<float32>[B * T, I] by name -> [B, N, T, D], or as `order` says"""
    return self.graph.call('Transpose', self.graph.call('Reshape', x, shape), perm=order)

  def join_heads(self, x: str) -> str:
    """<float32>[B, N, T, D] by name -> <float32>[B * T, I]"""
    joined = self.graph.call('Transpose', x, perm=HEADS)
    return self.graph.call('Reshape', joined, self.graph.constant([-1, self.inner]))

  def attended(self, scores: str, values: str, bias: str) -> str:
    """
    Args:
      scores: <float32>[B, N, T, S]
      values: <float32>[B, N, S, D]
      bias: <float32>, broadcast to the scores
    Returns:
      <float32>[B * T, I]
    """
    weights = self.graph.call('Softmax', self.graph.call('Add', scores, bias), axis=-1)
    return self.join_heads(self.graph.call('MatMul', weights, values))

  def _unpacked(self, x: str, packing: PackedTokens, width: int) -> str:
    shape = self.graph.call('Concat', packing.count, self.graph.constant([width]), axis=0)
    return self.graph.call('ScatterND', self.graph.call('ConstantOfShape', shape), packing.places, x)
