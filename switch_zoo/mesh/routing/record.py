"""The routing record: what a router is given, and what every router returns."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import mesh_tensorflow as mtf
import tensorflow.compat.v1 as tf

from switch_zoo.mesh.routing import rows


class Tokens(NamedTuple):
  """What a router is given.

  x: <activation>[O, G, S, M]
  real: <float32>[O, G, S], 1 for a token and 0 for padding
  share: <float32>[O, G, S], 1/n for each of the n real tokens of the whole batch: the weights of a mean
  """

  x: mtf.Tensor
  real: mtf.Tensor
  share: mtf.Tensor


class RouterSetting(NamedTuple):
  """What the layer decides for its router.

  experts, capacity: the dimensions E (expert_unsplit) and C (expert_capacity)
  train: noise is allowed
  dtype: the router computes in it; float32 unless Table 2's bfloat16 run is to be reproduced
  variable_dtype: of the router's kernels
  initializer: of kernels, called with (reduced_dims, new_dims)
  """

  experts: mtf.Dimension
  capacity: mtf.Dimension
  train: bool
  dtype: tf.DType
  variable_dtype: mtf.VariableDType
  initializer: Any


class Choice(NamedTuple):
  """One expert for each token.

  expert: <int32>[O, G, S], -1 for none
  place: <int32>[O, G, S], in the expert's queue; the token has a slot if it is below the capacity
  gate: <float32>[O, G, S]
  """

  expert: mtf.Tensor
  place: mtf.Tensor
  gate: mtf.Tensor


class TokensChoose(NamedTuple):
  """Each token chose up to K experts."""

  choices: Sequence[Choice]
  experts: mtf.Dimension
  capacity: mtf.Dimension

  def masks(self, dtype: tf.DType) -> tuple[mtf.Tensor, mtf.Tensor]:
    """-> dispatch and combine, <dtype>[O, G, S, E, C]"""
    dispatch, combine = zip(*(self._mask(choice, dtype) for choice in self.choices), strict=True)
    return mtf.add_n(dispatch), mtf.add_n(combine)

  def pack(self, x: mtf.Tensor, output_shape: rows.OutputShape) -> mtf.Tensor:
    """Rows into slots. <activation>[O, G, S, M] -> <activation>[output_shape]"""
    return mtf.add_n([rows.place(x, self._row(choice), output_shape) for choice in self.choices])

  def unpack(self, y: mtf.Tensor, output_shape: rows.OutputShape) -> mtf.Tensor:
    """Slots back into rows, scaled by the gates. <activation>[..., M] -> <activation>[O, G, S, M]"""
    return mtf.add_n(
      [rows.take(y, self._row(choice), output_shape) * mtf.cast(choice.gate, y.dtype) for choice in self.choices]
    )

  def missed(self) -> mtf.Tensor:
    """1 where a token has no slot. -> <float32>[O, G, S]"""
    return mtf.cwise(
      lambda *rows_of: tf.to_float(functools.reduce(tf.maximum, rows_of) < 0),
      [self._row(choice) for choice in self.choices],
      output_dtype=tf.float32,
      grad_function=0,
    )

  def _mask(self, choice: Choice, dtype: tf.DType) -> tuple[mtf.Tensor, mtf.Tensor]:
    expert = mtf.one_hot(choice.expert, self.experts, dtype=dtype)
    slot = mtf.one_hot(choice.place, self.capacity, dtype=dtype)
    dispatch = mtf.einsum([expert, slot], expert.shape + self.capacity)
    return dispatch, dispatch * mtf.cast(choice.gate, dtype)

  def _row(self, choice: Choice) -> mtf.Tensor:
    """The slot's number in its group, e * C + c, or -1. -> <int32>[O, G, S]"""

    def number(expert: tf.Tensor, place: tf.Tensor) -> tf.Tensor:
      fits = tf.logical_and(expert >= 0, place < self.capacity.size)
      return tf.where_v2(fits, expert * self.capacity.size + place, -1)

    return mtf.cwise(number, [choice.expert, choice.place], grad_function=0, name='slot_number')


class ExpertsChoose(NamedTuple):
  """Each slot of each expert chose a token.

  token: <int32>[O, G, E, C], -1 for an empty slot
  gate: <float32>[O, G, E, C]
  group: the dimension S
  """

  token: mtf.Tensor
  gate: mtf.Tensor
  group: mtf.Dimension

  def masks(self, dtype: tf.DType) -> tuple[mtf.Tensor, mtf.Tensor]:
    """-> dispatch and combine, <dtype>[O, G, E, C, S]"""
    dispatch = mtf.one_hot(self.token, self.group, dtype=dtype)
    return dispatch, dispatch * mtf.cast(self.gate, dtype)

  def pack(self, x: mtf.Tensor, output_shape: rows.OutputShape) -> mtf.Tensor:
    """Rows into slots. <activation>[O, G, S, M] -> <activation>[output_shape]"""
    return rows.take(x, self.token, output_shape)

  def unpack(self, y: mtf.Tensor, output_shape: rows.OutputShape) -> mtf.Tensor:
    """Slots back into rows, scaled by the gates. <activation>[..., M] -> <activation>[O, G, S, M]"""
    return rows.place(y * mtf.cast(self.gate, y.dtype), self.token, output_shape)

  def missed(self) -> mtf.Tensor:
    """1 where a token has no slot. -> <float32>[O, G, S]"""
    taken = mtf.reduce_max(mtf.one_hot(self.token, self.group), output_shape=self.token.shape.dims[:2] + [self.group])
    return 1.0 - taken


@dataclasses.dataclass(frozen=True)
class Routing:
  """What every router returns.

  decision: who goes where; moves rows by index (gather), or makes masks (einsum)
  losses: name -> <float32>[], not yet weighted; the layer applies the router's coefficients
  metrics: name -> <float32>[] or [E], for the writers of summaries
  dtype: of the activations, and so of the masks
  """

  decision: TokensChoose | ExpertsChoose
  losses: Mapping[str, mtf.Tensor]
  metrics: Mapping[str, mtf.Tensor]
  dtype: tf.DType

  @property
  def dispatch(self) -> mtf.Tensor:
    """<activation>[O, G, S, E, C], 1 where a token has a slot, else 0; built on first use."""
    return self._masks[0]

  @property
  def combine(self) -> mtf.Tensor:
    """<activation>[O, G, S, E, C], dispatch scaled by the gate."""
    return self._masks[1]

  @functools.cached_property
  def _masks(self) -> tuple[mtf.Tensor, mtf.Tensor]:
    return self.decision.masks(self.dtype)
