"""Vocabularies: T5's ids, found when they are needed."""

import copy
import gc
import os
import pathlib
import pickle
import threading
import weakref

import gin
import pytest
import tensorflow as tf

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


def test_text_is_recovered(vocabulary):
  ids = vocabulary.encode('the cat on that log')
  assert vocabulary.decode(ids) == 'the cat on that log'


def test_a_graph_has_one_tokenizer(vocabulary, monkeypatch):
  """However many data sets use it, each in its own function; its operations are made once."""
  traced, encode = [], vocabularies.TensorText.encode
  monkeypatch.setattr(vocabularies.TensorText, 'encode', lambda self, text: traced.append(text) or encode(self, text))
  with tf.Graph().as_default() as graph, tf.compat.v1.Session() as session:
    datasets = [tf.data.Dataset.from_tensors(text).map(vocabulary.encode_tf) for text in ('the cat', 'a log', 'that')]
    found = []
    for dataset in datasets:
      iterator = tf.compat.v1.data.make_initializable_iterator(dataset)
      session.run(iterator.initializer)
      found.append(session.run(iterator.get_next()).tolist())
    assert found == [vocabulary.encode(text) for text in ('the cat', 'a log', 'that')]
    assert [operation.type for operation in graph.get_operations()].count('SentencepieceOp') == 1
    assert len(traced) == 1


def test_a_tokenizer_goes_with_its_graph(vocabulary):
  with tf.Graph().as_default() as graph:
    tokenizer = vocabulary.tf_tokenizer
    assert vocabulary.tf_tokenizer is tokenizer
  gone = weakref.ref(graph)
  del graph, tokenizer
  gc.collect()
  assert gone() is None


def test_training_twice_gives_the_same_bytes(file, tmp_path):
  vocabularies.train(iter(TEXTS), tmp_path / 'again.model', num_pieces=22)
  assert (tmp_path / 'again.model').read_bytes() == file.read_bytes()
  assert sorted(path.name for path in tmp_path.iterdir()) == ['again.model', 'vocabulary.model']


def test_the_file_is_looked_for_at_first_use(monkeypatch):
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


@pytest.fixture(autouse=True)
def no_variables(monkeypatch):
  for variable in (vocabularies.VARIABLE, vocabularies.MT5_VARIABLE):
    monkeypatch.delenv(variable, raising=False)


@pytest.mark.parametrize(
  ('vocabulary', 'variable', 'parameter'),
  [
    (vocabularies.DEFAULT, vocabularies.VARIABLE, 'vocabulary_file.path'),
    (vocabularies.MT5, vocabularies.MT5_VARIABLE, 'mt5_vocabulary_file.path'),
  ],
  ids=['default', 'mT5'],
)
def test_a_file_is_chosen_by_gin_then_by_the_environment(vocabulary, variable, parameter, file, tmp_path, monkeypatch):
  monkeypatch.setenv(variable, str(file))
  assert vocabulary.vocab_size == 122
  assert vocabulary.decode(vocabulary.encode('the cat')) == 'the cat'
  assert (vocabulary.pad_id, vocabulary.eos_id, vocabulary.unk_id) == (0, 1, 2)
  gin.parse_config(f'{parameter} = "bytes"')
  assert vocabulary.vocab_size == 3 + 256 + 100
  gin.parse_config(f'{parameter} = {str(tmp_path / "no.model")!r}')
  with pytest.raises(UserError, match=f'There is no vocabulary ".*no.model".*Set {variable}=FILE.*or the word .bytes.'):
    _ = vocabulary.vocab_size


def test_bytes(monkeypatch):
  monkeypatch.setenv(vocabularies.VARIABLE, 'bytes')
  ids = vocabularies.DEFAULT.encode('aé')
  assert ids == [3 + 97, 3 + 0xC3, 3 + 0xA9]
  assert vocabularies.DEFAULT.decode([*ids, 1, 100]) == 'aé'
  assert vocabularies.DEFAULT.vocab_size - 1 == 358  # <extra_id_0>


@pytest.mark.parametrize('answers', [False, True])
def test_a_bucket_that_does_not_answer(answers, monkeypatch):
  monkeypatch.setattr(vocabularies, '_storage_answers', lambda: answers)
  if answers:
    assert vocabularies.vocabulary_file() == 'gs://t5-data/vocabs/cc_all.32000.100extra/sentencepiece.model'
    assert vocabularies.mt5_vocabulary_file() == 'gs://t5-data/vocabs/mc4.250000.100extra/sentencepiece.model'
    return
  with pytest.raises(UserError, match='cc_all.32000.100extra.*does not answer. Set SWITCH_ZOO_VOCAB=FILE'):
    _ = vocabularies.DEFAULT.vocab_size


def test_a_file_with_sentinels_gets_no_more(vocabulary, tmp_path, monkeypatch):
  whole = tmp_path / '100extra.model'
  whole.write_bytes(vocabulary.sp_model)
  monkeypatch.setenv(vocabularies.VARIABLE, str(whole))
  assert vocabularies.DEFAULT.vocab_size == vocabulary.vocab_size == 122


def test_a_silent_network_is_given_up(monkeypatch):
  """A host that neither answers nor refuses is given up after a moment."""
  hold = threading.Event()

  def silent(*args, **kwargs):
    hold.wait(30)
    raise OSError

  monkeypatch.setattr(vocabularies.urllib.request, 'urlopen', silent)
  monkeypatch.setattr(vocabularies, '_PATIENCE', -0.9)
  vocabularies._storage_answers.cache_clear()
  assert vocabularies._storage_answers() is False
  vocabularies._storage_answers.cache_clear()
  hold.set()


def test_the_chosen_one_is_copied_as_gin_copies(file, monkeypatch):
  monkeypatch.setenv(vocabularies.VARIABLE, str(file))
  for other in (copy.deepcopy(vocabularies.DEFAULT), pickle.loads(pickle.dumps(vocabularies.DEFAULT))):
    assert other == vocabularies.DEFAULT != vocabularies.MT5
    assert hash(other) == hash(vocabularies.DEFAULT) and other.vocab_size == 122


def test_the_vocabulary_of_t5():
  shared = pathlib.Path(os.environ.get('SWITCH_ZOO_SHARED', '../shared')) / 'data/vocab/t5/spiece.model'
  if not shared.is_file():
    pytest.skip(f'{shared} is not here')
  gin.parse_config(f'vocabulary_file.path = {str(shared)!r}')
  assert vocabularies.DEFAULT.vocab_size == 32100
  ids = [13959, 1566, 12, 2968, 10, 466, 19, 207, 5]
  assert vocabularies.DEFAULT.encode('translate English to German: That is good.') == ids


@pytest.fixture
def saved(file, tmp_path):
  """The tokenizer.json that transformers 5 makes of the model, with a token added."""
  transformers = pytest.importorskip('transformers')
  (tmp_path / 'hub').mkdir()
  (tmp_path / 'hub' / 'spiece.model').write_bytes(file.read_bytes())
  tokenizer = transformers.T5Tokenizer.from_pretrained(str(tmp_path / 'hub'))
  tokenizer.add_tokens(['<sep>'])
  tokenizer.save_pretrained(tmp_path / 'saved')
  return tmp_path / 'saved' / 'tokenizer.json', tokenizer


def test_a_tokenizer_json_alone(saved, monkeypatch):
  path, tokenizer = saved
  monkeypatch.setenv(vocabularies.VARIABLE, str(path))
  text = 'the (<extra_id_0>) cat<sep>a log'
  ids = tokenizer.encode(text, add_special_tokens=False)
  assert vocabularies.DEFAULT.vocab_size == len(tokenizer) == 123
  assert (vocabularies.DEFAULT.pad_id, vocabularies.DEFAULT.eos_id, vocabularies.DEFAULT.unk_id) == (0, 1, 2)
  assert vocabularies.DEFAULT.encode(text) == ids
  assert vocabularies.DEFAULT.decode([*ids, 1, 5]) == vocabularies.DEFAULT.decode(ids)
  with tf.Graph().as_default(), tf.compat.v1.Session() as session:
    assert session.run(vocabularies.DEFAULT.encode_tf(tf.constant(text))).tolist() == ids
    rows = vocabularies.DEFAULT.encode_tf(tf.constant([text, ''])).to_tensor()
    assert session.run(rows).tolist() == [ids, [0] * len(ids)]
    texts = session.run(vocabularies.DEFAULT.decode_tf(tf.constant([[*ids, 1, 5], [1] + [0] * (len(ids) + 1)])))
    assert [one.decode() for one in texts] == [vocabularies.DEFAULT.decode(ids), '']


def test_span_corruption_counts_down_from_the_first_sentinel_and_not_from_the_last_id(saved, monkeypatch):
  path, tokenizer = saved
  monkeypatch.setenv(vocabularies.VARIABLE, str(path))
  assert vocabularies.first_sentinel(vocabularies.DEFAULT) == tokenizer.convert_tokens_to_ids('<extra_id_0>') == 121
  monkeypatch.setenv(vocabularies.VARIABLE, 'bytes')
  assert vocabularies.first_sentinel(vocabularies.DEFAULT) == 358


@pytest.mark.parametrize(
  'config', ['{"extra_ids": 0}', '{"added_tokens_decoder": {"22": {"content": "<extra_id_0>"}}}']
)
def test_a_vocabulary_without_sentinels_in_the_order_of_t5(config, file, monkeypatch):
  (file.parent / 'tokenizer_config.json').write_text(config)
  monkeypatch.setenv(vocabularies.VARIABLE, str(file))
  with pytest.raises(UserError, match='has no sentinels in the order of T5.*a task without span corruption'):
    vocabularies.first_sentinel(vocabularies.DEFAULT)


def test_sentinels_without_a_blank_before_them(vocabulary):
  """As text of a task may have them: one id each, in Python and in TensorFlow."""
  ids = vocabulary.encode('the(<extra_id_0>)cat<extra_id_99>')
  assert ids.count(121) == ids.count(22) == 1 and ids[-1] == 22
  with tf.Graph().as_default(), tf.compat.v1.Session() as session:
    assert session.run(vocabulary.encode_tf(tf.constant('the(<extra_id_0>)cat<extra_id_99>'))).tolist() == ids


def test_a_folder_in_place_of_a_file(file, monkeypatch):
  monkeypatch.setenv(vocabularies.VARIABLE, str(file.parent))
  with pytest.raises(UserError, match=f'is a folder. Give the file in it: {file}'):
    _ = vocabularies.DEFAULT.vocab_size
