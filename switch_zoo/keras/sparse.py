"""Rows to the networks of their experts and back, computing only experts that have rows."""

import tensorflow as tf

NOBODY = -1


def by_expert(rows, expert, network):
  """Each row through the network of its expert, as a loop over the experts that have any.

  Args:
    rows: <float>[R, M]
    expert: <int32>[R], or NOBODY
    network: function of rows <float>[r, M] and an expert <int32>[], which gives <float>[r, M]
  Returns:
    <float>[R, M]; zeros for NOBODY
  """
  # Sorted by expert, the rows of an expert lie together; NOBODY is less than every expert and comes first.
  order = tf.argsort(expert, stable=True)
  idle = tf.reduce_sum(tf.cast(tf.equal(expert, NOBODY), tf.int32))
  rows = tf.gather(rows, order)
  experts, _, sizes = tf.unique_with_counts(tf.gather(expert, order[idle:]))
  ends = idle + tf.cumsum(sizes)
  count, shape = tf.size(experts), [None, rows.shape[-1]]
  # The part in front is also there when no expert has rows: something must be joined below.
  results = tf.TensorArray(rows.dtype, count + 1, infer_shape=False, element_shape=shape)
  results = results.write(0, tf.zeros_like(rows[:idle]))

  def one(i, results):
    # A slice along the first axis is a view: neither rows nor weights are copied.
    return i + 1, results.write(i + 1, network(rows[ends[i] - sizes[i] : ends[i]], experts[i]))

  _, results = tf.while_loop(lambda i, _: i < count, one, [0, results])
  return tf.gather(results.concat(), tf.math.invert_permutation(order))


def by_expert_few(rows, expert, network):
  """The same for few rows, all of which have an expert: less to prepare, more to do for each expert."""
  experts, which = tf.unique(expert)

  def one(i, results):
    mine = tf.where(tf.equal(which, i))
    return i + 1, tf.tensor_scatter_nd_update(results, mine, network(tf.gather(rows, mine[:, 0]), experts[i]))

  return tf.while_loop(lambda i, _: i < tf.size(experts), one, [0, tf.zeros_like(rows)])[1]
