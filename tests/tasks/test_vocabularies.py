"""The demo's vocabulary: T5's ids, found when it is needed."""
import copy
import pickle

import gin
import pytest

from switch_zoo.errors import UserError
from switch_zoo.tasks import vocabularies

TEXTS = ['the cat sat on the mat', 'the dog sat on the log', 'a cat and a dog and a log', 'that hat is on that cat'] * 5


@pytest.fixture
def file(tmp_path):
  path = tmp_path / 'vocabulary.model'
  vocabularies.train(TEXTS, path, num_pieces=22)
  return path


@pytest.fixture
def vocabulary(file, monkeypatch):
  monkeypatch.setenv(vocabularies.DEMO_VARIABLE, str(file))
  return vocabularies.LazyVocabulary(vocabularies.demo_vocabulary_file)


def test_special_ids(vocabulary):
  assert (vocabulary.pad_id, vocabulary.eos_id, vocabulary.unk_id) == (0, 1, 2)
  assert vocabulary.vocab_size == 22 + 100
  pieces = vocabulary.tokenizer
  assert pieces.IdToPiece(121).endswith('<extra_id_0>') and pieces.IdToPiece(22).endswith('<extra_id_99>')
  assert vocabulary.encode('é')[-1] == 2


def test_text_comes_back(vocabulary):
  ids = vocabulary.encode('the cat on that log')
  assert vocabulary.decode(ids) == 'the cat on that log'


def test_training_twice_gives_the_same_bytes(file, tmp_path):
  vocabularies.train(iter(TEXTS), tmp_path / 'again.model', num_pieces=22)
  assert (tmp_path / 'again.model').read_bytes() == file.read_bytes()
  assert sorted(path.name for path in tmp_path.iterdir()) == ['again.model', 'vocabulary.model']


def test_the_file_is_asked_for_at_first_use(monkeypatch):
  monkeypatch.delenv(vocabularies.DEMO_VARIABLE, raising=False)
  vocabulary = vocabularies.LazyVocabulary(vocabularies.demo_vocabulary_file)
  with pytest.raises(UserError, match='SWITCH_ZOO_DEMO_VOCAB is not set. `switch_zoo demo --out DIR` trains one'):
    _ = vocabulary.vocab_size


def test_a_file_that_is_not_there(monkeypatch, tmp_path):
  monkeypatch.setenv(vocabularies.DEMO_VARIABLE, str(tmp_path / 'gone.model'))
  with pytest.raises(UserError, match=r'There is no vocabulary ".*gone.model".*demo_vocabulary_file.path'):
    vocabularies.demo_vocabulary_file()


def test_gin_wins_over_the_environment(file, monkeypatch):
  monkeypatch.setenv(vocabularies.DEMO_VARIABLE, 'elsewhere')
  gin.parse_config(f'demo_vocabulary_file.path = {str(file)!r}')
  assert vocabularies.LazyVocabulary(vocabularies.demo_vocabulary_file).vocab_size == 122


def test_another_file_is_noticed(vocabulary, tmp_path, monkeypatch):
  assert vocabulary.vocab_size == 122
  vocabularies.train(TEXTS, tmp_path / 'smaller.model', num_pieces=20)
  monkeypatch.setenv(vocabularies.DEMO_VARIABLE, str(tmp_path / 'smaller.model'))
  assert vocabulary.vocab_size == 120


def test_copies_as_gin_makes_them_are_equal(vocabulary):
  for other in (copy.deepcopy(vocabulary), pickle.loads(pickle.dumps(vocabulary))):
    assert other == vocabulary and hash(other) == hash(vocabulary)
    assert other.vocab_size == 122
