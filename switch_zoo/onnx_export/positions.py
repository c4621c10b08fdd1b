"""T5's relative positions as a table: the bias of every distance up to that from which on all have the same.

Source: arXiv:1910.10683, section 2.1.  N heads
"""

import math

import numpy as np

from switch_zoo.spec.shape import MAX_RELATIVE_DISTANCE

# Added to the scores of keys that are masked. Finite, so that a row in which every key is masked has no NaN.
MASK_BIAS = -1e9


def buckets(distances: np.ndarray, count: int, bidirectional: bool) -> np.ndarray:
  """The bucket of each distance, position of the key minus that of the query.

  Args:
    distances: <int>[...]
    count: buckets in all
    bidirectional: whether half of them are for keys after the query
  Returns:
    <int64>[...]
  """
  after = np.zeros_like(distances)
  if bidirectional:
    count //= 2
    after = (distances > 0) * count
    distances = np.abs(distances)
  else:
    distances = np.maximum(-distances, 0)
  exact = count // 2
  ratio = np.log(np.maximum(distances, 1).astype(np.float32) / np.float32(exact))
  ratio /= np.float32(math.log(MAX_RELATIVE_DISTANCE / exact))
  far = np.minimum(exact + (ratio * np.float32(count - exact)).astype(np.int64), count - 1)
  return after + np.where(distances < exact, distances, far)


def bias_table(learned: np.ndarray | None, bidirectional: bool) -> np.ndarray:
  """The bias of the distances -128 to 128.

  Args:
    learned: <float>[N, buckets]; None: the model has no positions
    bidirectional: False for the decoder, whose later keys get MASK_BIAS
  Returns:
    <float32>[N or 1, 257]
  """
  distances = np.arange(-MAX_RELATIVE_DISTANCE, MAX_RELATIVE_DISTANCE + 1)
  if learned is None:
    table = np.zeros([1, len(distances)], np.float32)
  else:
    table = np.asarray(learned, np.float32)[:, buckets(distances, learned.shape[1], bidirectional)]
  return table if bidirectional else np.where(distances > 0, np.float32(MASK_BIAS), table)
