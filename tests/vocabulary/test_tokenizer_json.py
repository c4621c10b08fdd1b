"""tokenizer.json alone gives the ids that `tokenizers` gives; what cannot be expressed is refused by name."""

import copy
import json
import re
import unicodedata

import hypothesis
import hypothesis.strategies as st
import pytest
import tensorflow as tf
import vocabulary_harness

from switch_zoo.errors import UserError
from switch_zoo.vocabulary.opening import open_table

tokenizers = pytest.importorskip('tokenizers')
transformers = pytest.importorskip('transformers')
from tokenizers import Regex, models, normalizers, pre_tokenizers  # noqa: E402

TEXTS = [
  '',
  ' ',
  '   ',
  'the cat sat on the mat',
  '  two  blanks   before and after  ',
  'a\nb\tc\r\nd\x0be',
  'ｆｕｌｌ　ｗｉｄｔｈ １２３',
  '½ ﬁne naïve café',
  '😀😀 👩‍👩‍👧 🇯🇵 ☃',
  '日本語の文字を読む。',
  '▁the ▁ cat▁sat ▁▁ ▁',
  'a\u00a0b\u2028c\x85d\u3000e\u200bf\ufeffg',
  'e\u0301 a\u0308',
  'nul\x00in\x7fside',
  '(<extra_id_0>) <extra_id_99>the',
  'x</s>y <pad><unk>',
  'ÀÉÎ ŁŞ ẞ 한국어 العربية हिन्दी',
]
ALPHABET = st.sampled_from(
  ['the', 'cat', ' ', '  ', '\n', '\t', 'ａ', '１', '½', 'é', '😀', '日', '本', '▁', '<extra_id_0>', '<extra_id_7>']
  + ['</s>', '\u00a0', '\u2028', '\u3000', '\x85', 'ﬁ', 'm', '-', '<', '>', '0', '\x00', 'ß']
)
# Where `tokenizers` and sentencepiece differ: the first looks for letters with their combining marks as a whole, and
# loses the marks if it finds the beginning (huggingface/tokenizers, normalizers/precompiled.rs).
EVERYTHING = st.text(
  st.characters(exclude_categories=('Cs', 'Mn', 'Mc', 'Me', 'Cf')).filter(
    lambda char: not any(unicodedata.combining(part) for part in unicodedata.normalize('NFKD', char))
  ),
  max_size=12,
)


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  """What transformers 5 saves of a spiece.model."""
  path = tmp_path_factory.mktemp('vocabulary')
  tokenizer = transformers.T5Tokenizer.from_pretrained(str(vocabulary_harness.train(path / 'model', 200).parent))
  tokenizer.save_pretrained(path / 'saved')
  assert not list((path / 'saved').glob('*.model'))
  return path / 'saved'


@pytest.fixture(scope='module')
def document(folder):
  return json.loads((folder / 'tokenizer.json').read_text())


def both(path):
  """Our reader of a file, and `tokenizers`'."""
  return vocabulary_harness.Reader(path), tokenizers.Tokenizer.from_file(str(path))


def ids_of(tokenizer, texts):
  return [tokenizer.encode(text, add_special_tokens=False).ids for text in texts]


def test_what_transformers_saves(folder):
  reader, tokenizer = both(folder / 'tokenizer.json')
  assert reader.table.size == tokenizer.get_vocab_size()
  assert reader.ids(*TEXTS) == ids_of(tokenizer, TEXTS)


@hypothesis.settings(deadline=None, max_examples=60, suppress_health_check=list(hypothesis.HealthCheck))
@hypothesis.given(st.lists(st.lists(ALPHABET, max_size=10).map(''.join) | EVERYTHING, min_size=1, max_size=20))
def test_any_text(folder, texts):
  reader, tokenizer = both(folder / 'tokenizer.json')
  assert reader.ids(*texts) == ids_of(tokenizer, texts)


def variant(document, path, **parts):
  """A tokenizer.json with other steps, given as objects of `tokenizers`."""
  changed = copy.deepcopy(document)
  (path / 'base.json').write_text(json.dumps(changed))
  tokenizer = tokenizers.Tokenizer.from_file(str(path / 'base.json'))
  for name, part in parts.items():
    setattr(tokenizer, name, part)
  tokenizer.save(str(path / 'tokenizer.json'))
  return path / 'tokenizer.json'


METASPACE = lambda **flags: pre_tokenizers.Metaspace(replacement='▁', **{'prepend_scheme': 'always', **flags})
STRIP = [normalizers.Strip(left=False, right=True), normalizers.Replace(Regex(' {2,}'), '▁')]


@pytest.mark.parametrize(
  ('steps', 'pre_tokenizer'),
  [
    (STRIP, METASPACE()),  # as transformers 4 and the hub's Switch Transformers have it
    ([normalizers.Replace(Regex(' {2,}'), ' ')], METASPACE()),
    ([], METASPACE()),
    ([], METASPACE(split=False)),
    ([], METASPACE(prepend_scheme='never')),
    ([normalizers.Strip()], METASPACE()),
    ([normalizers.Replace('cat', 'dog'), normalizers.Replace(' ', '▁')], METASPACE()),
    ([normalizers.Replace(Regex(r'\A +| +\z'), ''), normalizers.Replace(Regex(r'\A▁'), '▁▁')], METASPACE(split=False)),
    ([], pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), METASPACE()])),
  ],
)
@pytest.mark.parametrize('mapped', [True, False], ids=['with a table of characters', 'without'])
def test_other_steps_that_conversions_write(steps, pre_tokenizer, mapped, document, tmp_path):
  path = variant(document, tmp_path, normalizer=normalizers.Sequence(steps), pre_tokenizer=pre_tokenizer)
  if mapped:
    changed = json.loads(path.read_text())
    changed['normalizer']['normalizers'].insert(0, document['normalizer'])
    path.write_text(json.dumps(changed))
  reader, tokenizer = both(path)
  texts = [text for text in TEXTS if '\r\n' not in text]  # to `tokenizers` one character, of which it loses the second
  assert reader.ids(*texts) == ids_of(tokenizer, texts)


def test_text_is_that_of_tokenizers(folder):
  reader, tokenizer = both(folder / 'tokenizer.json')
  for text in ('the cat sat', '  the  cat ', '日本語の文字', 'a\nb', ''):
    ids = reader.ids(text)[0]
    assert reader.text(ids) == tokenizer.decode(ids)


def test_bytes_for_what_has_no_piece(document, tmp_path):
  """byte_fallback: unknown characters become their bytes, in both directions."""
  changed = copy.deepcopy(document)
  changed['model']['byte_fallback'] = True
  changed['model']['vocab'] += [[f'<0x{byte:02X}>', 0.0] for byte in range(256)]
  (tmp_path / 'tokenizer.json').write_text(json.dumps(changed))
  reader, tokenizer = both(tmp_path / 'tokenizer.json')
  texts = [text for text in TEXTS if '\x00' not in text]
  assert reader.ids(*texts) == ids_of(tokenizer, texts)
  assert 2 not in reader.ids('☃ 한국어')[0]
  assert reader.text(reader.ids('☃ 한국어 the')[0]) == '☃ 한국어 the'


def test_bytes_that_are_not_all_there(document, tmp_path):
  """`tokenizers` then takes bytes where it has all of a character; sentencepiece has all 256 or none."""
  changed = copy.deepcopy(document)
  changed['model']['byte_fallback'] = True
  changed['model']['vocab'] += [[f'<0x{byte:02X}>', 0.0] for byte in range(200)]
  (tmp_path / 'tokenizer.json').write_text(json.dumps(changed))
  with pytest.raises(UserError, match='byte_fallback and 200 of the 256 bytes'):
    open_table(str(tmp_path / 'tokenizer.json'))


def save(text, folder):
  module = tf.Module()
  module.text = text
  module.ids = tf.function(lambda texts: text.encode(texts).to_tensor(), [tf.TensorSpec([None], tf.string)])
  tf.saved_model.save(module, folder)


def test_exports_keep_it_also_two_in_one_process(folder, tmp_path):
  """The operations of two SavedModels with other vocabularies, loaded again: none takes the pieces of another."""
  other = vocabulary_harness.train(tmp_path / 'other')
  readers = [vocabulary_harness.Reader(path) for path in (folder / 'tokenizer.json', other)]
  for number, reader in enumerate(readers):
    save(reader.tensors, str(tmp_path / str(number)))
  loaded = [tf.saved_model.load(str(tmp_path / str(number))) for number in range(2)]
  for reader, model in zip(readers, loaded, strict=True):
    ids, expected = model.ids(tf.constant(TEXTS)).numpy().tolist(), reader.ids(*TEXTS)
    assert [row[: len(right)] for row, right in zip(ids, expected, strict=True)] == expected


def without_marks(document):
  document['model']['vocab'] = [row for row in document['model']['vocab'] if row[0] != '▁']


REFUSALS = {
  'BPE': (lambda d: d.update(model={'type': 'BPE', 'vocab': {}, 'merges': []}), 'its model is of the type BPE'),
  'WordPiece': (lambda d: d.update(model={'type': 'WordPiece', 'vocab': {}}), 'its model is of the type WordPiece'),
  'WordLevel without a type': (lambda d: d.update(model={'vocab': {'a': 1}}), 'its model is of the type unknown'),
  'normalizer': (lambda d: d.update(normalizer={'type': 'Lowercase'}), 'normalizer has a step of the type Lowercase'),
  'second table': (
    lambda d: d.update(normalizer={'type': 'Sequence', 'normalizers': [{'type': 'NFC'}, d['normalizer']]}),
    'normalizer has a step of the type NFC',
  ),
  'expression': (
    lambda d: d.update(normalizer={'type': 'Replace', 'pattern': {'Regex': r'\d'}, 'content': '0'}),
    r"its normalizer replaces \d by '0'",
  ),
  'no pre_tokenizer': (lambda d: d.update(pre_tokenizer=None), 'its pre_tokenizer is missing'),
  'pre_tokenizer': (lambda d: d.update(pre_tokenizer={'type': 'ByteLevel'}), 'its pre_tokenizer is ByteLevel'),
  'first word only': (
    lambda d: d.update(
      pre_tokenizer={'type': 'Metaspace', 'replacement': '▁', 'prepend_scheme': 'first', 'split': True}
    ),
    'the prepend_scheme "first"',
  ),
  'post_processor': (
    lambda d: d['post_processor']['single'].insert(0, {'SpecialToken': {'id': '</s>', 'type_id': 0}}),
    'its post_processor makes "</s> A </s>" of a text A',
  ),
  'unk_id': (lambda d: d['model'].update(unk_id=0), 'other special ids than T5 and Switch: unk_id is 0'),
  'no unk_id': (lambda d: d['model'].update(unk_id=None), 'unk_id is None'),
  'scores': (lambda d: d['model']['vocab'].__setitem__(9, ['a', float('nan')]), 'must be a piece and its score'),
  'twice': (lambda d: d['model']['vocab'].append(d['model']['vocab'][10]), 'is in its vocabulary twice'),
  'empty': (lambda d: d['model']['vocab'].append(['', 0.0]), 'a piece of its vocabulary is empty'),
  'marks': (without_marks, 'no piece "▁"'),
  'table': (lambda d: d['normalizer'].update(precompiled_charsmap='%%'), 'precompiled_charsmap is not base64'),
  'broken table': (lambda d: d['normalizer'].update(precompiled_charsmap='QUJD'), 'is not a sentencepiece model'),
  'rows': (lambda d: d['model'].update(vocab=[['a']]), 'is not a complete tokenizer.json'),
  'no Unigram': (lambda d: d.update(model=7), 'is not a complete tokenizer.json'),
}


@pytest.mark.parametrize('kind', REFUSALS)
def test_what_cannot_be_expressed_is_refused_by_name(kind, document, tmp_path):
  changed = copy.deepcopy(document)
  change, message = REFUSALS[kind]
  change(changed)
  path = tmp_path / 'tokenizer.json'
  path.write_text(json.dumps(changed))
  with pytest.raises(UserError, match=f'(?s)^.*{re.escape(str(path))}.*{re.escape(message)}'):
    vocabulary_harness.Reader(path)


def test_a_file_of_another_family(tmp_path):
  tokenizer = tokenizers.Tokenizer(models.BPE())
  tokenizer.save(str(tmp_path / 'tokenizer.json'))
  with pytest.raises(
    UserError, match='its model is of the type BPE .T5 and Switch have Unigram.*Give the spiece.model'
  ):
    open_table(str(tmp_path / 'tokenizer.json'))
