"""Keras tests run eagerly, as Keras users do. A small model with its vocabulary, as `generate` and `export` open it."""

import gin
import pytest
import tensorflow as tf

import switch_zoo
from switch_zoo.keras import SwitchTransformer, export, generation
from switch_zoo.tasks import pydoc_topics, vocabularies

SMALL = ['d_model = 16', 'd_ff = 32', 'd_kv = 4', 'num_heads = 3', 'num_encoder_layers = 2', 'num_decoder_layers = 2']


@pytest.fixture(autouse=True)
def fresh_state():
  """No gin binding left over from another test, and no graph around the test."""
  gin.clear_config()
  yield
  gin.clear_config()


@pytest.fixture(scope='module')
def vocabulary(tmp_path_factory):
  path = tmp_path_factory.mktemp('vocabulary') / 'vocabulary.model'
  vocabularies.train(list(pydoc_topics.documents())[:200], path, num_pieces=412)
  return path


@pytest.fixture(scope='module')
def source(vocabulary, tmp_path_factory):
  """A small model with its vocabulary beside it."""
  folder = tmp_path_factory.mktemp('source')
  tf.keras.utils.set_random_seed(0)
  SwitchTransformer(switch_zoo.load_config('tiny_switch_8', [*SMALL, 'vocab_size = 512'])).save_weights(
    folder / 'model.weights.h5'
  )
  lines = ["include 'models/tiny_switch_8.gin'", *SMALL, 'vocab_size = 512', '']
  (folder / 'model.gin').write_text('\n'.join(lines))
  (folder / 'vocabulary.model').write_bytes(vocabulary.read_bytes())
  return str(folder)


@pytest.fixture(scope='module')
def opened(source):
  return export.open_model(source, None, None, export.ExportSettings('float32', max_new_tokens=5))


@pytest.fixture(scope='module')
def beams(source):
  """A model that gives two answers to each text."""
  settings = export.ExportSettings('float32', 5, beam=generation.TransformersBeam(3), num_return_sequences=2)
  return export.open_model(source, None, None, settings)
