"""The one writer of what layers exported: TensorBoard summaries, and no operation per expert."""

from collections.abc import Mapping

import tensorflow.compat.v1 as tf

from switch_zoo.mesh import observe


def write(exported: Mapping[str, tf.Tensor] | None = None) -> list[tf.Tensor]:
  """Makes a summary of every exported value: a scalar of a scalar, one histogram of a vector such as a layer's load.

  Args:
    exported: name -> tf.Tensor; by default everything the default graph exported
  Returns:
    serialized summaries, which are also in the collection that Estimator's summary hook reads
  """
  exported = observe.exported() if exported is None else exported
  return [_summary(name, tf.cast(value, tf.float32)) for name, value in sorted(exported.items())]


def _summary(name: str, value: tf.Tensor) -> tf.Tensor:
  # Not tf.summary.scalar: it appends _1 to the tag if an operation has that name, as those of a layer may.
  if value.shape.ndims == 0:
    summary = tf.raw_ops.ScalarSummary(tags=name, values=value)
  else:
    summary = tf.raw_ops.HistogramSummary(tag=name, values=value)
  tf.add_to_collection(tf.GraphKeys.SUMMARIES, summary)
  return summary
