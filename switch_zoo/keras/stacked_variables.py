"""Many small variables, stacked into a few.

A TensorFlow loop hands every tensor it reads from one iteration to the next, with three operations for each; a
SavedModel has four operations and several objects for every variable. A T5 block has twelve small matrices and norms.
"""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import tensorflow as tf

# Larger variables are not stacked: they would be in memory twice for that.
SMALL_BYTES = 8_000_000
# The object that holds a variable, and the name of its attribute.
Attribute = tuple[Any, str]


class _Shared(NamedTuple):
  """A variable, and every attribute that holds it."""

  variable: tf.Variable
  attributes: list[Attribute]


class StackedVariables:
  """The variables of a module and of its submodules; small ones of the same shape and dtype are stacked into one.

  The attributes that held them hold tensors inside `using`, and None outside.

  stacks: the variables, <dtype>[number of equal ones, ...], or just [...] for one that is not stacked
  """

  def __init__(self, module: tf.Module) -> None:
    groups = _groups(module)
    self.stacks = [_stacked([shared.variable for shared in group]) for group in groups]
    # [stack][entry][attributes of one variable]
    self._attributes = [[shared.attributes for shared in group] for group in groups]
    for part, name in self._flat_attributes():
      delattr(part, name)  # otherwise the module would keep tracking the variable
      setattr(part, name, None)

  def read(self) -> tuple[tf.Tensor, ...]:
    """The current values, for `using`; a loop should read them before it begins."""
    return tuple(tf.convert_to_tensor(stack) for stack in self.stacks)

  def using(self, values: Sequence[tf.Tensor]) -> contextlib.AbstractContextManager[None]:
    """A context in which the attributes are tensors with these values.

    Args:
      values: as `read` returns them
    """
    tensors = []
    for value, entries in zip(values, self._attributes, strict=True):
      # Entries along the first axis are views.
      parts = tf.unstack(value) if len(entries) > 1 else [value]
      tensors += [part for part, attributes in zip(parts, entries, strict=True) for _ in attributes]
    return replaced(self._flat_attributes(), tensors)

  def _flat_attributes(self) -> list[Attribute]:
    return [attribute for entries in self._attributes for attributes in entries for attribute in attributes]


@contextlib.contextmanager
def replaced(attributes: Sequence[Attribute], values: Sequence[Any]) -> Iterator[None]:
  """Inside, the attributes have these values."""
  before = [getattr(part, name) for part, name in attributes]
  for (part, name), value in zip(attributes, values, strict=True):
    setattr(part, name, value)
  try:
    yield
  finally:
    for (part, name), value in zip(attributes, before, strict=True):
      setattr(part, name, value)


def _stacked(variables: Sequence[tf.Variable]) -> tf.Variable:
  return tf.Variable(tf.stack(variables), trainable=False) if len(variables) > 1 else variables[0]


def _groups(module: tf.Module) -> list[list[_Shared]]:
  """The variables of a module that are stacked together; a large one is a group by itself."""
  attributes: dict[Any, list[Attribute]] = {}
  for part in (module, *module.submodules):
    for name, value in vars(part).items():
      if isinstance(value, tf.Variable):
        attributes.setdefault(value.ref(), []).append((part, name))
  groups: dict[Any, list[_Shared]] = {}
  for reference, places in attributes.items():
    variable = reference.deref()
    small = variable.shape.num_elements() * variable.dtype.size <= SMALL_BYTES
    kind = (variable.dtype, *variable.shape) if small else reference
    groups.setdefault(kind, []).append(_Shared(variable, places))
  return list(groups.values())
