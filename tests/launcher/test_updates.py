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


def test_each_waits_for_what_reads_its_variable():
  train_op = step()
  updates.come_last(train_op)
  by_variable = {op.inputs[0].op.name: op for op in updates.assignments_of(train_op)}
  # a is read by a + 1 and b by b * 1, each through an operation whose result is the variable's own memory.
  for name, reader in (('a', 'AddV2'), ('b', 'Mul')):
    assert [op.type for op in by_variable[name].control_inputs if op.type != 'Identity'] == [reader]


def test_a_reader_that_is_only_fetched_counts():
  variable = tf.get_variable('x', initializer=1.0, use_resource=False)
  fetched, train_op = tf.reshape(variable, [1]) * 2.0, tf.group(tf.assign(variable, 3.0))
  other = variable * 5.0
  updates.come_last(train_op, [fetched])
  (assignment,) = updates.assignments_of(train_op)
  assert fetched.op in assignment.control_inputs and other.op not in assignment.control_inputs


def test_readers_in_a_loop_make_all_wait_for_all():
  a = tf.get_variable('a', initializer=1.0, use_resource=False)
  b = tf.get_variable('b', initializer=1.0, use_resource=False)
  _, total = tf.while_loop(lambda i, _: i < 3, lambda i, total: (i + 1, total + a), (0, 0.0))
  updated = b * 2.0
  train_op = tf.group(tf.assign(a, total), tf.assign(b, updated))
  updates.come_last(train_op)
  for op in updates.assignments_of(train_op):
    (computed,) = op.control_inputs
    assert set(computed.control_inputs) == {total.op, updated.op}


def test_old_values_are_read_every_time():
  train_op = step()
  updates.come_last(train_op)
  with tf.Session() as session:
    session.run(tf.global_variables_initializer())
    # (2, 5) -> (5, 3) -> (3, 6) -> (6, 4) ...: both new values are made of both old ones.
    for expected in ((5.0, 3.0), (3.0, 6.0), (6.0, 4.0), (4.0, 7.0)):
      session.run(train_op)
      assert tuple(session.run(tf.global_variables()[:2])) == expected
