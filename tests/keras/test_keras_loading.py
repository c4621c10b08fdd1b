"""Weights of every format in the Keras model; the names in its own file."""

import h5py
import numpy as np
import pytest
import tensorflow as tf

import switch_zoo
from switch_zoo import machine, number_format
from switch_zoo.checkpoints import conversion
from switch_zoo.errors import UserError
from switch_zoo.keras import SwitchTransformer

SMALL = ['d_model = 16', 'd_ff = 32', 'd_kv = 4', 'num_heads = 3', 'vocab_size = 128', 'num_experts = 3']
IDS = {
  'encoder_input_tokens': np.array([[5, 9, 7, 100, 0], [20, 3, 0, 0, 0]], np.int32),
  'decoder_input_tokens': np.array([[0, 8, 30], [0, 11, 5]], np.int32),
}


@pytest.fixture(scope='module')
def model():
  return SwitchTransformer(switch_zoo.load_config('tiny_switch_8', SMALL))


@pytest.fixture(scope='module')
def folder(model, tmp_path_factory):
  """The model as `switch_zoo convert` knows it."""
  path = tmp_path_factory.mktemp('keras')
  model.save_weights(path / 'model.weights.h5')
  (path / 'model.gin').write_text("include 'models/tiny_switch_8.gin'\n" + '\n'.join(SMALL) + '\n')
  return path


def test_names_in_the_file_are_those_of_mesh_tensorflow(folder, model):
  with h5py.File(folder / 'model.weights.h5') as file:
    np.testing.assert_array_equal(file['shared/vars/embedding'], model.shared.embedding)
    assert file['encoder/block_000/layer_003/MoE1D/wi/vars/kernel'].shape == (3, 16, 32)


@pytest.mark.parametrize('kind', ['mesh', 'hf'])
def test_every_format_gives_the_same_logits(kind, folder, model, tmp_path):
  converted = str(tmp_path / kind)
  conversion.convert(conversion.Request(str(folder), converted, kind))
  np.testing.assert_array_equal(switch_zoo.load(converted)(IDS), model(IDS))


def test_a_folder_of_keras(folder, model):
  np.testing.assert_array_equal(switch_zoo.load(str(folder))(IDS), model(IDS))


def test_bfloat16_is_kept_in_the_file(model, tmp_path):
  half = SwitchTransformer(model.config, dtype='bfloat16')
  half.save_weights(tmp_path / 'model.weights.h5')
  again = SwitchTransformer(model.config, dtype='bfloat16')
  again.load_weights(tmp_path / 'model.weights.h5')
  assert again.encoder.rms_norm.scale.dtype == tf.bfloat16
  np.testing.assert_array_equal(again(IDS), half(IDS))


def test_weights_of_another_model_change_nothing(folder, model):
  other = SwitchTransformer(switch_zoo.load_config('tiny_switch_8', [*SMALL, 'd_ff = 48']))
  before = other(IDS).numpy()
  with pytest.raises(UserError, match=r'wi/vars/kernel is \[16, 32\] in the file and \[16, 48\] in the model'):
    other.load_weights(folder / 'model.weights.h5')
  np.testing.assert_array_equal(other(IDS), before)


def test_a_model_of_the_zoo_with_random_weights():
  assert switch_zoo.load('tiny_dense').count_params() == 230400


def test_an_unknown_model_is_answered_with_the_closest():
  with pytest.raises(UserError, match='Did you mean tiny_switch_8'):
    switch_zoo.load('tiny_swich_8')


@pytest.mark.parametrize(
  ('flags', 'compute'), [(['avx512_bf16'], 'bfloat16'), ([], 'float32')], ids=['with_instructions', 'without']
)
def test_auto_computes_in_what_the_machine_is_fast_in_with_weights_in_float32(flags, compute, monkeypatch):
  monkeypatch.setattr(machine, 'fast_format', lambda: number_format.of_processor(flags))
  loaded = switch_zoo.load('tiny_dense', dtype='auto')
  assert loaded.compute_dtype == compute
  assert loaded.decoder.block_000.layer_000.compute_dtype == compute
  assert {tf.as_dtype(weight.dtype) for weight in loaded.weights} == {tf.float32}
