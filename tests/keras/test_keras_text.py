"""Vocabularies: which one is taken, what is not one, and text at the edges."""

import re

import numpy as np
import pytest
import tensorflow as tf
from sentencepiece import sentencepiece_model_pb2

from switch_zoo.errors import UserError
from switch_zoo.keras import text
from switch_zoo.spec.token_ids import UNKNOWN
from switch_zoo.tasks import vocabularies

# 3 special ids, 256 bytes.
SENTINEL = 259


@pytest.fixture(scope='module')
def model(tmp_path_factory):
  path = tmp_path_factory.mktemp('vocabulary') / 'any.model'
  vocabularies.train(['a cat and a dog'] * 50, path, num_pieces=12)
  return path


@pytest.fixture(autouse=True)
def no_variable(monkeypatch):
  monkeypatch.delenv('SWITCH_ZOO_VOCAB', raising=False)


def test_a_choice_is_before_the_folder_and_the_folder_before_the_variable(model, tmp_path, monkeypatch):
  folder = tmp_path / 'model'
  folder.mkdir()
  monkeypatch.setenv('SWITCH_ZOO_VOCAB', str(model))
  assert isinstance(text.vocabulary('bytes', str(folder)), text.Bytes)
  assert isinstance(text.vocabulary(None, str(folder)), text.Pieces), 'that of the variable'
  monkeypatch.setenv('SWITCH_ZOO_VOCAB', 'bytes')
  assert isinstance(text.vocabulary(None, str(folder)), text.Bytes), 'the variable may say bytes'
  (folder / 'vocabulary.model').write_bytes(model.read_bytes())
  assert isinstance(text.vocabulary(None, str(folder)), text.Pieces), 'that of the folder'
  # Of two in the folder that of Hugging Face, whatever is in it.
  (folder / 'spiece.model').write_bytes(b'')
  with pytest.raises(UserError, match='spiece.model is empty'):
    text.vocabulary(None, str(folder))


def test_no_vocabulary_names_all_the_ways_to_give_one(tmp_path):
  message = (
    f'{tmp_path} has neither spiece.model nor vocabulary.model nor tokenizer.json. Give --vocab FILE.*--vocab bytes.*'
    'SWITCH_ZOO_VOCAB'
  )
  with pytest.raises(UserError, match=message):
    text.vocabulary(None, str(tmp_path))


def test_a_relative_choice_is_shown_in_full(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  with pytest.raises(UserError, match=re.escape(f'There is no vocabulary "gone.model" ({tmp_path / "gone.model"})')):
    text.vocabulary('gone.model', '.')


def without_a_piece():
  """A model that parses, and whose only piece is empty, which sentencepiece refuses."""
  proto = sentencepiece_model_pb2.ModelProto()
  proto.pieces.add(piece='', score=0.0)
  return proto.SerializeToString()


@pytest.mark.parametrize(
  ('content', 'message'),
  [
    (b'\xff\xfe no protobuf', 'is not a sentencepiece model: it is text'),
    (b'', 'is empty'),
    (without_a_piece(), 'is not a sentencepiece model, or only the beginning of one: after 1 pieces'),
  ],
)
def test_what_is_not_a_vocabulary(content, message, tmp_path):
  path = tmp_path / 'wrong.model'
  path.write_bytes(content)
  with pytest.raises(UserError, match=f'The vocabulary {re.escape(str(path))} .*{message}'):
    text.Pieces(str(path))


def test_an_id_above_the_pieces_is_unknown(model):
  """A model has more ids than its vocabulary: its tables are padded."""
  pieces = text.Pieces(str(model))
  decode = lambda ids: pieces.decode(tf.constant([ids])).numpy()[0]
  cat = pieces.encode(['cat']).to_list()[0]
  assert decode([*cat, pieces.size, pieces.size + 1000]) == decode([*cat, UNKNOWN, UNKNOWN])
  assert decode(cat) == b'cat'


def test_sentinels_are_the_last_ids_and_come_back_as_text(model):
  pieces = text.Pieces(str(model))
  assert pieces.encode(['<extra_id_0>', '<extra_id_99>']).to_list() == [[pieces.size - 1], [pieces.size - 100]]
  assert pieces.decode(tf.constant([[pieces.size - 1]])).numpy()[0].decode().strip() == '<extra_id_0>'


def test_pieces_of_what_is_not_utf8_are_those_of_its_replacement(model):
  pieces = text.Pieces(str(model))
  assert pieces.encode([b'a \xff cat']).to_list() == pieces.encode(['a \ufffd cat']).to_list()


@pytest.mark.parametrize('kind', ['pieces', 'bytes'])
def test_no_texts_and_empty_texts(kind, model):
  vocabulary = text.Bytes() if kind == 'bytes' else text.Pieces(str(model))
  assert vocabulary.encode(tf.constant([], tf.string)).to_list() == []
  assert vocabulary.encode(tf.constant(['', ''])).to_list() == [[], []]
  assert vocabulary.decode(tf.zeros([0, 4], tf.int32)).shape == [0]
  np.testing.assert_array_equal(vocabulary.decode(tf.zeros([2, 0], tf.int32)), [b'', b''])
  np.testing.assert_array_equal(vocabulary.decode(tf.constant([[1, 50], [0, 50]])), [b'', b''])


def test_bytes_are_kept_in_encoding_and_repaired_in_decoding():
  ids = text.Bytes().encode([b'\x00\xff']).to_list()[0]
  assert ids == [3, 258]
  assert text.Bytes().decode(tf.constant([[*ids, 1]])).numpy()[0].decode() == '\x00\ufffd'


def test_bytes_leave_out_sentinels_and_unknown_ids():
  a = ord('a') + 3
  ids = [[a, SENTINEL, SENTINEL + 99, a, 1], [a, UNKNOWN, a, 1, a], [a, 0, a, a, a], [a, 10**6, a, a, a]]
  np.testing.assert_array_equal(text.Bytes().decode(tf.constant(ids)), [b'aa', b'aa', b'a', b'aaaa'])
