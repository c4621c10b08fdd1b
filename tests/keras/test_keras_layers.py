"""The pieces of the Keras model against NumPy, and each made again from its config."""

import numpy as np
import pytest
import tensorflow as tf

from switch_zoo.errors import UserError
from switch_zoo.keras import CrossEntropy, layers
from switch_zoo.keras.attention import EncDecAttention, SelfAttention
from switch_zoo.keras.experts import RouterKernel, SwitchFeedForward, expert_stddev
from switch_zoo.keras.layers import DenseReluDense, Kernel, RMSNorm
from switch_zoo.keras.model import Embedding

D_MODEL, D_FF = 6, 10


def normal(*shape):
  return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def plain_gelu(x):
  """The approximation with tanh, which Mesh-TensorFlow and T5 1.1 use (arXiv:1606.08415, section 2)."""
  return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


# arXiv:1706.02515, equation 2.
SELU_SCALE, SELU_ALPHA = 1.0507009873554805, 1.6732632423543772
PLAIN_ACTIVATIONS = {
  'relu': lambda x: np.maximum(x, 0),
  'gelu': plain_gelu,
  'swish': lambda x: x / (1 + np.exp(-x)),
  'sigmoid': lambda x: 1 / (1 + np.exp(-x)),
  'tanh': np.tanh,
  'elu': lambda x: np.where(x > 0, x, np.exp(x) - 1),
  'selu': lambda x: SELU_SCALE * np.where(x > 0, x, SELU_ALPHA * (np.exp(x) - 1)),
  'softplus': lambda x: np.log1p(np.exp(x)),
  'squared_relu': lambda x: np.maximum(x, 0) ** 2,
  'linear': lambda x: x,
}


@pytest.mark.parametrize('name', layers.ACTIVATIONS)
def test_activations(name):
  x = np.linspace(-4, 4, 41).astype(np.float32)
  np.testing.assert_allclose(layers.activated([x], [name]), PLAIN_ACTIVATIONS[name](x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
  ('name', 'hint'), [('rellu', 'Did you mean relu'), ('maxout', 'Known are relu, gelu, swish'), ('', 'Known are relu')]
)
def test_an_unknown_activation(name, hint):
  with pytest.raises(UserError, match=f'There is no activation "{name}". {hint}'):
    DenseReluDense(D_MODEL, D_FF, ['relu', name])


def test_rms_norm():
  x, scale = 3 * normal(2, 5, D_MODEL), 1 + normal(D_MODEL)
  norm = RMSNorm(D_MODEL)
  norm.scale.assign(scale)
  expected = x / np.sqrt((x.astype(np.float64) ** 2).mean(-1, keepdims=True) + 1e-6) * scale
  np.testing.assert_allclose(norm(x), expected, rtol=1e-5)


def test_rms_norm_takes_its_mean_in_float32():
  # In bfloat16 the sum of a thousand ones stops at 256: there the next number is 258.
  x = tf.ones([1, 1024], tf.bfloat16)
  np.testing.assert_array_equal(tf.cast(RMSNorm(1024, dtype='bfloat16')(x), tf.float32), np.ones([1, 1024]))


def test_rms_norm_of_zeros_is_zeros():
  np.testing.assert_array_equal(RMSNorm(D_MODEL)(np.zeros([1, D_MODEL], np.float32)), np.zeros([1, D_MODEL]))


@pytest.mark.parametrize('activation', [('relu',), ('gelu', 'linear'), ('swish', 'sigmoid', 'linear')])
def test_feed_forward(activation):
  x = normal(2, 5, D_MODEL)
  layer = DenseReluDense(D_MODEL, D_FF, activation)
  inward = [getattr(layer, name).kernel.numpy() for name in layer.inward]
  hidden = np.prod([PLAIN_ACTIVATIONS[n](x @ w) for n, w in zip(activation, inward, strict=True)], axis=0)
  np.testing.assert_allclose(layer(x), hidden @ layer.wo.kernel.numpy(), rtol=1e-4, atol=1e-5)


def test_names_of_the_kernels_are_those_of_mesh_tensorflow():
  assert DenseReluDense(D_MODEL, D_FF, 'relu').inward == ('wi',)
  assert DenseReluDense(D_MODEL, D_FF, ('gelu', 'linear')).inward == ('wi_0', 'wi_1')


def test_dropout_of_the_hidden_layer_is_the_same_for_all_tokens_of_a_sequence():
  tf.keras.utils.set_random_seed(0)
  x = np.ones([4, 5, D_MODEL], np.float32)
  y = DenseReluDense(D_MODEL, 64, ('linear',), dropout_rate=0.5)(x, training=True).numpy()
  np.testing.assert_allclose(y, np.repeat(y[:, :1], 5, axis=1), rtol=1e-6)
  assert np.abs(y[0] - y[1]).max() > 1e-2


def test_dropout_of_attention_is_the_same_for_all_queries():
  tf.keras.utils.set_random_seed(0)
  layer = SelfAttention(D_MODEL, 2, 3, dropout_rate=0.5)
  x = np.repeat(normal(4, 1, D_MODEL), 7, axis=1)  # equal queries, so that only dropout could tell them apart
  y = layer(x, tf.zeros([1, 1, 7, 7]), training=True).numpy()
  np.testing.assert_allclose(y, np.repeat(y[:, :1], 7, axis=1), rtol=1e-5, atol=1e-6)
  assert np.abs(y - layer(x, tf.zeros([1, 1, 7, 7])).numpy()).max() > 1e-3


def test_initial_values_of_a_kernel_are_cut_off_at_twice_their_deviation():
  kernel = Kernel((300, 300), 0.5).kernel.numpy()
  assert np.abs(kernel).max() <= 1.0
  # The deviation of a normal distribution that is cut off there is 0.88 of what it was.
  np.testing.assert_allclose(kernel.std(), 0.88 * 0.5, rtol=0.02)


def test_the_initial_variance_of_an_expert_is_a_tenth_of_the_usual():
  layer = SwitchFeedForward(400, 100, 2)
  assert expert_stddev(400) == pytest.approx((0.1 * 1 / 400) ** 0.5)
  np.testing.assert_allclose(layer.wi.kernel.numpy().std(), 0.88 * expert_stddev(400), rtol=0.02)
  np.testing.assert_allclose(layer.wo.kernel.numpy().std(), 0.88 * expert_stddev(100), rtol=0.02)


def test_weights_may_be_made_as_zeros():
  with pytest.raises(KeyError), layers.zero_initialization():
    zeros = DenseReluDense(D_MODEL, D_FF)
    raise KeyError
  assert not any(weight.numpy().any() for weight in zeros.weights)
  assert all(weight.numpy().any() for weight in DenseReluDense(D_MODEL, D_FF).weights), 'outside they are drawn'


HEADS = {'d_model': D_MODEL, 'num_heads': 2, 'd_kv': 4, 'dropout_rate': 0.1}
EXPERTS = {'d_model': D_MODEL, 'd_ff': D_FF, 'num_experts': 3}
X = normal(2, 5, D_MODEL)
BIAS, REAL = np.zeros([1, 1, 5, 5], np.float32), np.ones([2, 5], bool)
# A layer with settings that are not its defaults, and what it is called with.
LAYERS = {
  'kernel': (lambda: Kernel((D_MODEL, 3), 0.2), (X,)),
  'norm': (lambda: RMSNorm(D_MODEL), (X,)),
  'dense': (lambda: DenseReluDense(D_MODEL, D_FF, ['swish', 'linear'], dropout_rate=0.2), (X,)),
  'self-attention': (lambda: SelfAttention(**HEADS, buckets=8), (X, BIAS)),
  'self-attention without positions': (lambda: SelfAttention(**HEADS), (X, BIAS)),
  'attention over the encoder': (lambda: EncDecAttention(**HEADS), (X, X[:, ::-1], BIAS)),
  'router': (lambda: RouterKernel((D_MODEL, 3), 0.2, jitter=0.3), (X,)),
  'top-1': (lambda: SwitchFeedForward(**EXPERTS, capacity_factor=0.5, min_expert_capacity=1, jitter=0.5), (X, REAL)),
  'top-2': (
    lambda: SwitchFeedForward(
      **EXPERTS, activation='gelu', router='top2', router_kernel='top_2_gating', experts_per_token=2, group_size=7
    ),
    (X, REAL),
  ),
}


@pytest.mark.parametrize('kind', LAYERS)
def test_a_layer_is_made_again_from_its_config(kind):
  make, inputs = LAYERS[kind]
  layer = make()
  again = type(layer).from_config(layer.get_config())
  assert again.get_config() == layer.get_config()
  again.set_weights(layer.get_weights())
  assert [w.name for w in again.weights] == [w.name for w in layer.weights]
  np.testing.assert_array_equal(again(*inputs), layer(*inputs))


def test_a_layer_has_every_argument_in_its_config():
  given = {'jitter': 0.5, 'balance_loss_coef': 0.3, 'expert_dropout_rate': 0.4, 'capacity_factor_train': 3.0}
  given |= {'capacity_factor': 2.5, 'min_expert_capacity': 9, 'group_size': 11}
  assert given.items() <= SwitchFeedForward(**EXPERTS, **given).get_config().items()


def test_the_embedding_is_made_again_from_its_config():
  table = Embedding(32, D_MODEL, name='shared')
  again = Embedding.from_config(table.get_config())
  assert (again.name, again.embedding.shape) == ('shared', (32, D_MODEL))
  assert again.get_config() == table.get_config()


def test_cross_entropy_is_the_formula():
  logits, targets = 3 * normal(2, 4, 5), np.array([[1, 4, 2, 0], [3, 0, 0, 0]])
  log_z = np.log(np.exp(logits.astype(np.float64)).sum(-1))
  each = log_z - np.take_along_axis(logits, targets[..., None], -1)[..., 0] + 0.01 * log_z**2
  expected = each[targets > 0].sum() / 4
  np.testing.assert_allclose(CrossEntropy(z_loss=0.01)(targets, logits), expected, rtol=1e-5)


def test_cross_entropy_of_padding_alone_is_zero():
  assert CrossEntropy()(np.zeros([2, 3], np.int64), normal(2, 3, 5)).numpy() == 0.0


def test_cross_entropy_is_stored_under_its_name():
  loss = tf.keras.losses.deserialize(tf.keras.losses.serialize(CrossEntropy(0.25, name='mine')))
  assert (type(loss), loss.z_loss, loss.name) == (CrossEntropy, 0.25, 'mine')
  assert tf.keras.utils.get_registered_name(CrossEntropy) == 'switch_zoo>CrossEntropy'
