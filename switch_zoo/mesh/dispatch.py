"""Two ways to carry tokens to their experts and back, with one interface.

`Einsum` multiplies by the masks of the routing record: what TPUs do best. `Gather` moves rows by index: what CPUs and
GPUs do best, and it makes no tensor of the size tokens x experts x capacity. Both give the same numbers and gradients.
"""

from collections.abc import Sequence

import gin
import mesh_tensorflow as mtf
import tensorflow.compat.v1 as tf
from tensorflow.python.ops import control_flow_util

from switch_zoo.mesh.routing.record import Routing


@gin.configurable(module='dispatch')
class Einsum:
  """Products with the dispatch and combine masks.

  Source: arXiv:2101.03961, section 5 and Figure 16; GShard, arXiv:2006.16668, algorithm 2.
  """

  def dispatch(self, routing: Routing, x: mtf.Tensor, output_shape: Sequence[mtf.Dimension]) -> mtf.Tensor:
    """Tokens to slots. <activation>[O, G, S, M] -> <activation>[E, O, G, C, M]"""
    return mtf.einsum([x, routing.dispatch], output_shape)

  def combine(self, routing: Routing, y: mtf.Tensor, output_shape: Sequence[mtf.Dimension]) -> mtf.Tensor:
    """Slots to tokens, weighted by the gates. <activation>[E, O, G, C, M] -> <activation>[O, G, S, M]"""
    return mtf.einsum([y, routing.combine], output_shape)


@gin.configurable(module='dispatch')
class Gather:
  """Rows moved by index."""

  def dispatch(self, routing: Routing, x: mtf.Tensor, output_shape: Sequence[mtf.Dimension]) -> mtf.Tensor:
    """Tokens to slots. <activation>[O, G, S, M] -> <activation>[E, O, G, C, M]"""
    return routing.decision.pack(x, output_shape)

  def combine(self, routing: Routing, y: mtf.Tensor, output_shape: Sequence[mtf.Dimension]) -> mtf.Tensor:
    """Slots to tokens, weighted by the gates. <activation>[E, O, G, C, M] -> <activation>[O, G, S, M]"""
    return routing.decision.unpack(y, output_shape)


Dispatch = Einsum | Gather


def default() -> Dispatch:
  """Einsum when the graph being built is compiled by XLA, as everything for a TPU is; Gather otherwise.

  Both run everywhere: a wrong guess costs time, not correctness. Layouts may choose one.
  """
  return Einsum() if control_flow_util.GraphOrParentsInXlaContext(tf.get_default_graph()) else Gather()
