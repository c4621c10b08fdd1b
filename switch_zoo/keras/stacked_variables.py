"""Many small variables as the rows of a few.

A loop of TensorFlow hands every tensor it reads from one turn to the next, three operations for each; a SavedModel has
four operations and several objects for every variable. A T5 has twelve small matrices and norms in a block.
"""

import contextlib

import tensorflow as tf

# What is larger stands alone: to stack it, it would have to be in memory twice.
SMALL_BYTES = 8_000_000


class Rows:
  """The variables of a module and of its parts; those of one shape and type lie in one.

  The attributes that held them hold tensors inside of `using`, and nothing outside.

  stacks: the variables
  """

  def __init__(self, module):
    alike = list(_alike(module))
    self.stacks = [_stacked([variable for variable, _ in rows]) for rows in alike]
    # [stack][row][attributes of one variable]
    self._places = [[places for _, places in rows] for rows in alike]
    for part, name in self._flat():
      delattr(part, name)  # or the part would go on to hold the variable
      setattr(part, name, None)

  def read(self):
    """The variables' values now, for `using`; a loop should read them before it begins."""
    return tuple(tf.convert_to_tensor(stack) for stack in self.stacks)

  def using(self, values):
    """A context in which the attributes are tensors: of these values."""
    tensors = []
    for value, rows in zip(values, self._places, strict=True):
      # Rows along the first axis are views.
      parts = tf.unstack(value) if len(rows) > 1 else [value]
      tensors += [part for part, places in zip(parts, rows, strict=True) for _ in places]
    return replaced(self._flat(), tensors)

  def _flat(self):
    return [place for rows in self._places for places in rows for place in places]


@contextlib.contextmanager
def replaced(places, values):
  """Inside, attributes, given as (object, name), have these values."""
  before = [getattr(*place) for place in places]
  for place, value in zip(places, values, strict=True):
    setattr(*place, value)
  try:
    yield
  finally:
    for place, value in zip(places, before, strict=True):
      setattr(*place, value)


def _stacked(variables):
  return tf.Variable(tf.stack(variables), trainable=False) if len(variables) > 1 else variables[0]


def _alike(module):
  """[stack][row](variable, its attributes as (part, name))."""
  variables = {}
  for part in (module, *module.submodules):
    for name, value in vars(part).items():
      if isinstance(value, tf.Variable):
        variables.setdefault(value.ref(), []).append((part, name))
  stacks = {}
  for reference, places in variables.items():
    variable = reference.deref()
    small = variable.shape.num_elements() * variable.dtype.size <= SMALL_BYTES
    stacks.setdefault((variable.dtype, *variable.shape) if small else reference, []).append((variable, places))
  return stacks.values()
