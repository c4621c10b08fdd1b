"""Mesh-TensorFlow's TPU implementation, whose variables are arguments and results of a program."""

from collections.abc import Callable, Sequence
from typing import Any

import mesh_tensorflow as mtf
import tensorflow.compat.v1 as tf
from mesh_tensorflow import simd_mesh_impl
from tensorflow.compiler.tf2xla.ops import gen_xla_ops

from switch_zoo.errors import UserError
from switch_zoo.mesh.one_core import noise
from switch_zoo.mesh.one_core.collectives import REDUCTIONS, Collectives


class CoreVariable:
  """One core's part of a variable: what the functions of mtf.Assign take for a slice.

  value: the argument
  new_value: the result; the argument where nothing was assigned
  """

  def __init__(self, variable: mtf.Variable, shape: Sequence[int]) -> None:
    self.variable = variable
    self.value = self.new_value = tf.placeholder(variable.slice_dtype, shape, variable.name.replace('/', '_'))
    self.dtype, self.shape = self.value.dtype, self.value.shape

  def assign(self, value: tf.Tensor, *_: Any, **__: Any) -> tf.Operation:
    """Makes `value` the result; whatever reads the variable reads the argument, before and afterwards."""
    self.new_value = value
    return value.op

  def __add__(self, value: tf.Tensor) -> tf.Tensor:
    return self.value + value

  def __sub__(self, value: tf.Tensor) -> tf.Tensor:
    return self.value - value


class OneCoreMeshImpl(simd_mesh_impl.SimdMeshImpl):
  """SimdMeshImpl for a program: logical core n is XLA's replica n, and collectives are those of HLO.

  Two departures from the released numbers: an all-to-all of float32 is not rounded to bfloat16 on its way (a workaround
  for a compiler of its time), and whole numbers are added as such, not as float32.

  Attributes:
    variables: in the order in which they are lowered
    collectives: of the graph
    lowering: set while a graph is lowered
  """

  def __init__(self, shape: Any, layout: Any, source: noise.Source) -> None:
    super().__init__(shape, layout)
    self.variables: list[CoreVariable] = []
    self.collectives = Collectives()
    self.lowering: mtf.Lowering | None = None
    self._source = source
    self._groups: dict[tuple[int, ...], list[list[int]]] = {}
    # Here and not at first use, which may be inside a loop.
    self._pnum_tensor: Any = tf.cast(gen_xla_ops.xla_replica_id(), tf.int32)

  class LaidOutVariable:
    """What Mesh-TensorFlow asks of a variable that is lowered."""

    def __init__(self, variable: mtf.Variable, mesh_impl: 'OneCoreMeshImpl') -> None:
      self._core = CoreVariable(variable, mesh_impl.slice_shape(variable.outputs[0].shape))
      mesh_impl.variables.append(self._core)
      self.laid_out_tensor = mesh_impl.LaidOutTensor([self._core.value])

    def assign_to_slices(
      self, assign_fn: Callable[..., tf.Operation], values: Sequence[tf.Tensor], assign_to_tensor_list: Any = None
    ) -> tf.Operation:
      """Assigns the value of this core."""
      return assign_fn(self._core.variable, self._core, values[0])

  def allreduce(self, x: Any, mesh_axes: Sequence[int], reduction_fn_string: str) -> Any:
    """The reduction over groups of cores; bfloat16 over large groups in float32, as released."""
    if not mesh_axes:
      return x
    value = x.to_laid_out_tensor().one_slice
    if reduction_fn_string not in REDUCTIONS:
      raise UserError(f'{reduction_fn_string} over cores cannot be lowered. Reductions are {", ".join(REDUCTIONS)}.')
    groups = self._create_group_assignment(mesh_axes)
    wide = value.dtype == tf.bfloat16 and len(groups[0]) > self._allreduce_in_bfloat16_max_group_size
    given = tf.cast(value, tf.float32) if wide and reduction_fn_string == 'SUM' else value
    reduced = self.collectives.all_reduce(given, groups, REDUCTIONS[reduction_fn_string])
    return self.LaidOutTensor([tf.cast(reduced, value.dtype)])

  def allconcat(self, x: Any, mesh_axis: int, concat_axis: int, stack: bool = False) -> Any:
    """The parts of all cores along a mesh axis, joined; released code adds what is zero everywhere else."""
    value = x.to_laid_out_tensor().one_slice
    if stack:
      value = tf.expand_dims(value, concat_axis)
    groups = self._create_group_assignment([mesh_axis])
    return self.LaidOutTensor([self.collectives.all_gather(value, groups, concat_axis)])

  def alltoall(self, x: Any, mesh_axis: int, split_axis: int, concat_axis: int) -> Any:
    """Exchanges parts along a mesh axis, in the dtype they have."""
    value = x.to_laid_out_tensor().one_slice
    groups = self._create_group_assignment([mesh_axis])
    return self.LaidOutTensor([self.collectives.all_to_all(value, groups, split_axis, concat_axis)])

  def receive(self, x: Any, mesh_axis: int, source_pcoord: Sequence[int | None]) -> Any:
    """What the core at another place of a mesh axis has; zeros where there is none."""
    value = x.to_laid_out_tensor().one_slice
    pairs = []
    for core in range(self.size):
      place = mtf.pnum_to_processor_coordinates(self.shape, core)
      source = source_pcoord[place[mesh_axis]]
      if source is not None:
        place[mesh_axis] = source
        pairs.append((mtf.processor_coordinates_to_pnum(self.shape, place), core))
    return self.LaidOutTensor([self.collectives.permute(value, pairs) if pairs else tf.zeros_like(value)])

  def _create_group_assignment(self, mesh_axes: Sequence[int]) -> list[list[int]]:
    """The groups of cores along mesh axes, computed once: for 2,048 cores that takes a while."""
    key = tuple(mesh_axes)
    if key not in self._groups:
      self._groups[key] = super()._create_group_assignment(mesh_axes)
    return self._groups[key]

  def random(self, shape: mtf.Shape, tf_fn: noise.Draw, kwargs: Any) -> Any:
    """Draws from counters; released code draws on one core of those with the same part, and sends it to the others."""
    axes = [axis for axis in self.tensor_layout(shape).tensor_axis_to_mesh_axis if axis is not None]
    part = tf.constant(0)
    for axis in sorted(axes):
      part = part * self.shape[axis].size + self.laid_out_pcoord(axis).one_slice
    turn = None
    if tf_fn.turn is not None:
      assert self.lowering
      turn = self.lowering.tensors[tf_fn.turn].to_laid_out_tensor().one_slice
    return self.LaidOutTensor([noise.draw(tf_fn, self._source, turn, part, self.slice_shape(shape), kwargs)])

  def export_to_tf_tensor(self, x: mtf.Tensor, laid_out_x: Any) -> tf.Tensor:
    """The whole tensor, on every core."""
    for axis, mesh_axis in enumerate(self.tensor_layout(x.shape).tensor_axis_to_mesh_axis):
      if mesh_axis is not None:
        laid_out_x = self.allconcat(laid_out_x, mesh_axis, axis)
    return laid_out_x.to_laid_out_tensor().one_slice

  def axes(self, shape: mtf.Shape) -> tuple[str | None, ...]:
    """For each dimension of a shape the name of the mesh axis that cuts it, or None."""
    cuts = self.tensor_layout(shape).tensor_axis_to_mesh_axis
    return tuple(None if axis is None else self.shape[axis].name for axis in cuts)
