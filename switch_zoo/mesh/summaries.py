"""What a training step exported, as one summary for TensorBoard. It is made of values, so the graph has no operation
for it."""

from collections.abc import Mapping

import numpy as np
import tensorflow.compat.v1 as tf

HISTOGRAM_BUCKETS = 30


def summary_of(values: Mapping[str, np.ndarray | float]) -> tf.Summary:
  """A summary of a step: a scalar of a scalar, one histogram of a vector such as a layer's load.

  Args:
    values: tag -> <float>[] or <float>[any]
  """
  summary = tf.Summary()
  for tag, value in sorted(values.items()):
    array = np.asarray(value, np.float64)
    if array.ndim == 0:
      summary.value.add(tag=tag, simple_value=float(array))
    else:
      summary.value.add(tag=tag, histo=_histogram(array))
  return summary


def _histogram(array: np.ndarray) -> tf.HistogramProto:
  counts, edges = np.histogram(array, HISTOGRAM_BUCKETS)
  return tf.HistogramProto(
    min=array.min(),
    max=array.max(),
    num=array.size,
    sum=array.sum(),
    sum_squares=np.square(array).sum(),
    bucket_limit=edges[1:],
    bucket=counts,
  )
