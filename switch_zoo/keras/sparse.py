"""Sends rows through the networks of their experts and back, computing only experts that have rows.

R rows  M d_model
"""

from collections.abc import Callable

import tensorflow as tf

NO_EXPERT = -1
# Rows <float>[r, M] and an expert <int32>[] -> <float>[r, M]
ExpertNetwork = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]


def by_expert(rows: tf.Tensor, expert: tf.Tensor, network: ExpertNetwork) -> tf.Tensor:
  """Each row through the network of its expert, as a loop over the experts that have any.

  Args:
    rows: <float>[R, M]
    expert: <int32>[R], or NO_EXPERT
    network: computes the rows of one expert
  Returns:
    <float>[R, M]; zeros for NO_EXPERT
  """
  # Sorted by expert, the rows of an expert are adjacent; NO_EXPERT is less than every expert and comes first.
  order = tf.argsort(expert, stable=True)
  num_idle = tf.reduce_sum(tf.cast(tf.equal(expert, NO_EXPERT), tf.int32))
  rows = tf.gather(rows, order)
  experts, _, sizes = tf.unique_with_counts(tf.gather(expert, order[num_idle:]))
  ends = num_idle + tf.cumsum(sizes)
  count, shape = tf.size(experts), [None, rows.shape[-1]]
  # The idle rows are there even when no expert has rows: `concat` below needs at least one part.
  results = tf.TensorArray(rows.dtype, count + 1, infer_shape=False, element_shape=shape)
  results = results.write(0, tf.zeros_like(rows[:num_idle]))

  def one_expert(i: tf.Tensor, results: tf.TensorArray) -> tuple[tf.Tensor, tf.TensorArray]:
    # A slice along the first axis is a view: neither rows nor weights are copied.
    return i + 1, results.write(i + 1, network(rows[ends[i] - sizes[i] : ends[i]], experts[i]))

  _, results = tf.while_loop(lambda i, _: i < count, one_expert, [0, results])
  return tf.gather(results.concat(), tf.math.invert_permutation(order))


def by_expert_few(rows: tf.Tensor, expert: tf.Tensor, network: ExpertNetwork) -> tf.Tensor:
  """The same for few rows, all of which have an expert: less to prepare, more to do for each expert."""
  experts, index = tf.unique(expert)

  def one_expert(i: tf.Tensor, results: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    places = tf.where(tf.equal(index, i))
    return i + 1, tf.tensor_scatter_nd_update(results, places, network(tf.gather(rows, places[:, 0]), experts[i]))

  return tf.while_loop(lambda i, _: i < tf.size(experts), one_expert, [0, tf.zeros_like(rows)])[1]
