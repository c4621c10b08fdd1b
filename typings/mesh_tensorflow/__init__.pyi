"""Mesh-TensorFlow as switch_zoo imports it: `ops` and `layers` have types, the implementations of meshes are Any."""

from typing import Any

import tensorflow.compat.v1 as tf
from mesh_tensorflow import layers as layers
from mesh_tensorflow import ops as ops
from mesh_tensorflow.ops import *  # noqa: F403 - all names of `ops` are names of the package

ops_with_redefined_builtins: Any
optimize: Any
placement_mesh_impl: Any
simd_mesh_impl: Any

# `ops` calls it mtf_range.
def range(mesh: ops.Mesh, dim: ops.Dimension, dtype: tf.DType, name: str | None = None) -> ops.Tensor: ...
