"""Communication between cores: custom calls while TensorFlow lowers the graph, HLO's collectives afterwards.

TensorFlow has operations for some of HLO's collectives, but only its TPU build can lower them.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import tensorflow.compat.v1 as tf
from tensorflow.compiler.tf2xla.ops import gen_xla_ops

from switch_zoo.mesh.one_core import protos

TARGET = 'switch_zoo.collective'
# Mesh-TensorFlow's name of a reduction -> the HLO operation of two numbers.
REDUCTIONS = {'SUM': 'add', 'MAX': 'maximum', 'MIN': 'minimum'}
# What only custom calls have.
_OF_CUSTOM_CALLS = (
  'custom_call_target', 'backend_config', 'operand_shapes_with_layout', 'constrain_layout',
  'custom_call_has_side_effect', 'custom_call_api_version', 'custom_call_schedule', 'padding_type',
)  # fmt: skip


class Collective(NamedTuple):
  """One collective.

  kind: HLO's opcode
  groups: the cores that communicate with each other; for collective-permute pairs (from, to)
  size: bytes that one core gives
  dimension: that is split or joined
  reduction: HLO's opcode of an all-reduce's function
  """

  kind: str
  groups: Sequence[Sequence[int]]
  size: int
  dimension: int | None = None
  reduction: str | None = None


class Collectives:
  """The collectives of one graph. Each is a custom call whose configuration is its number here."""

  def __init__(self) -> None:
    self._all: list[Collective] = []

  def all_reduce(self, x: tf.Tensor, groups: Sequence[Sequence[int]], reduction: str) -> tf.Tensor:
    """The sum, or another reduction, over each group. <dtype>[...] -> same shape"""
    return self._call(Collective('all-reduce', groups, _bytes(x), reduction=reduction), x, x.shape.as_list())

  def all_gather(self, x: tf.Tensor, groups: Sequence[Sequence[int]], axis: int) -> tf.Tensor:
    """The parts of each group, joined along `axis` in the group's order. <dtype>[..., n, ...] -> [..., n * g, ...]"""
    shape = x.shape.as_list()
    shape[axis] *= len(groups[0])
    return self._call(Collective('all-gather', groups, _bytes(x), axis), x, shape)

  def all_to_all(self, x: tf.Tensor, groups: Sequence[Sequence[int]], split_axis: int, concat_axis: int) -> tf.Tensor:
    """Splits x along one axis, gives each core of the group a part, and joins what comes along another axis."""
    shape, parts = x.shape.as_list(), len(groups[0])
    x = self._call(Collective('all-to-all', groups, _bytes(x), split_axis), x, shape)
    if split_axis == concat_axis:
      return x
    # HLO's instruction leaves the parts in the axis that was split.
    apart = [*shape[:split_axis], parts, shape[split_axis] // parts, *shape[split_axis + 1 :]]
    order = [axis for axis in range(len(apart)) if axis != split_axis]
    order.insert(order.index(concat_axis + (concat_axis > split_axis)), split_axis)
    shape[split_axis] //= parts
    shape[concat_axis] *= parts
    return tf.reshape(tf.transpose(tf.reshape(x, apart), order), shape)

  def permute(self, x: tf.Tensor, pairs: Sequence[Sequence[int]]) -> tf.Tensor:
    """What the core that is paired with this one gives, zeros without such a core. <dtype>[...] -> same shape"""
    return self._call(Collective('collective-permute', pairs, _bytes(x)), x, x.shape.as_list())

  def counts(self) -> dict[str, tuple[int, int]]:
    """Kind -> (how many, bytes that a core gives to all of them)."""
    kinds = sorted({collective.kind for collective in self._all})
    sizes = {kind: [c.size for c in self._all if c.kind == kind] for kind in kinds}
    return {kind: (len(of_kind), sum(of_kind)) for kind, of_kind in sizes.items()}

  def into_hlo(self, module: Any) -> None:
    """Replaces every custom call in a module by its collective."""
    functions = _Functions(module)
    for computation in module.computations:
      for instruction in computation.instructions:
        if instruction.opcode == 'custom-call' and instruction.custom_call_target == TARGET:
          _replace(instruction, self._all[int(instruction.backend_config)], functions)
    functions.add()

  def _call(self, collective: Collective, x: tf.Tensor, shape: list[int]) -> tf.Tensor:
    self._all.append(collective)
    number = str(len(self._all) - 1)
    called: Any = gen_xla_ops.xla_custom_call_v2([x], TARGET, number, False, [x.dtype], [tf.TensorShape(shape)])
    return called[0]


def _replace(instruction: Any, collective: Collective, functions: '_Functions') -> None:
  for field in _OF_CUSTOM_CALLS:
    instruction.ClearField(field)
  instruction.opcode = collective.kind
  if collective.kind == 'collective-permute':
    for source, target in collective.groups:
      instruction.source_target_pairs.add(source=source, target=target)
  else:
    for group in collective.groups:
      instruction.replica_groups.add().replica_ids.extend(group)
  if collective.dimension is not None:
    instruction.dimensions.append(collective.dimension)
  if collective.reduction is not None:
    element_type = instruction.shape.element_type
    instruction.called_computation_ids.append(functions.of_two(collective.reduction, element_type))


class _Functions:
  """Computations of two scalars, which the all-reduces of a module call: one for each reduction and dtype."""

  def __init__(self, module: Any) -> None:
    self._module = module
    self._made: dict[tuple[str, int], Any] = {}
    ids = [i.id for computation in module.computations for i in computation.instructions]
    # Newer releases have a number of the computation in the upper half of each instruction's id.
    self._last_id = max(number & 0xFFFFFFFF for number in (*ids, *(c.id for c in module.computations)))

  def of_two(self, opcode: str, element_type: int) -> int:
    """The id of the computation."""
    key = opcode, element_type
    if key not in self._made:
      self._made[key] = self._make(opcode, element_type)
    return self._made[key].id

  def add(self) -> None:
    """Puts the computations before those of the module that call them."""
    others = list(self._module.computations)
    del self._module.computations[:]
    self._module.computations.extend([*self._made.values(), *others])

  def _make(self, opcode: str, element_type: int) -> Any:
    scalar = protos.data.ShapeProto(element_type=element_type, layout=protos.data.LayoutProto())
    computation = protos.hlo.HloComputationProto(id=self._next_id())
    computation.name = f'{opcode}.{computation.id}'
    for number in range(2):
      parameter = computation.instructions.add(id=self._next_id(), opcode='parameter', parameter_number=number)
      parameter.name = f'x.{parameter.id}'
      computation.program_shape.parameters.add().CopyFrom(scalar)
      computation.program_shape.parameter_names.append(parameter.name)
    operands = [instruction.id for instruction in computation.instructions]
    result = computation.instructions.add(id=self._next_id(), opcode=opcode, operand_ids=operands)
    result.name = f'{opcode}.{result.id}'
    for instruction in computation.instructions:
      instruction.shape.CopyFrom(scalar)
    computation.program_shape.result.CopyFrom(scalar)
    computation.root_id = result.id
    return computation

  def _next_id(self) -> int:
    self._last_id += 1
    return self._last_id


def _bytes(x: tf.Tensor) -> int:
  return math.prod(x.shape.as_list()) * x.dtype.size
