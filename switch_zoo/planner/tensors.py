"""Mesh-TensorFlow graphs without TensorFlow: tensors that have axes and a dtype and no values, and their gradients.

Operations are those of mesh_tensorflow.ops, as far as this package's models use them, and `gradients` adds the
operations that mesh_tensorflow.gradients would: what a step computes and sends follows from them and a layout
(`lowering`). All element-wise operations are one kind here, because they differ in nothing that can be counted.
"""

import contextlib
import math
from collections.abc import Callable, Iterable, Iterator, Sequence

Axes = tuple[tuple[str, int], ...]
Gradient = Callable[['Tensor'], Sequence['Tensor | None']]

FLOAT32, BFLOAT16, INT32, BOOL = 'float32', 'bfloat16', 'int32', 'bool'
BYTES = {FLOAT32: 4, BFLOAT16: 2, INT32: 4, BOOL: 1}

# Kinds of operations. A source and noise have no gradient; stop passes its input on and has none; use reads a tensor.
SOURCE, NOISE, POINTWISE, ADD, EINSUM, SUM, MAX, RESHAPE, STOP, USE = (
    'source', 'noise', 'pointwise', 'add', 'einsum', 'sum', 'max', 'reshape', 'stop', 'use')  # fmt: skip


class Tensor:
  """Axes in order and a dtype; `operation` made it."""

  __slots__ = ('axes', 'dtype', 'operation')

  def __init__(self, axes: Axes, dtype: str) -> None:
    self.axes = axes
    self.dtype = dtype
    self.operation: Operation

  @property
  def size(self) -> int:
    """Entries of the whole tensor."""
    return math.prod(size for _, size in self.axes)

  def without(self, *names: str) -> Axes:
    """The axes except those of these names."""
    return tuple(axis for axis in self.axes if axis[0] not in names)

  def renamed(self, old: str, new: str) -> Axes:
    """The axes with one of them called otherwise."""
    return tuple((new, size) if name == old else (name, size) for name, size in self.axes)


class Operation:
  """What makes one tensor of others.

  section: the part of the model it belongs to, such as 'attention'
  backward: it computes a gradient
  is_product: a matrix product: an einsum that sums over an axis
  """

  __slots__ = ('backward', 'gradient', 'inputs', 'is_product', 'kind', 'output', 'section')

  def __init__(
    self, kind: str, inputs: Sequence[Tensor], output: Tensor, section: str, backward: bool, gradient: Gradient | None
  ) -> None:
    self.kind = kind
    self.inputs = tuple(inputs)
    self.output = output
    self.section = section
    self.backward = backward
    self.gradient = gradient
    kept = output.axes
    self.is_product = kind == EINSUM and any(axis not in kept for x in inputs for axis in x.axes)


class Graph:
  """Operations in the order in which Mesh-TensorFlow would create them, and the trainable variables by name."""

  def __init__(self) -> None:
    self.operations: list[Operation] = []
    self.variables: dict[str, Tensor] = {}
    self._same: dict[Tensor, Tensor] = {}
    self._section = ''
    self._backward = False

  @contextlib.contextmanager
  def section(self, name: str) -> Iterator[None]:
    """Within, new operations belong to this part of the model."""
    before, self._section = self._section, name
    try:
      yield
    finally:
      self._section = before

  def _new(
    self, kind: str, inputs: Sequence[Tensor], axes: Axes, dtype: str, gradient: Gradient | None = None
  ) -> Tensor:
    output = Tensor(tuple(axes), dtype)
    output.operation = Operation(kind, inputs, output, self._section, self._backward, gradient)
    self.operations.append(output.operation)
    return output

  def source(self, axes: Axes, dtype: str, inputs: Sequence[Tensor] = ()) -> Tensor:
    """A feature, a constant, or a one-hot of `inputs`: nothing has a gradient through it."""
    return self._new(SOURCE, inputs, axes, dtype)

  def noise(self, axes: Axes, dtype: str) -> Tensor:
    """Random numbers. Cores that hold the same slice must draw the same, so they are summed with all but one zero."""
    return self._new(NOISE, (), axes, dtype)

  def variable(self, name: str, axes: Axes, dtype: str) -> Tensor:
    """A trainable variable as layers read it."""
    if name not in self.variables:
      self.variables[name] = self.source(axes, dtype)
    return self.variables[name]

  def pointwise(
    self,
    inputs: Sequence[Tensor],
    gradient: Gradient | None = None,
    axes: Axes | None = None,
    dtype: str | None = None,
  ) -> Tensor:
    """An operation on each slice by itself; axes and dtype are the first input's unless they are given."""
    return self._new(POINTWISE, inputs, inputs[0].axes if axes is None else axes, dtype or inputs[0].dtype, gradient)

  def scaled(self, x: Tensor) -> Tensor:
    """x times a number."""
    return self.pointwise([x], lambda dy: [self.scaled(dy)])

  def shifted(self, x: Tensor) -> Tensor:
    """x plus a number."""
    return self.pointwise([x], lambda dy: [dy])

  def negative(self, x: Tensor) -> Tensor:
    """-x"""
    return self.pointwise([x], lambda dy: [self.negative(dy)])

  def cast(self, x: Tensor, dtype: str) -> Tensor:
    """x in another dtype; x itself if it has it."""
    return x if x.dtype == dtype else self.pointwise([x], lambda dy: [self.cast(dy, x.dtype)], dtype=dtype)

  def square(self, x: Tensor) -> Tensor:
    """x ** 2"""
    return self.pointwise([x], lambda dy: [self.scaled(self.multiply(dy, x))])

  def exp(self, x: Tensor) -> Tensor:
    """e ** x"""
    y = self.pointwise([x], lambda dy: [self.multiply(dy, y)])
    return y

  def log(self, x: Tensor) -> Tensor:
    """The natural logarithm of x."""
    return self.pointwise([x], lambda dy: [self.divide(dy, x)])

  def rsqrt(self, x: Tensor) -> Tensor:
    """1 / sqrt(x)"""

    def gradient(dy: Tensor) -> list[Tensor]:
      return [self.multiply(self.multiply(self.multiply(self.scaled(dy), y), y), y)]

    y = self.pointwise([x], gradient)
    return y

  def tanh(self, x: Tensor) -> Tensor:
    """tanh(x)"""

    def gradient(dy: Tensor) -> list[Tensor]:
      one = self.source((), y.dtype)
      return [self.multiply(self.add(one, self.negative(self.square(y))), dy)]

    y = self.pointwise([x], gradient)
    return y

  def reciprocal(self, x: Tensor) -> Tensor:
    """1 / x"""
    y = self.pointwise([x], lambda dy: [self.negative(self.multiply(dy, self.square(y)))])
    return y

  def compare(self, x: Tensor, y: Tensor | None = None) -> Tensor:
    """A comparison with another tensor, or with a number, which is imported. -> bool"""
    y = self.source((), x.dtype) if y is None else y
    return self.pointwise([x, y], axes=_broadcast(x.axes, y.axes), dtype=BOOL)

  def at_least(self, x: Tensor, dtype: str | None = None) -> Tensor:
    """The maximum of x and a number, which is imported. Its gradient is not used by any model."""
    return self.pointwise([x, self.source((), dtype or x.dtype)])

  def add(self, x: Tensor, y: Tensor) -> Tensor:
    """x + y, broadcast"""
    axes = _broadcast(x.axes, y.axes)
    return self._new(ADD, [x, y], axes, x.dtype, lambda dy: [self.sum(dy, x.axes), self.sum(dy, y.axes)])

  def subtract(self, x: Tensor, y: Tensor) -> Tensor:
    """x - y, broadcast"""
    return self.add(x, self.negative(y))

  def multiply(self, x: Tensor, y: Tensor) -> Tensor:
    """x * y, broadcast"""
    return self.einsum([x, y], _broadcast(x.axes, y.axes))

  def divide(self, x: Tensor, y: Tensor) -> Tensor:
    """x / y, broadcast"""
    return self.multiply(x, self.reciprocal(y))

  def einsum(self, inputs: Sequence[Tensor], axes: Axes) -> Tensor:
    """The product of tensors, summed over the axes that `axes` does not have."""

    def gradient(dy: Tensor) -> list[Tensor]:
      others = [[y for j, y in enumerate(inputs) if j != i] for i in range(len(inputs))]
      return [self.einsum([dy, *rest], x.axes) for x, rest in zip(inputs, others, strict=True)]

    return self._new(EINSUM, inputs, axes, inputs[0].dtype, gradient)

  def product(self, x: Tensor, y: Tensor, axes: Axes) -> Tensor:
    """The einsum whose first operand has the first axis that is not shared, as `mesh.experts` orders them."""
    first = next(axis for axis in axes if (axis in x.axes) != (axis in y.axes))
    a, b = (x, y) if first in x.axes else (y, x)
    return self._new(
      EINSUM, [a, b], axes, a.dtype, lambda dy: [self.product(dy, b, a.axes), self.product(dy, a, b.axes)]
    )

  def sum(self, x: Tensor, axes: Axes) -> Tensor:
    """x summed over the axes that `axes` does not have; x itself if there are none."""
    return x if axes == x.axes else self._new(SUM, [x], axes, x.dtype, lambda dy: [self.broadcast(dy, x.axes)])

  def mean(self, x: Tensor, axes: Axes) -> Tensor:
    """x averaged over the axes that `axes` does not have."""
    return self.scaled(self.sum(x, axes))

  def maximum(self, x: Tensor, axes: Axes) -> Tensor:
    """The largest entries of x along the axes that `axes` does not have; no model needs its gradient."""
    return self._new(MAX, [x], axes, x.dtype)

  def broadcast(self, x: Tensor, axes: Axes) -> Tensor:
    """x repeated along the axes it does not have; x itself if it has all."""
    return x if axes == x.axes else self.pointwise([x], lambda dy: [self.sum(dy, x.axes)], axes=axes)

  def reshape(self, x: Tensor, axes: Axes) -> Tensor:
    """The entries of x with other axes: what the mesh cuts may change, and then cores exchange parts."""
    return self._new(RESHAPE, [x], axes, x.dtype, lambda dy: [self.reshape(dy, x.axes)])

  def stop(self, x: Tensor) -> Tensor:
    """x without a gradient."""
    return self._new(STOP, [x], x.axes, x.dtype)

  def use(self, x: Tensor) -> None:
    """Reads x whole, as an assignment or an export does."""
    self._new(USE, [x], (), x.dtype)

  def gradients(self, y: Tensor, xs: Sequence[Tensor]) -> list[Tensor]:
    """Adds the operations of mesh_tensorflow.gradients. -> d y / d x for each of xs

    Raises:
      ValueError: y does not depend on one of xs
    """
    forward = list(self.operations)
    downstream = set(xs)
    for operation in forward:
      if operation.gradient and downstream.intersection(operation.inputs):
        downstream.add(operation.output)
    found = {y: self.source((), y.dtype)}
    before, self._backward = self._backward, True
    for operation in reversed(forward):
      dy = found.get(operation.output)
      if dy is not None and operation.gradient and downstream.intersection(operation.inputs):
        with self.section(operation.section):
          for x, dx in zip(operation.inputs, operation.gradient(dy), strict=True):
            if x in downstream and dx is not None:
              found[x] = self.add(found[x], dx) if x in found else dx
    self._backward = before
    if not all(x in found for x in xs):
      raise ValueError('The loss does not depend on all variables.')
    return [found[x] for x in xs]

  def same(self, x: Tensor, earlier: Tensor) -> None:
    """Two tensors have the same values, so that a compiler computes one of them."""
    self._same[x] = earlier

  def pruned(self, keep: Iterable[Tensor] = ()) -> 'Graph':
    """The graph that a compiler leaves: without operations that nothing needs, and with one of those that are the same.

    `keep` and what is used stay.
    """
    needed = set(keep)
    live = []
    for operation in reversed(self.operations):
      if operation.kind == USE or operation.output in needed:
        live.append(self._with_common_inputs(operation))
        needed.update(live[-1].inputs)
    graph = Graph()
    graph.operations = live[::-1]
    graph.variables = self.variables
    return graph

  def _with_common_inputs(self, o: Operation) -> Operation:
    if not self._same or self._same.keys().isdisjoint(o.inputs):
      return o
    inputs = [self._same.get(x, x) for x in o.inputs]
    o.output.operation = Operation(o.kind, inputs, o.output, o.section, o.backward, o.gradient)
    return o.output.operation


def _broadcast(x: Axes, y: Axes) -> Axes:
  if _is_subsequence(x, y):
    return y
  if _is_subsequence(y, x):
    return x
  return x + tuple(axis for axis in y if axis not in x)


def _is_subsequence(x: Axes, y: Axes) -> bool:
  rest = iter(y)
  return all(axis in rest for axis in x)
