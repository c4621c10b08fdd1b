"""The order of a training step on the host: a weight changes after everything that reads it.

Mesh-TensorFlow's variables are TensorFlow 1 reference variables, which an assignment overwrites in place, and each is
assigned as soon as its own new value is known. A gradient that is still to be propagated back through a weight then
reads the old value or the new one, depending on how the threads happen to run; likewise the learning rate and the step.

Waiting for all new values would be enough, but all of them would be in memory at once, a copy of the model.
"""

from collections.abc import Iterable, Sequence

import tensorflow.compat.v1 as tf

_ASSIGNMENTS = ('Assign', 'AssignAdd', 'AssignSub', 'AssignVariableOp', 'AssignAddVariableOp', 'AssignSubVariableOp')
# What these give is in memory of its own. The result of any other operation may be the memory of what it is given.
_NEW_MEMORY = frozenset(
  ('AddV2', 'BatchMatMulV2', 'GatherV2', 'L2Loss', 'MatMul', 'Maximum', 'Mean', 'Minimum', 'Mul', 'Pow', 'RealDiv')
) | frozenset(('Rsqrt', 'Sqrt', 'Square', 'StatelessRandomUniformV2', 'Sub'))
_LOOPS = ('Enter', 'RefEnter', 'While', 'StatelessWhile')


def come_last(train_op: tf.Operation, fetched: Iterable[tf.Tensor] = ()) -> None:
  """Makes every assignment of a training step wait until everything has been done that reads the variable.

  Args:
    train_op: the group of the step's assignments, as `tf.group` makes it
    fetched: what else a step computes
  """
  assignments = assignments_of(train_op)
  values = {op.inputs[1].op.name: op.inputs[1].op for op in assignments}.values()
  done_in_step = _ancestors([*values, *(tensor.op for tensor in fetched)])
  readers = [_readers(op.inputs[0], done_in_step) for op in assignments]
  if any(of is None for of in readers) or done_in_step & set(assignments):
    # In a loop over microbatches. Its gradients leave it when it ends, but one by one.
    readers = [[_all_done(list(values))]] * len(assignments)
  for op, of in zip(assignments, readers, strict=True):
    op._add_control_inputs(of)  # pylint: disable=protected-access - TensorFlow cannot add them later publicly


def _all_done(values: Sequence[tf.Operation]) -> tf.Operation:
  """One operation after all: an edge from each value to each assignment would be half a million for a Switch-Base-8."""
  with tf.get_default_graph().control_dependencies(None), tf.control_dependencies(values):
    return tf.no_op('new_values')


def _ancestors(operations: Sequence[tf.Operation]) -> set[tf.Operation]:
  """The operations, and everything that is done for them."""
  seen, stack = set(operations), list(operations)
  while stack:
    op = stack.pop()
    before = [*op.control_inputs, *(tensor.op for tensor in op.inputs)]
    stack += [other for other in before if other not in seen]
    seen.update(before)
  return seen


def _readers(variable: tf.Tensor, done_in_step: set[tf.Operation]) -> list[tf.Operation] | None:
  """The operations of a step that read the memory of a variable; None if some are in a loop."""
  readers, stack = set(), [variable]
  while stack:
    new = [op for op in stack.pop().consumers() if op in done_in_step and op not in readers]
    if any(op.type in _LOOPS for op in new):
      return None
    readers.update(new)
    stack += [tensor for op in new if not _in_new_memory(op) for tensor in op.outputs]
  return sorted(readers, key=lambda op: op.name)


def _in_new_memory(op: tf.Operation) -> bool:
  converts = op.type == 'Cast' and op.inputs[0].dtype.base_dtype != op.outputs[0].dtype
  return converts or op.type in _NEW_MEMORY


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
