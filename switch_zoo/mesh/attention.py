"""Switch attention: experts make the queries, and the keys that are also the values.

Source: Switch Transformers, arXiv:2101.03961, appendix A and Table 10. One set of weights makes the queries, another
the shared keys and values; each token is routed once for both. The paper tried linear experts and small feed-forward
networks; both were unstable with a bfloat16 router, so keep `precision` selective.
"""

from collections.abc import Callable
from typing import Any

import gin
import mesh_tensorflow as mtf
from mesh_tensorflow.transformer import attention, transformer, transformer_layers

from switch_zoo.errors import UserError
from switch_zoo.mesh.exchange import Exchange
from switch_zoo.mesh.experts import Activations, checked_activation, expert_hidden, expert_product


@gin.configurable(module='attention')
class SwitchSelfAttention(transformer_layers.SelfAttention):
  """Self-attention with experts, with the variables of the released ExpertsSelfAttention:

    ExpertsSelfAttention/<router>/kernel       [M, E]
    ExpertsSelfAttention/wi/kernel             [E, M, H]   with hidden_size
    ExpertsSelfAttention/{q_wo,k_wo}/kernel    [E, H, heads * d_kv], or [E, M, heads * d_kv] for linear experts
    ExpertsSelfAttention/o                     [heads * d_kv, M]

  What gin binds for transformer_layers.SelfAttention (heads, sizes, relative positions) applies here too.
  """

  scope_name = 'ExpertsSelfAttention'

  def __init__(
    self,
    exchange: Exchange = gin.REQUIRED,
    hidden_size: int | None = None,
    activation: Activations = 'relu',
    **kwargs: Any,
  ) -> None:
    """
    Args:
      exchange: in gin @experts.Exchange()
      hidden_size: H; None for linear experts
      activation: of the hidden layer
      **kwargs: of transformer_layers.SelfAttention, except shared_kv, which is True
    Raises:
      UserError: `num_memory_heads` is not 0
    """
    super().__init__(shared_kv=True, **kwargs)
    if self.num_memory_heads:
      raise UserError(f'num_memory_heads={self.num_memory_heads}: experts make keys for every head. Use 0.')
    self._exchange = exchange
    self._hidden_dim = mtf.Dimension('expert_hidden', hidden_size) if hidden_size else None
    self._activation = checked_activation(activation)

  def make_params(self, context: transformer.Context) -> attention.AttentionParams:
    """The variables of this layer in `context`, as the released attention asks for them."""
    heads = [mtf.Dimension('heads', self.num_heads)]
    model_dim = context.model.model_dim
    return _ExpertParams(
      self._project,
      context,
      mesh=context.mesh,
      query_input_dim=model_dim,
      memory_input_dim=model_dim,
      output_dim=model_dim,
      key_dim=self.kv_dim,
      value_dim=self.kv_dim,
      query_heads_dims=heads,
      memory_heads_dims=heads,
      variable_dtype=context.variable_dtype,
      shared_kv=True,
      combine_dims=True,
      fold_scaling_into_initializer=self.fold_scaling_into_initializer,
      make_attention_vars=False,
    )

  def _project(self, context: transformer.Context, x: mtf.Tensor, size: int) -> list[mtf.Tensor]:
    """Queries, and keys that are values. <activation>[batch..., length, M] -> twice <activation>[..., size]"""
    tokens, bring_back = self._exchange.send(context, x)
    slot_dims = tokens.shape.dims[:-1]
    if self._hidden_dim:
      tokens = expert_hidden(self._exchange, context, tokens, self._hidden_dim, self._activation)
    # A name that no layout cuts: `heads` may be cut over the axis that cuts expert_hidden.
    new_dim = mtf.Dimension('d_attention', size)
    return [
      bring_back(expert_product(self._exchange, context, tokens, [*slot_dims, new_dim], name))
      for name in ('q_wo', 'k_wo')
    ]


class _ExpertParams(attention.AttentionParams):
  """AttentionParams whose queries and keys come from experts: both are made when the queries are asked for."""

  _kv: mtf.Tensor  # made by `compute_q`, which the released attention calls before `compute_kv`

  def __init__(
    self,
    project: Callable[[transformer.Context, mtf.Tensor, int], list[mtf.Tensor]],
    context: transformer.Context,
    **kwargs: Any,
  ) -> None:
    super().__init__(**kwargs)
    self._project = project
    self._context = context

  def compute_q(self, query_antecedent: mtf.Tensor) -> mtf.Tensor:
    """<activation>[batch..., length, M] -> <activation>[batch..., length, heads, d_kv]"""
    q, kv = self._project(self._context, query_antecedent, mtf.Shape(self.q_dims).size)
    self._kv = mtf.replace_dimensions(kv, kv.shape.dims[-1], self.k_dims)
    return mtf.replace_dimensions(q, q.shape.dims[-1], self.q_dims) * self.key_dim.size**-0.5

  def compute_kv(self, memory_antecedent: mtf.Tensor) -> mtf.Tensor:
    """The keys made with the queries. The antecedent is the same tokens, its length renamed unless decoding.

    <activation>[batch..., length or memory_length, M] -> the same with heads, d_kv in place of M
    """
    lengths = [d for d in memory_antecedent.shape.dims if d.name == 'memory_length']
    if not lengths:
      return self._kv
    return mtf.replace_dimensions(self._kv, self._context.length_dim, lengths[0])
