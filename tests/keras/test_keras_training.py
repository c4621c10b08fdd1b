"""`fit` and gradients: one step as Mesh-TensorFlow makes it, and a loss that goes down."""

import keras_harness
import numpy as np
import pytest
import tensorflow as tf
import zoo_harness

from switch_zoo import load_config
from switch_zoo.keras import CrossEntropy, SwitchTransformer

ARGMAX = {'top1': "routing.Top1.policy = 'argmax'", 'top2': "routing.Top2.second_policy = 'all'"}


@pytest.mark.parametrize('name', ['t5_base', 'tiny_switch_8', 'switch_xxl_128', 'moe_base_128'])
def test_one_step_has_the_gradients_of_mesh_tensorflow(name):
  router = load_config(name).router
  parameters = ['dropout_rate = 0.0', *([ARGMAX[router]] if router else [])]
  config = zoo_harness.configure(name, [keras_harness.FLOAT32, *parameters])
  model = keras_harness.without_chance(SwitchTransformer(config))
  batch = zoo_harness.example(config)
  with tf.GradientTape() as tape:
    logits = model(keras_harness.as_inputs(batch), training=True)
    loss = CrossEntropy()(batch['targets'], logits) + tf.add_n(model.losses or [0.0])
  named = model.named_weights
  gradients = dict(zip(named, tape.gradient(loss, list(named.values())), strict=True))
  expected = zoo_harness.step(config, zoo_harness.ONE_SLICE, weights=keras_harness.weights(model))
  np.testing.assert_allclose(loss, expected.loss, rtol=1e-5)
  for variable, gradient in expected.gradients.items():
    mine = tf.convert_to_tensor(gradients[variable]).numpy()
    np.testing.assert_allclose(mine, gradient, rtol=0, atol=1e-5 * max(1.0, np.abs(gradient).max()), err_msg=variable)


@pytest.mark.parametrize('policy', ['float32', 'mixed_bfloat16'])
def test_fit_reduces_the_loss(policy):
  config = load_config('tiny_switch_8', ['vocab_size = 128', 'num_encoder_layers = 2', 'num_decoder_layers = 2'])
  model = SwitchTransformer(config, dtype=policy)
  ids = np.random.default_rng(0).integers(2, 60, [8, 12], np.int32)
  batch = keras_harness.as_inputs({'inputs': ids, 'targets': ids[:, :6]})
  model.compile(optimizer=tf.keras.optimizers.Adam(0.01), loss=CrossEntropy())
  history = model.fit(batch, ids[:, :6], batch_size=8, epochs=25, verbose=0)
  assert history.history['loss'][-1] < 0.5 * history.history['loss'][0]


def test_balance_losses_of_sparse_layers_are_part_of_training_only():
  model = SwitchTransformer(load_config('tiny_switch_8', ['vocab_size = 128']))
  ids = np.random.default_rng(0).integers(2, 60, [8, 12], np.int32)
  batch = keras_harness.as_inputs({'inputs': ids, 'targets': ids})
  model(batch, training=False)
  assert model.losses == []
  model(batch, training=True)
  # Each is alpha = 0.01 times at least 1, which is perfect balance, and at most the number of experts.
  assert len(model.losses) == len(model.config.encoder_sparse_layers + model.config.decoder_sparse_layers)
  assert all(0.0095 < float(loss) < 0.08 for loss in model.losses)


def test_mixed_precision_keeps_router_and_weights_in_float32():
  config = load_config('tiny_switch_8', ['vocab_size = 128'])
  model = SwitchTransformer(config, dtype='mixed_bfloat16')
  seen = []
  layer = model.encoder.sublayers[3].layer
  router = layer.switch_gating
  real_call = router.call
  router.call = lambda x, training=False: seen.append((x.dtype, real_call(x, training).dtype)) or real_call(x, training)
  ids = np.ones([1, 4], np.int32)
  logits = model({'encoder_input_tokens': ids, 'decoder_input_tokens': ids})
  assert seen == [(tf.float32, tf.float32)]
  assert logits.dtype == tf.float32
  assert {tf.as_dtype(w.dtype) for w in model.weights} == {tf.float32}
  assert model.encode(tf.constant(ids)).dtype == tf.bfloat16


def test_cross_entropy_is_the_mean_over_real_targets():
  # Uniform logits over four ids cost ln 4 each; padding counts neither above nor below.
  loss = CrossEntropy(z_loss=0.0)(np.array([[1, 2, 0, 0]]), np.zeros([1, 4, 4], np.float32))
  np.testing.assert_allclose(loss, np.log(4.0), rtol=1e-6)
