"""The order of a training step: no weight changes before everything that reads it is done."""

import tensorflow.compat.v1 as tf

from switch_zoo.launcher import updates


def step():
  """y = a * b; a becomes b, b becomes a + 1, in one group inside another, with a step that is counted."""
  a = tf.get_variable('a', initializer=2.0, use_resource=False)
  b = tf.get_variable('b', initializer=5.0, use_resource=False)
  count = tf.get_variable('count', initializer=0, use_resource=True)
  inner = tf.group(tf.assign(a, b * 1.0), tf.assign(b, a + 1.0))
  return tf.group(inner, tf.assign_add(count, 1))


def test_assignments_are_found_in_groups():
  assert sorted(op.type for op in updates.assignments_of(step())) == ['Assign', 'Assign', 'AssignAddVariableOp']


def test_each_waits_for_all_new_values():
  train_op = step()
  updates.come_last(train_op)
  for op in updates.assignments_of(train_op):
    (computed,) = op.control_inputs
    assert {value.type for value in computed.control_inputs} >= {'Mul', 'AddV2'}


def test_old_values_are_read_every_time():
  train_op = step()
  updates.come_last(train_op)
  with tf.Session() as session:
    session.run(tf.global_variables_initializer())
    # (2, 5) -> (5, 3) -> (3, 6) -> (6, 4) ...: both new values are made of both old ones.
    for expected in ((5.0, 3.0), (3.0, 6.0), (6.0, 4.0), (4.0, 7.0)):
      session.run(train_op)
      assert tuple(session.run(tf.global_variables()[:2])) == expected
