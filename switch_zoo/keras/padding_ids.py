"""Logits of ids that no vocabulary has: the rows that pad a table to a multiple of 128 are never predicted.

B batch  V rows of the target vocabulary's table
"""

import tensorflow as tf

from switch_zoo.spec.config import ModelConfig

# Below every logit, and below what decoding gives to what is impossible; finite, so that 0 times it is 0.
MASKED = -1e30


def masked(logits: tf.Tensor, config: ModelConfig) -> tf.Tensor:
  """Logits with MASKED for the ids from `config.num_target_ids` on. <float32>[..., V] -> same shape"""
  rows, num_ids = config.target_vocab_size, config.num_target_ids
  if num_ids == rows:
    return logits
  return logits + tf.where(tf.range(rows) < num_ids, 0.0, MASKED)
