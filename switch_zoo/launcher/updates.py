"""Weights change after everything that reads them: the order of a training step on the host.

Mesh-TensorFlow's variables are TensorFlow 1 reference variables, which an assignment overwrites in place, and it lets
each be assigned as soon as its own new value is known. A gradient that still has to be carried back through a weight
then meets the old value or the new one, as the threads happen to run, and the learning rate the old step or the next.
"""

import tensorflow.compat.v1 as tf

_ASSIGNMENTS = ('Assign', 'AssignAdd', 'AssignSub', 'AssignVariableOp', 'AssignAddVariableOp', 'AssignSubVariableOp')


def come_last(train_op: tf.Operation) -> None:
  """Makes every assignment of a training step wait until all new values are computed.

  Args:
    train_op: the group of the step's assignments, as `tf.group` makes it
  """
  assignments = assignments_of(train_op)
  values = list({op.inputs[1].op.name: op.inputs[1].op for op in assignments}.values())
  for op in assignments:
    op._add_control_inputs(values)  # pylint: disable=protected-access - TensorFlow has no public way to add one later


def assignments_of(group: tf.Operation) -> list[tf.Operation]:
  """The assignments that a group, or groups inside it, run."""
  found, left, seen = [], [group], set()
  while left:
    op = left.pop()
    if op.name in seen:
      continue
    seen.add(op.name)
    if op.type in _ASSIGNMENTS:
      found.append(op)
    elif op.type in ('NoOp', 'Identity'):
      left += [*op.control_inputs, *(tensor.op for tensor in op.inputs)]
  return found
