"""`generate` and `export` with the vocabularies that people have: mT5's, tokenizer.json alone, with added tokens."""

import json
import shutil
import sys

import pytest
import tensorflow as tf
import vocabulary_harness
from sentencepiece import sentencepiece_model_pb2

import switch_zoo
from switch_zoo import cli
from switch_zoo.keras import SwitchTransformer, export

SMALL = ['d_model = 16', 'd_ff = 32', 'd_kv = 4', 'num_heads = 3', 'num_encoder_layers = 2', 'num_decoder_layers = 2']
TEXTS = ['the (<extra_id_0>) cat', '日本<extra_id_1>文字', 'the<sep>dog', '']


@pytest.fixture(scope='module')
def model(tmp_path_factory):
  """A model of 256 ids without a vocabulary."""
  folder = tmp_path_factory.mktemp('model')
  tf.keras.utils.set_random_seed(0)
  config = switch_zoo.load_config('tiny_switch_8', [*SMALL, 'vocab_size = 256'])
  SwitchTransformer(config).save_weights(folder / 'model.weights.h5')
  lines = ["include 'models/tiny_switch_8.gin'", *SMALL, 'vocab_size = 256', '']
  (folder / 'model.gin').write_text('\n'.join(lines))
  return folder


def with_its_sentinels(folder):
  """As mT5's spiece.model."""
  path = vocabulary_harness.train(folder)
  proto = sentencepiece_model_pb2.ModelProto.FromString(path.read_bytes())
  for number in reversed(range(100)):
    proto.pieces.add(piece=f'▁<extra_id_{number}>', score=0.0, type=4)
  path.write_bytes(proto.SerializeToString())


def with_an_added_token(folder):
  path = vocabulary_harness.train(folder)
  size = vocabulary_harness.Reader(path).table.size
  (folder / 'added_tokens.json').write_text(json.dumps({'<sep>': size}))


def tokenizer_json_alone(folder):
  transformers = pytest.importorskip('transformers')
  tokenizer = transformers.T5Tokenizer.from_pretrained(str(vocabulary_harness.train(folder / 'temporary').parent))
  shutil.rmtree(folder / 'temporary')
  tokenizer.add_tokens(['<sep>'])
  tokenizer.save_pretrained(folder)


@pytest.mark.parametrize('make', [with_its_sentinels, with_an_added_token, tokenizer_json_alone])
def test_an_export_reads_text_as_the_vocabulary_says(make, model, tmp_path):
  source = shutil.copytree(model, tmp_path / 'source')
  make(source)
  opened = export.open_model(str(source), None, None, export.ExportSettings('float32', max_new_tokens=5))
  reader = vocabulary_harness.Reader(opened.vocabulary.name_of_file)
  assert opened.vocabulary.encode(tf.constant(TEXTS)).to_list() == reader.ids(*TEXTS)
  export.export(opened, str(tmp_path / 'export'))
  answers = tf.saved_model.load(str(tmp_path / 'export' / '1')).signatures['serving_default'](tf.constant(TEXTS))
  expected = opened.answer(tf.constant(TEXTS))
  assert answers['outputs'].numpy().tolist() == expected['outputs'].numpy().tolist()


def ids_of_sentencepiece(folder):
  vocabulary_harness.train(folder, ids={})


def a_smaller_one(folder):
  vocabulary_harness.train(folder)
  (folder / 'tokenizer_config.json').write_text('{"extra_ids": 0}')


@pytest.mark.parametrize(
  ('make', 'message'),
  [
    (ids_of_sentencepiece, 'spm_train --pad_id=0 --eos_id=1 --unk_id=2 --bos_id=-1'),
    (
      a_smaller_one,
      'entries, 128 when padded to a multiple of 128; the model has vocab_size = 256. Give the one it was',
    ),
  ],
)
@pytest.mark.parametrize('command', ['generate', 'score', 'export'])
def test_a_vocabulary_that_is_not_the_models_is_refused_before_anything_is_written(
  command, make, message, model, tmp_path, capsys, monkeypatch
):
  make(tmp_path / 'other')
  arguments = {
    'generate': ['--text', 'a'],
    'score': ['--text', 'a', '--target', 'b'],
    'export': [str(tmp_path / 'new')],
  }
  words = [command, str(model), *arguments[command], '--vocab', str(tmp_path / 'other' / 'spiece.model')]
  monkeypatch.setattr(sys, 'argv', ['switch_zoo', *words])
  code = cli.run()
  captured = capsys.readouterr()
  assert (code, captured.out) == (2, '')
  assert message in captured.err.replace('\n', ' ')
  assert not (tmp_path / 'new').exists()
