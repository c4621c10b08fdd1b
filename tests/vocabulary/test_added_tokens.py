"""Sentinels and added tokens are found wherever they are in a text, as transformers finds them."""

import json

import pytest
import vocabulary_harness
from sentencepiece import sentencepiece_model_pb2

from switch_zoo.errors import UserError
from switch_zoo.vocabulary.opening import open_table

# No blank before a sentinel, none after it, several in a row, at both ends, in scripts without blanks.
TEXTS = [
  'the <extra_id_0> sat',
  '(<extra_id_0>)',
  'the cat<extra_id_1>, and',
  '日本<extra_id_2>文字<extra_id_99>を読む',
  '<extra_id_0><extra_id_1> <extra_id_2>',
  '  <extra_id_0>  the   cat <extra_id_1>  ',
  '<extra_id_100> <extra_id_> <EXTRA_ID_0> <extra_id_01>',
  'extra_id_0> <extra_id_0',
  '<<extra_id_0>>',
  'no sentinel',
  '',
  ' ',
]
TOKENS = [
  'a<sep>b',
  '<sep>',
  'the cat <sep> and<hidden>that',
  '日本<sep>文字',
  '<raw>the <sep>, cat',
  '<sep2><sep>',
  'ＣＡＴ sat CAT',
]


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  """A folder with spiece.model."""
  return vocabulary_harness.train(tmp_path_factory.mktemp('model') / 'm').parent


@pytest.fixture
def copy(folder, tmp_path):
  (tmp_path / 'spiece.model').write_bytes((folder / 'spiece.model').read_bytes())
  return tmp_path


def fast_of(folder):
  """T5's tokenizer of transformers, which has the pieces as a table of `tokenizers`."""
  return pytest.importorskip('transformers').T5Tokenizer.from_pretrained(str(folder))


def slow_of(folder, tokens=()):
  """The tokenizer of transformers that runs sentencepiece, with T5's sentinels."""
  transformers = pytest.importorskip('transformers')
  module = pytest.importorskip('transformers.tokenization_utils_sentencepiece')
  path = str(folder / 'spiece.model')
  added = transformers.AddedToken
  sentinels = [added(f'<extra_id_{n}>', special=True, normalized=False) for n in reversed(range(100))]
  slow = module.SentencePieceBackend(vocab_file=path, unk_token='<unk>', pad_token='<pad>', eos_token='</s>')
  slow.add_tokens([*sentinels, *tokens])
  return slow


def ids_of(tokenizer, texts):
  return [tokenizer.encode(text, add_special_tokens=False) for text in texts]


def test_sentinels_are_those_of_both_tokenizers_of_transformers(folder):
  found = vocabulary_harness.Reader(folder / 'spiece.model').ids(*TEXTS)
  assert found == ids_of(fast_of(folder), TEXTS)
  assert found == ids_of(slow_of(folder), TEXTS)


def test_sentinels_come_back_as_text(folder):
  reader = vocabulary_harness.Reader(folder / 'spiece.model')
  assert reader.text(reader.ids('the cat <extra_id_0> sat <extra_id_1>')[0]) == 'the cat <extra_id_0> sat <extra_id_1>'


@pytest.mark.parametrize('mark', ['▁', ''], ids=['as mT5 and T5', 'without a blank'])
def test_a_model_that_has_its_sentinels_gets_no_more(mark, folder, copy):
  """mT5's spiece.model and T5's cc_all.32000.100extra: the same ids as with sentinels added by the tokenizer."""
  proto = sentencepiece_model_pb2.ModelProto.FromString((copy / 'spiece.model').read_bytes())
  pieces = len(proto.pieces)
  for number in reversed(range(100)):
    proto.pieces.add(piece=f'{mark}<extra_id_{number}>', score=0.0, type=4)
  (copy / 'spiece.model').write_bytes(proto.SerializeToString())
  reader = vocabulary_harness.Reader(copy / 'spiece.model')
  assert reader.table.size == pieces + 100 and reader.table.first_sentinel == pieces + 99
  assert reader.ids(*TEXTS) == vocabulary_harness.Reader(folder / 'spiece.model').ids(*TEXTS)


@pytest.mark.parametrize(('extra_ids', 'sentinels'), [(None, 100), (0, 0), (96, 96), (125, 125), (-1, 100), ('7', 100)])
def test_a_file_may_say_how_many_sentinels_there_are(extra_ids, sentinels, copy):
  pieces = open_table(str(copy / 'spiece.model')).size - 100
  (copy / 'tokenizer_config.json').write_text(json.dumps({} if extra_ids is None else {'extra_ids': extra_ids}))
  table = open_table(str(copy / 'spiece.model'))
  assert table.size == pieces + sentinels
  assert table.first_sentinel == (pieces + sentinels - 1 if sentinels else None)


def added(transformers):
  """<sep> as `add_tokens` makes it; others that are special, or not searched for in normalized text."""
  one = transformers.AddedToken
  return ['<sep>', 'CAT', '<sep2>', one('<raw>', normalized=False), one('<hidden>', special=True)]


def test_tokens_of_tokenizer_json_next_to_a_model(folder, copy):
  transformers = pytest.importorskip('transformers')
  tokenizer = fast_of(folder)
  tokenizer.add_tokens(added(transformers))
  tokenizer.save_pretrained(copy)
  reader = vocabulary_harness.Reader(copy / 'spiece.model')
  assert reader.table.size == len(tokenizer)
  assert reader.ids(*TOKENS) == ids_of(tokenizer, TOKENS)
  # The file alone says the same.
  (copy / 'spiece.model').unlink()
  alone = vocabulary_harness.Reader(copy / 'tokenizer.json')
  assert alone.ids(*TOKENS, *TEXTS) == ids_of(tokenizer, [*TOKENS, *TEXTS])


def test_tokens_of_tokenizer_config(folder, copy):
  """As transformers 4 wrote them."""
  transformers = pytest.importorskip('transformers')
  tokenizer = fast_of(folder)
  tokenizer.add_tokens(added(transformers))
  rows = {
    number: json.loads(json.dumps(token.__getstate__())) for number, token in tokenizer.added_tokens_decoder.items()
  }
  (copy / 'tokenizer_config.json').write_text(json.dumps({'added_tokens_decoder': rows}))
  assert vocabulary_harness.Reader(copy / 'spiece.model').ids(*TOKENS) == ids_of(tokenizer, TOKENS)


def test_tokens_of_added_tokens_json(folder, copy):
  """As older transformers wrote them: sentinels are T5's, and the map says which tokens are special."""
  transformers = pytest.importorskip('transformers')
  first = open_table(str(copy / 'spiece.model')).size
  (copy / 'added_tokens.json').write_text(json.dumps({'<sep>': first, '<hidden>': first + 1}))
  (copy / 'special_tokens_map.json').write_text(json.dumps({'additional_special_tokens': ['<hidden>']}))
  reader = vocabulary_harness.Reader(copy / 'spiece.model')
  assert reader.table.size == first + 2
  tokens = [transformers.AddedToken('<sep>'), transformers.AddedToken('<hidden>', special=True)]
  texts = [text for text in TOKENS if '<sep2>' not in text]
  assert reader.ids(*texts) == ids_of(slow_of(folder, tokens), texts)


def test_special_tokens_are_left_out_of_text(folder, copy):
  transformers = pytest.importorskip('transformers')
  tokenizer = fast_of(folder)
  tokenizer.add_tokens(added(transformers))
  tokenizer.save_pretrained(copy)
  for name in ('spiece.model', 'tokenizer.json'):
    reader = vocabulary_harness.Reader(copy / name)
    for text in ('the cat<hidden> and<sep> that', '<hidden>', 'the <raw>cat'):
      ids = reader.ids(text)[0]
      assert reader.text(ids) == tokenizer.decode(ids, skip_special_tokens=True)


def test_ids_without_a_token_are_left_out_of_text(copy):
  first = open_table(str(copy / 'spiece.model')).size
  (copy / 'added_tokens.json').write_text(json.dumps({'<sep>': first + 5}))
  reader = vocabulary_harness.Reader(copy / 'spiece.model')
  assert reader.table.size == first + 6
  assert reader.text([*reader.ids('the cat')[0], first + 3, first + 5]) == 'the cat<sep>'


@pytest.mark.parametrize(
  ('name', 'content', 'message'),
  [
    ('added_tokens.json', {'<sep>': 5}, 'token "<sep>" has the id 5, which is that of the piece'),
    ('added_tokens.json', {'the': 10**9}, 'has the id 1000000000. Ids are from 0 to 1,048,575'),
    ('added_tokens.json', {'a': 400}, 'token "a" has the id 400, and as a piece of the vocabulary'),
    ('added_tokens.json', {'<sep>': '400'}, 'its added tokens cannot be read: .*must be a whole number'),
    ('added_tokens.json', {'a\0b': 400}, 'without the character 0'),
    (
      'tokenizer_config.json',
      {'added_tokens_decoder': {'400': {'content': 'cat', 'single_word': True}}},
      'token "cat" is marked single_word',
    ),
    ('tokenizer_config.json', {'added_tokens_decoder': ['cat']}, 'its added tokens cannot be read'),
  ],
)
def test_what_cannot_be_honoured_is_refused(name, content, message, copy):
  (copy / name).write_text(json.dumps(content))
  with pytest.raises(UserError, match=f'{name}: .*{message}'):
    open_table(str(copy / 'spiece.model'))


def test_files_that_contradict_each_other(copy):
  size = open_table(str(copy / 'spiece.model')).size
  (copy / 'added_tokens.json').write_text(json.dumps({'<sep>': size}))
  (copy / 'tokenizer_config.json').write_text(json.dumps({'added_tokens_decoder': {str(size): {'content': '<other>'}}}))
  with pytest.raises(
    UserError, match=f'Two added tokens have the id {size}: "<other>" in .*config.* and "<sep>" in .*added'
  ):
    open_table(str(copy / 'spiece.model'))


def test_a_token_at_the_id_of_a_sentinel(copy):
  pieces = open_table(str(copy / 'spiece.model')).size - 100
  (copy / 'added_tokens.json').write_text(json.dumps({'<sep>': pieces}))
  with pytest.raises(UserError, match=f'id {pieces}, which is that of the sentinel <extra_id_99>.*"extra_ids": 0'):
    open_table(str(copy / 'spiece.model'))
  (copy / 'tokenizer_config.json').write_text('{"extra_ids": 0}')
  assert open_table(str(copy / 'spiece.model')).size == pieces + 1


def test_blanks_that_a_token_takes(tmp_path):
  """Dropped anyway by T5's vocabularies; a vocabulary that keeps blanks cannot say it."""
  for drops in (True, False):
    path = vocabulary_harness.train(tmp_path / str(drops), remove_extra_whitespaces=drops)
    row = {'content': '<sep>', 'lstrip': True, 'normalized': False}
    number = 250
    (path.parent / 'tokenizer_config.json').write_text(json.dumps({'added_tokens_decoder': {number: row}}))
    if drops:
      a, b = vocabulary_harness.Reader(path).ids('the <sep>', 'the<sep>')
      assert a == b and a[-1] == number
    else:
      with pytest.raises(UserError, match='token "<sep>" takes the blanks next to it'):
        open_table(str(path))
