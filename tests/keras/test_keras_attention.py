"""Attention against a loop over heads and pairs, and relative positions against Hugging Face's."""

import numpy as np
import pytest
import tensorflow as tf

from switch_zoo.keras.attention import MASK_BIAS, EncDecAttention, SelfAttention, relative_bucket

D_MODEL, HEADS, D_KV = 6, 3, 4


def normal(*shape, seed=0):
  return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def plain_attention(layer, x, attended, bias):
  """arXiv:1706.03762, equation 1, without the division by sqrt(d_k); bias is [N, T, S]."""
  q, k, v = x @ layer.q.numpy(), attended @ layer.k.numpy(), attended @ layer.v.numpy()
  heads = []
  for head in range(HEADS):
    part = slice(head * D_KV, (head + 1) * D_KV)
    scores = q[:, part] @ k[:, part].T + bias[head]
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    heads.append(weights / weights.sum(-1, keepdims=True) @ v[:, part])
  return np.concatenate(heads, -1) @ layer.o.numpy()


def scaled(layer):
  """Weights so large that the softmax is far from even."""
  layer.set_weights([4 * weight for weight in layer.get_weights()])
  return layer


def test_self_attention():
  layer, x, bias = scaled(SelfAttention(D_MODEL, HEADS, D_KV)), normal(2, 5, D_MODEL), normal(2, HEADS, 5, 5, seed=1)
  expected = [plain_attention(layer, row, row, b) for row, b in zip(x, bias, strict=True)]
  np.testing.assert_allclose(layer(x, bias), expected, rtol=1e-4, atol=1e-4)


def test_attention_over_the_encoder():
  layer, x, encoded = (
    scaled(EncDecAttention(D_MODEL, HEADS, D_KV)),
    normal(2, 3, D_MODEL),
    normal(2, 5, D_MODEL, seed=2),
  )
  masked = np.array([[0, 0, 0, 0, 1], [0, 0, 1, 1, 1]], bool)
  bias = np.where(masked, np.float32(MASK_BIAS), np.float32(0))[:, None, None, :]
  y = layer(x, encoded, bias)
  # What is masked might as well not be there.
  for row in range(2):
    seen = encoded[row][~masked[row]]
    expected = plain_attention(layer, x[row], seen, np.zeros([HEADS, 3, len(seen)]))
    np.testing.assert_allclose(y[row], expected, rtol=1e-4, atol=1e-4)


@pytest.fixture(params=['float32', 'bfloat16'])
def policy(request):
  tf.keras.mixed_precision.set_global_policy(request.param)
  yield request.param
  tf.keras.mixed_precision.set_global_policy('float32')


def test_a_row_in_which_everything_is_masked_has_no_nan(policy):
  x = tf.cast(normal(1, 4, D_MODEL), policy)
  y = SelfAttention(D_MODEL, HEADS, D_KV)(x, tf.fill([1, 1, 4, 4], MASK_BIAS))
  assert y.dtype == policy
  assert np.isfinite(tf.cast(y, tf.float32)).all()


@pytest.mark.parametrize('bidirectional', [True, False])
@pytest.mark.parametrize('num_buckets', [8, 32, 50])
def test_buckets_are_those_of_hugging_face(bidirectional, num_buckets):
  torch = pytest.importorskip('torch')
  modeling_t5 = pytest.importorskip('transformers.models.t5.modeling_t5')
  distances = np.arange(-400, 401, dtype=np.int32)
  theirs = modeling_t5.T5Attention._relative_position_bucket(
    torch.tensor(distances, dtype=torch.long), bidirectional, num_buckets, 128
  )
  np.testing.assert_array_equal(relative_bucket(tf.constant(distances), num_buckets, bidirectional), theirs.numpy())


def test_buckets_of_a_table_by_hand():
  # Of 8, half for later keys: 0 and 1 exact, then from 2 on by powers of 8 to 128.
  distances = tf.constant([-128, -16, -15, -2, -1, 0, 1, 2, 15, 16, 10_000])
  np.testing.assert_array_equal(relative_bucket(distances, 8, True), [3, 3, 2, 2, 1, 0, 5, 6, 6, 7, 7])
  # Not bidirectional: every later key has the bucket of distance 0.
  np.testing.assert_array_equal(relative_bucket(tf.constant([-3, -1, 0, 1, 500]), 8, False), [3, 1, 0, 0, 0])


def test_position_bias_is_looked_up_by_distance():
  layer = SelfAttention(D_MODEL, HEADS, D_KV, buckets=8)
  layer.relative_attention_bias.assign(np.arange(HEADS * 8, dtype=np.float32).reshape(HEADS, 8))
  bias = layer.position_bias(tf.constant([7]), tf.constant([5, 6, 7, 8]), bidirectional=True)
  assert bias.shape == [1, HEADS, 1, 4]
  np.testing.assert_array_equal(bias[0, :, 0], [[2, 1, 0, 5], [10, 9, 8, 13], [18, 17, 16, 21]])
