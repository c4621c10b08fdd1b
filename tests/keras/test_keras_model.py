"""The Keras model against Mesh-TensorFlow on the same weights, and as users of Keras expect it to behave."""

import json

import keras_harness
import numpy as np
import pytest
import tensorflow as tf
import zoo_harness

from switch_zoo import list_models, load_config
from switch_zoo.errors import UserError
from switch_zoo.keras import SwitchTransformer
from switch_zoo.keras.model import _real_targets

SMALL = ['d_model = 16', 'd_ff = 32', 'd_kv = 4', 'num_heads = 3', 'vocab_size = 128']


def distinct_models():
  """The first of the models that are the same at tiny size."""
  return list({zoo_harness.configuration(name): name for name in reversed(list_models())}.values())


@pytest.mark.parametrize('name', distinct_models())
def test_logits_are_those_of_mesh_tensorflow(name):
  config = keras_harness.configure(name)
  model = SwitchTransformer(config)
  batch = zoo_harness.example(config)
  batch['inputs'][1, 20:] = 0
  logits = model(keras_harness.as_inputs(batch)).numpy()
  expected = keras_harness.mesh_logits(config, keras_harness.weights(model), batch)
  real = batch['targets'] != 0
  np.testing.assert_allclose(logits[real], expected[real], rtol=0, atol=2e-5)
  assert model.count_params() == config.num_parameters


@pytest.mark.parametrize('name', ['tiny_switch_8', 'moe_base_128'])
def test_a_capacity_factor_drops_the_tokens_that_mesh_tensorflow_drops(name):
  # Half the room of perfectly balanced experts: about half of the tokens pass by.
  parameters = [keras_harness.FLOAT32, 'capacity_factor_eval = 0.5', 'min_expert_capacity = 1']
  config = zoo_harness.configure(name, parameters)
  model = SwitchTransformer(config, capacity_factor=0.5)
  batch = zoo_harness.example(config)
  # Every target real, so that both sides route the same tokens.
  batch['targets'][:, -3:] = 5
  inputs = keras_harness.as_inputs(batch)
  expected = keras_harness.mesh_logits(config, keras_harness.weights(model), batch)
  np.testing.assert_allclose(model(inputs), expected, rtol=0, atol=2e-5)
  roomy = SwitchTransformer.from_config({**model.get_config(), 'capacity_factor': None})
  roomy.set_weights(model.get_weights())
  assert np.abs(roomy(inputs) - expected).max() > 1e-2


def small_model(name='tiny_switch_8', parameters=(), **kwargs):
  return SwitchTransformer(load_config(name, [*SMALL, *parameters]), **kwargs)


def inputs(batch=2, length=9, targets=5):
  ids = np.random.default_rng(0).integers(2, 128, [batch, length + targets], np.int32)
  return {'encoder_input_tokens': ids[:, :length], 'decoder_input_tokens': np.pad(ids[:, length:-1], [(0, 0), (1, 0)])}


@pytest.mark.parametrize('name', ['tiny_dense', 'tiny_switch_8'])
def test_padding_changes_nothing(name):
  model, ids = small_model(name), inputs()
  padded = {key: np.pad(value, [(0, 1), (0, 3)]) for key, value in ids.items()}
  np.testing.assert_allclose(model(padded)[:2, :5], model(ids), atol=1e-5)


def test_later_targets_are_not_seen():
  model, ids = small_model(), inputs()
  changed = {**ids, 'decoder_input_tokens': ids['decoder_input_tokens'].copy()}
  changed['decoder_input_tokens'][:, 3] += 1
  before, after = model(ids), model(changed)
  np.testing.assert_allclose(after[:, :3], before[:, :3], atol=1e-6)
  assert np.abs(after[:, 3:] - before[:, 3:]).max() > 1e-3


def test_an_empty_batch_has_empty_logits():
  assert small_model()({key: value[:0] for key, value in inputs().items()}).shape == (0, 5, 128)


def test_any_batch_and_length_in_one_graph():
  model = small_model()
  spec = {key: tf.TensorSpec([None, None], tf.int32) for key in inputs()}
  graph = tf.function(model, input_signature=[spec])
  for sizes in ((1, 1, 1), (3, 7, 2), (2, 40, 9)):
    ids = inputs(*sizes)
    np.testing.assert_allclose(graph(ids), model(ids), atol=1e-5)


def test_made_again_from_its_config():
  model, ids = small_model(), inputs()
  again = type(model).from_config(model.get_config())
  assert again.config == model.config
  assert [w.shape for w in again.named_weights.values()] == [w.shape for w in model.named_weights.values()]
  assert again(ids).shape == model(ids).shape


def test_saved_whole_and_loaded(tmp_path):
  model, ids = small_model(), inputs()
  expected = model(ids)
  model.save(tmp_path / 'model.keras')
  loaded = tf.keras.models.load_model(tmp_path / 'model.keras')
  np.testing.assert_array_equal(loaded(ids), expected)


def test_made_again_from_a_config_that_was_json():
  """As `model.keras` stores it: tuples come back as lists."""
  model = SwitchTransformer(load_config('tiny_switch_8', SMALL), capacity_factor=0.75, name='mine')
  config = json.loads(json.dumps(model.get_config()))
  again = SwitchTransformer.from_config(config)
  assert (again.config, again.capacity_factor, again.name) == (model.config, 0.75, 'mine')
  assert again.config.places == model.config.places
  assert again.get_config() == model.get_config()


def test_stored_under_its_name():
  assert tf.keras.utils.get_registered_name(SwitchTransformer) == 'switch_zoo>SwitchTransformer'


def test_a_model_that_cannot_be_made_leaves_the_global_dtype_alone():
  with pytest.raises(UserError):
    small_model(parameters=['router = @routing.ExpertChoice()'], dtype='bfloat16')
  assert tf.keras.mixed_precision.global_policy().name == 'float32'
  assert small_model(dtype='bfloat16').shared.embedding.dtype == tf.bfloat16
  assert tf.keras.mixed_precision.global_policy().name == 'float32'


@pytest.mark.parametrize(
  ('ids', 'training', 'real'),
  [
    ([0, 8, 9, 1], False, [1, 1, 1, 1]),
    ([0, 8, 9, 1], True, [1, 1, 1, 0]),  # the end has no target
    ([0, 8, 1, 0], False, [1, 1, 1, 0]),
    ([0, 8, 1, 0], True, [1, 1, 0, 0]),
    ([0, 8, 1, 9], True, [1, 1, 1, 1]),  # an end inside, as between packed examples, has one
    ([0, 8, 9, 7], True, [1, 1, 1, 1]),  # cut before its end
    ([0, 0, 0, 0], True, [1, 0, 0, 0]),
    ([0], True, [1]),
  ],
)
def test_targets_that_count(ids, training, real):
  np.testing.assert_array_equal(_real_targets(tf.constant([ids]), training, 1), np.array([real], bool))


def test_summary_counts_the_weights(capsys):
  model = small_model()
  model(inputs())
  model.summary()
  # Keras 3 writes 25,728, Keras 2 25728.
  assert f'Total params: {model.config.num_parameters} ' in capsys.readouterr().out.replace(',', '')


def test_a_router_that_only_mesh_tensorflow_has():
  with pytest.raises(UserError, match='"expert_choice"; it runs in Mesh-TensorFlow only'):
    small_model(parameters=['router = @routing.ExpertChoice()'])
