"""The one writer of what layers exported: TensorBoard summaries, and no operation per expert."""

import tensorflow.compat.v1 as tf

from switch_zoo.mesh import observe


def write(exported=None) -> list[tf.Tensor]:
  """Makes a summary of every exported value: a scalar as a scalar, a vector such as a layer's load as one histogram.

  Args:
    exported: name -> tf.Tensor; by default everything the default graph exported
  Returns:
    serialized summaries, also in the collection that Estimator's summary hook reads
  """
  exported = observe.exported() if exported is None else exported
  return [_summary(name, tf.cast(value, tf.float32)) for name, value in sorted(exported.items())]


def _summary(name, value):
  # Not tf.summary.scalar: it appends _1 to the tag where an operation has that name, as those of a layer may.
  if value.shape.ndims == 0:
    summary = tf.raw_ops.ScalarSummary(tags=name, values=value)
  else:
    summary = tf.raw_ops.HistogramSummary(tag=name, values=value)
  tf.add_to_collection(tf.GraphKeys.SUMMARIES, summary)
  return summary
