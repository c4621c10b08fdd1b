"""The types of the layers that switch_zoo calls; see `ops`."""

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow.compat.v1 as tf
from mesh_tensorflow.ops import Dimension, Tensor, VariableDType

class DenseInitializer:
  def __call__(self, reduced_dims: Sequence[Dimension], new_dims: Sequence[Dimension]) -> Any: ...

class VarianceScalingInitializer(DenseInitializer):
  def __init__(self, scale: float = 1.0, mode: str = 'fan_in', distribution: str = 'normal') -> None: ...

def dense(
  x: Tensor,
  new_dims: Dimension | Sequence[Dimension],
  reduced_dims: Sequence[Dimension] | None = None,
  expert_dims: Sequence[Dimension] | None = None,
  use_bias: bool = True,
  activation: Callable[[Tensor], Tensor] | None = None,
  master_dtype: tf.DType = ...,
  slice_dtype: tf.DType = ...,
  variable_dtype: VariableDType | None = None,
  kernel_initializer: Any = None,
  kernel_weights: Tensor | None = None,
  name: str | None = None,
) -> Tensor: ...
def get_dense_kernel_weights(
  x: Tensor,
  new_dims: Sequence[Dimension],
  reduced_dims: Sequence[Dimension],
  expert_dims: Sequence[Dimension] | None,
  kernel_initializer: Any,
  name: str | None = None,
  variable_dtype: VariableDType | None = None,
  master_dtype: tf.DType = ...,
  slice_dtype: tf.DType = ...,
) -> Tensor: ...
def multiplicative_jitter(x: Tensor, epsilon: float = 1e-2) -> Tensor: ...
def softmax_cross_entropy_with_logits(
  logits: Tensor, targets: Tensor, vocab_dim: Dimension, z_loss: float = 0.0
) -> Tensor: ...
