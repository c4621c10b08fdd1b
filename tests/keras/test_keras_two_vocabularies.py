"""A model with a vocabulary for each side: it reads one, answers in the other, and is exported with both."""

import re
import sys

import numpy as np
import pytest
import seqio
import tensorflow as tf

import switch_zoo
from switch_zoo import cli
from switch_zoo.keras import SwitchTransformer, export, generation
from switch_zoo.tasks import pydoc_topics, vocabularies

SMALL = ['d_model = 16', 'd_ff = 32', 'd_kv = 4', 'num_heads = 3', 'num_encoder_layers = 2', 'num_decoder_layers = 2']


@pytest.fixture(scope='module')
def vocabulary(tmp_path_factory):
  """Of the answers: 412 pieces and 100 sentinels."""
  path = tmp_path_factory.mktemp('vocabulary') / 'vocabulary.model'
  vocabularies.train(list(pydoc_topics.documents())[:200], path, num_pieces=412)
  return path


def saved(folder, model, settings):
  """A folder with a model of random weights."""
  tf.keras.utils.set_random_seed(0)
  SwitchTransformer(switch_zoo.load_config(model, settings)).save_weights(folder / 'model.weights.h5')
  (folder / 'model.gin').write_text('\n'.join([f"include 'models/{model}.gin'", *settings, '']))
  return str(folder)


@pytest.fixture(scope='module')
def one_embedding(tmp_path_factory):
  """A small model that reads and writes bytes."""
  return saved(tmp_path_factory.mktemp('one_embedding'), 'tiny_switch_8', [*SMALL, 'vocab_size = 384'])


@pytest.fixture(scope='module')
def translator(tmp_path_factory):
  """A small GShard that reads bytes and writes another vocabulary."""
  sizes = ['num_experts = 4', 'group_size = 64', 'vocab_size = 384', 'target_vocab_size = 512']
  return saved(tmp_path_factory.mktemp('translator'), 'gshard_12b5', [*SMALL, *sizes, "activation_dtype = 'float32'"])


def test_a_model_with_two_vocabularies_reads_one_and_answers_in_the_other(translator, vocabulary, tmp_path):
  settings = export.ExportSettings('float32', max_new_tokens=5, beam=generation.Beam(2))
  model = export.open_model(translator, None, 'bytes', settings, str(vocabulary))
  inputs, targets = tf.constant(['über', 'a']), tf.constant(['Sets a breakpoint.', 'one'])
  ids, _, _ = generation.answer(model.model, model._ids(inputs), 5, settings.beam, None, 0, settings.processors, 1)
  theirs = seqio.SentencePieceVocabulary(str(vocabulary), extra_ids=100)
  before_end = [[int(i) for i in row[: list(row).index(1) if 1 in row else None]] for row in ids.numpy()]
  assert [o.decode() for o in model.answer(inputs)['outputs'].numpy()] == [theirs.decode(row) for row in before_end]
  padded = tf.ragged.constant([[*theirs.encode(t.decode()), 1] for t in targets.numpy()], tf.int32).to_tensor()
  expected = generation.score(model.model, model._ids(inputs), padded)
  np.testing.assert_allclose(model.score(inputs, targets)['scores'], expected, rtol=1e-6)
  export.export(model, str(tmp_path / 'out'))
  signatures = tf.saved_model.load(str(tmp_path / 'out/1')).signatures
  answers = signatures['serving_default'](inputs=inputs)['outputs'].numpy()
  assert list(answers) == list(model.answer(inputs)['outputs'].numpy())
  scores = signatures['score'](inputs=inputs, targets=targets)['scores']
  np.testing.assert_allclose(scores, expected, rtol=1e-5)


@pytest.mark.parametrize(
  ('which', 'options', 'message'),
  [
    (
      'translator',
      ['--vocab', 'bytes'],
      'has vocab_size = 512. Give the one .*: --vocab FILE, and .* --target-vocab FILE',
    ),
    (
      'translator',
      ['--vocab', 'bytes', '--target-vocab', 'bytes'],
      'has target_vocab_size = 512. .*: --target-vocab FILE',
    ),
    (
      'one_embedding',
      ['--vocab', 'bytes', '--target-vocab', 'bytes'],
      '--target-vocab=bytes: the model has one embedding',
    ),
  ],
)
def test_a_target_vocabulary_that_does_not_fit_is_refused(request, capsys, monkeypatch, which, options, message):
  folder = request.getfixturevalue(which)
  monkeypatch.setattr(sys, 'argv', ['switch_zoo', 'generate', folder, '--text', 'a', *options])
  assert cli.run() == 2 and re.search(message, capsys.readouterr().err)
