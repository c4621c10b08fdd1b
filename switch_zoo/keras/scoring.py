"""Log-probabilities of given targets.

B batch  S input tokens  T targets  M d_model  P target tokens without padding
"""

from collections.abc import Sequence

import tensorflow as tf

from switch_zoo.errors import UserError
from switch_zoo.keras.decode_loop import log_probability
from switch_zoo.keras.inference import Inference
from switch_zoo.keras.without_padding import WithoutPadding
from switch_zoo.spec.token_ids import PADDING

# Tokens whose logits are in memory at a time: a token has as many as the vocabulary, 130 kB in float32.
TOKENS_AT_ONCE = 512


def score(model: Inference, inputs: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
  """Log-probability of targets, natural logarithm, including their end.

  Args:
    model: Inference
    inputs: <int32>[B, S]
    targets: <int32>[B, T], padding after the end
  Returns:
    <float32>[B]
  Raises:
    UserError: there are not as many targets as inputs; if that is known only when the graph runs, the operation fails
  """
  targets = _one_for_each(inputs, targets)
  weights, batch, length = model.read(), tf.shape(inputs)[0], tf.shape(targets, tf.int64)[1]
  real = tf.cumsum(tf.cast(tf.not_equal(targets, PADDING), tf.int32), 1, reverse=True) > 0
  packing = WithoutPadding.keeping(real, model.config.num_heads)
  with model.using(weights):
    x = model.decode(tf.pad(targets, [[0, 0], [1, 0]])[:, :-1], model.encode(inputs), packing)
  ids = packing.pack(targets)
  scores = tf.where(tf.not_equal(ids, PADDING), _log_probabilities(model, weights, x, ids), 0.0)
  return tf.math.unsorted_segment_sum(scores, packing.kept // length, batch)


def _one_for_each(inputs: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
  """The targets, checked: attention would use one input for many targets, and the other way round."""
  known = inputs.shape[0], targets.shape[0]
  if None not in known and known[0] != known[1]:
    raise UserError(f'{known[0]} inputs and {known[1]} targets: give one target for each input.')
  counts = tf.shape(inputs)[0], tf.shape(targets)[0]
  same = tf.debugging.assert_equal(*counts, 'Not as many targets as inputs: give one target for each input.')
  with tf.control_dependencies([same] if same is not None else []):
    return tf.identity(targets)


def _log_probabilities(model: Inference, weights: Sequence[tf.Tensor], x: tf.Tensor, ids: tf.Tensor) -> tf.Tensor:
  """Log-probability of each token, some at a time. <float>[P, M] of `Inference.decode`, <int32>[P] -> <float32>[P]"""

  def next_tokens(start: tf.Tensor, scores: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    rows = slice(start, start + TOKENS_AT_ONCE)
    with model.using(weights):
      logits = model.to_logits(x[rows])
    return start + TOKENS_AT_ONCE, tf.concat([scores, log_probability(logits, ids[rows])], 0)

  unfinished = lambda start, _: start < tf.size(ids)
  shapes = [tf.TensorShape([]), tf.TensorShape([None])]
  return tf.while_loop(unfinished, next_tokens, [0, tf.zeros([0])], shapes, parallel_iterations=1)[1]
