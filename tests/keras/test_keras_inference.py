"""The weights laid out for decoding: models in forms the zoo does not have, caches, steps against whole sequences."""

import collections
import dataclasses

import numpy as np
import pytest
import tensorflow as tf

import switch_zoo
from switch_zoo.errors import UserError
from switch_zoo.keras import SwitchTransformer, inference
from switch_zoo.keras.inference import Inference, cache_capacity, grown
from switch_zoo.keras.inference_layers import InferenceFeedForward, InferenceNorm, ScopedWeights
from switch_zoo.keras.layers import RMSNorm
from switch_zoo.keras.without_padding import WithoutPadding

SMALL = ['d_model = 8', 'd_ff = 16', 'd_kv = 4', 'num_heads = 3', 'vocab_size = 128', "activation_dtype = 'float32'"]
INPUTS = np.array([[5, 9, 7, 1], [3, 1, 0, 0]], np.int32)
TARGETS = np.array([[8, 30, 4, 1], [11, 5, 9, 1]], np.int32)
READ = np.pad(TARGETS, [(0, 0), (1, 0)])[:, :-1]


def config_of(name='tiny_dense', parameters=(), **fields):
  return dataclasses.replace(switch_zoo.load_config(name, [*SMALL, *parameters]), **fields)


FORMS = {
  'as in the zoo': {},
  'two tables': {'shared_embedding': False},
  'two tables of different sizes': {'shared_embedding': False, 'vocab_size': 128, 'target_vocab_size': 40},
  'two tables and logits of their own': {'shared_embedding': False, 'tied_embeddings': False},
  'without positions': {'relative_attention_num_buckets': 0},
}


def made(**fields):
  tf.keras.utils.set_random_seed(0)
  model = SwitchTransformer(config_of(**fields))
  assert set(model.named_weights) == set(model.config.variables)
  for variable, weight in model.named_weights.items():
    if 'scale' not in variable:
      weight.assign(2 * weight)
  return model


def logits_by_steps(model):
  """Token by token with the caches. -> <float32>[B, T, V]"""
  logits = []
  with model.using(model.read()):
    encoded, caches = model.encode(tf.constant(INPUTS)).for_steps(), grown(model.caches(len(INPUTS)))
    for position in range(READ.shape[1]):
      step, caches = model.step(tf.constant(READ[:, position]), tf.constant(position), encoded, caches)
      logits.append(step)
  return np.stack(logits, 1)


def logits_at_once(model):
  """All targets in one. -> <float32>[B, T, V]"""
  packing = WithoutPadding.keeping(tf.ones(READ.shape, tf.bool), model.config.num_heads)
  with model.using(model.read()):
    x = model.decode(tf.constant(READ), model.encode(tf.constant(INPUTS)), packing)
    return model.to_logits(x).numpy().reshape(*READ.shape, -1)


@pytest.mark.parametrize('form', FORMS)
def test_the_logits_are_those_of_the_keras_model(form):
  model = made(**FORMS[form])
  expected = model({'encoder_input_tokens': INPUTS, 'decoder_input_tokens': READ}).numpy()
  assert expected.shape[-1] == model.config.target_vocab_size
  fast = model.for_inference()
  np.testing.assert_allclose(logits_by_steps(fast), expected, rtol=0, atol=1e-4)
  np.testing.assert_allclose(logits_at_once(fast), expected, rtol=0, atol=1e-4)


def test_every_weight_is_read_once():
  model = made()
  counts = collections.Counter()

  def read(name):
    counts[name] += 1
    return model.named_weights[name]

  Inference(model.config, read, 'float32')
  assert counts == dict.fromkeys(model.config.variables, 1)


def test_the_weights_are_a_copy():
  model = made()
  fast = model.for_inference()
  before = logits_at_once(fast)
  model.shared.embedding.assign(tf.zeros_like(model.shared.embedding))
  np.testing.assert_array_equal(logits_at_once(fast), before)
  assert not logits_at_once(model.for_inference()).any()


def test_dtype_is_that_of_the_models_activations_unless_given():
  config = config_of()
  assert SwitchTransformer(config, dtype='mixed_bfloat16').for_inference().dtype == tf.bfloat16
  assert SwitchTransformer(config, dtype='mixed_bfloat16').for_inference('float32').dtype == tf.float32
  assert SwitchTransformer(config).for_inference().dtype == tf.float32


def test_a_router_that_only_mesh_tensorflow_has():
  config = dataclasses.replace(config_of('tiny_switch_8'), router='expert_choice')
  with pytest.raises(UserError, match='"expert_choice"; it runs in Mesh-TensorFlow only'):
    Inference(config, lambda name: np.zeros(tuple(config.variables[name].values()), np.float32), 'float32')


def test_caches_begin_empty_and_grow_by_a_fixed_number(monkeypatch):
  monkeypatch.setattr(inference, 'CACHE_GROWTH', 5)
  empty = made().for_inference().caches(2)
  assert cache_capacity(empty) == 0
  once = grown(empty)
  assert once[0][0].keys.shape == [2, 3, 5, 4]
  filled = tf.nest.map_structure(tf.ones_like, once)
  twice = grown(filled)
  assert cache_capacity(twice) == 10
  np.testing.assert_array_equal(twice[0][0].values[:, :, :5], filled[0][0].values)
  assert not twice[0][0].values.numpy()[:, :, 5:].any()


def test_a_step_does_not_read_what_lies_behind_it_in_the_cache():
  fast = made().for_inference()
  with fast.using(fast.read()):
    encoded = fast.encode(tf.constant(INPUTS)).for_steps()
    clean = grown(fast.caches(2))
    garbage = tf.nest.map_structure(lambda cache: tf.fill(cache.shape, 100.0), clean)
    first, _ = fast.step(tf.constant([0, 0]), tf.constant(0), encoded, clean)
    again, _ = fast.step(tf.constant([0, 0]), tf.constant(0), encoded, garbage)
  np.testing.assert_allclose(again, first, rtol=1e-5, atol=1e-6)


def test_for_many_steps_values_are_float32_and_keys_are_not():
  fast = made().for_inference('bfloat16')
  with fast.using(fast.read()):
    encoded = fast.encode(tf.constant(INPUTS))
  memory, wide = encoded.memories[0][0], encoded.for_steps().memories[0][0]
  assert (memory.values.dtype, wide.values.dtype, wide.keys.dtype) == (tf.bfloat16, tf.float32, tf.bfloat16)
  np.testing.assert_array_equal(wide.values, tf.cast(memory.values, tf.float32))


def scoped(values, dtype=tf.float32):
  return ScopedWeights(values.__getitem__, dtype)


def test_scopes_lead_to_names():
  weights = scoped({'encoder/block_000/q': [[1.0]], 'q': [[2.0]]})
  assert weights.below('encoder').below('block_000').value('q') == [[1.0]]
  assert weights.variable('q').numpy() == [[2.0]]
  assert not weights.variable('q').trainable


@pytest.mark.parametrize('dtype', [tf.float32, tf.bfloat16])
def test_the_norm_is_that_of_the_keras_model(dtype):
  scale, x = np.linspace(0.5, 2, 8, dtype=np.float32), np.random.default_rng(0).normal(size=[3, 8])
  norm = InferenceNorm(scoped({'rms_norm/scale': scale}, dtype))
  expected = RMSNorm(8)
  expected.scale.assign(scale)
  y = norm(tf.cast(x, dtype))
  assert y.dtype == dtype
  rtol = 2**-7 if dtype == tf.bfloat16 else 1e-6
  np.testing.assert_allclose(tf.cast(y, tf.float32), expected(x.astype(np.float32)), rtol=rtol)


@pytest.mark.parametrize(('router', 'k'), [('top1', 1), ('top_n', 3)])
@pytest.mark.parametrize('rows', [1, 2, 9])
def test_few_rows_and_many_are_the_same(rows, router, k):
  config = config_of('tiny_switch_8', router=router, experts_per_token=k)
  generator = np.random.default_rng(0)
  shapes = {'wi/kernel': [8, 8, 16], 'wo/kernel': [8, 16, 8], f'{config.router_kernels[0]}/kernel': [8, 8]}
  layer = InferenceFeedForward(config, scoped({n: generator.normal(size=s) for n, s in shapes.items()}), sparse=True)
  x = tf.constant(generator.normal(size=[rows, 8]), tf.float32)
  np.testing.assert_allclose(layer.few(x), layer(x), rtol=1e-4, atol=1e-5)
  assert np.abs(layer(x)).max() > 0.1
