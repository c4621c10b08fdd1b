"""The order of a training step on the host: weights change after everything that reads them.

Mesh-TensorFlow's variables are TensorFlow 1 reference variables, which an assignment overwrites in place, and each is
assigned as soon as its own new value is known. A gradient that is still to be propagated back through a weight then
reads the old value or the new one, depending on how the threads happen to run; likewise the learning rate and the step.
"""

import tensorflow.compat.v1 as tf

_ASSIGNMENTS = ('Assign', 'AssignAdd', 'AssignSub', 'AssignVariableOp', 'AssignAddVariableOp', 'AssignSubVariableOp')


def come_last(train_op: tf.Operation) -> None:
  """Makes every assignment of a training step wait until all new values are computed.

  Args:
    train_op: the group of the step's assignments, as `tf.group` makes it
  """
  assignments = assignments_of(train_op)
  values = {op.inputs[1].op.name: op.inputs[1].op for op in assignments}.values()
  # In between, one operation: an edge from each value to each assignment would be half a million for a Switch-Base-8.
  with tf.get_default_graph().control_dependencies(None), tf.control_dependencies(list(values)):
    computed = tf.no_op('new_values')
  for op in assignments:
    op._add_control_inputs([computed])  # pylint: disable=protected-access - TensorFlow cannot add them later publicly


def assignments_of(group: tf.Operation) -> list[tf.Operation]:
  """The assignments that a group runs, directly or through groups inside it."""
  assignments, stack, seen = [], [group], set()
  while stack:
    op = stack.pop()
    if op.name in seen:
      continue
    seen.add(op.name)
    if op.type in _ASSIGNMENTS:
      assignments.append(op)
    elif op.type in ('NoOp', 'Identity'):
      stack += [*op.control_inputs, *(tensor.op for tensor in op.inputs)]
  return assignments
