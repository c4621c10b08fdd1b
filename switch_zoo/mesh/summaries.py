"""What a training step exported, as one summary for TensorBoard. It is made of values, so the graph has no operation
for it."""

from collections.abc import Mapping

import numpy as np
import tensorflow.compat.v1 as tf

HISTOGRAM_BUCKETS = 30
# What layers with experts export: one section of TensorBoard's page each, with all layers next to each other.
_OF_LAYERS = ('load', 'dropped', 'entropy', 'mean_gate')


def tag_of(name: str) -> str:
  """The tag of an exported value: TensorBoard makes a section of all tags that begin with the same word.

  >>> tag_of('loss/cross_entropy'), tag_of('encoder/block_000/layer_001/MoE1D/dropped')
  ('training/cross_entropy', 'experts_dropped/encoder/block_000/layer_001/MoE1D')
  >>> tag_of('encoder/block_000/layer_001/MoE1D/loss/balance')
  'experts_loss/encoder/block_000/layer_001/MoE1D/balance'
  """
  layer, _, quantity = name.rpartition('/')
  if layer.endswith('/loss'):
    return f'experts_loss/{layer.removesuffix("/loss")}/{quantity}'
  if layer and quantity in _OF_LAYERS:
    return f'experts_{quantity}/{layer}'
  return f'training/{name.removeprefix("loss/")}'


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
