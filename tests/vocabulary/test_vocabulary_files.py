"""What is not a vocabulary, or not one of T5's, is refused with the file, the rule and the remedy."""

import json
import re

import pytest
import vocabulary_harness
from sentencepiece import sentencepiece_model_pb2

from switch_zoo.errors import UserError
from switch_zoo.vocabulary import files, fit
from switch_zoo.vocabulary.opening import open_table

POINTER = b'version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 791656\n'


@pytest.fixture(scope='module')
def model(tmp_path_factory):
  return vocabulary_harness.train(tmp_path_factory.mktemp('vocabulary'))


@pytest.mark.parametrize(
  ('content', 'message'),
  [
    (b'', 'is empty. Copy or download it again'),
    (POINTER, 'is a Git LFS pointer, .*`git lfs pull`'),
    (b'<!DOCTYPE html>\n<html><title>Sign in</title>', 'is not a sentencepiece model: it is a web page'),
    (b'the\nof\nand\n', 'is not a sentencepiece model: it is text. A vocabulary is a sentencepiece model'),
    (b'[PAD]\n[UNK]\n[CLS]\nthe\n', 'is not a sentencepiece model: it is text'),
    ('▁the\t-3.5\n'.encode(), 'is not a sentencepiece model: it is text'),
    (b'\x1f\x8b\x08\x00', 'is not a sentencepiece model: it is compressed'),
    (b'\x80\x02}q\x00', 'is not a sentencepiece model: it is cut off, damaged or another kind of file'),
    (b'{"the": 1, "of": 2}', 'is JSON and not a tokenizer.json: it has no model'),
    (b'[1, 2]', 'is a JSON list, not an object'),
    (b'{"model": {"type": "Uni', 'line 1: not JSON .*cut off'),
    (b'{"a": "\xff"}', 'is not UTF-8'),
    (b'{"a": ' * 100_000, 'is nested too deeply'),
  ],
)
def test_what_is_not_a_vocabulary(content, message, tmp_path):
  path = tmp_path / 'any name'
  path.write_bytes(content)
  with pytest.raises(UserError, match=f'(?s){re.escape(str(path))}.*{message}'):
    open_table(str(path))


@pytest.mark.parametrize('name', ['spiece.model', 'tokenizer.json', 'tokenizer_config.json', 'added_tokens.json'])
def test_a_pointer_in_place_of_any_file(name, model, tmp_path):
  (tmp_path / 'spiece.model').write_bytes(model.read_bytes())
  (tmp_path / name).write_bytes(POINTER)
  with pytest.raises(UserError, match=f'{re.escape(str(tmp_path / name))} is a Git LFS pointer'):
    open_table(str(tmp_path / 'spiece.model'))


def test_every_beginning_of_a_model_is_refused(model, tmp_path):
  whole, path = model.read_bytes(), tmp_path / 'cut.model'
  for length in range(1, len(whole), len(whole) // 40):
    path.write_bytes(whole[:length])
    try:
      table = open_table(str(path))
    except UserError as error:
      assert 'not a sentencepiece model' in str(error)
    else:  # cut in what follows the settings
      assert table.size == open_table(str(model)).size


def test_a_folder_names_the_file_in_it(model, tmp_path):
  with pytest.raises(UserError, match=f'is a folder. Give the file in it: {re.escape(str(model))}'):
    open_table(str(model.parent))
  with pytest.raises(UserError, match=r'is a folder. A vocabulary is a sentencepiece model \(spiece.model\)'):
    open_table(str(tmp_path))


def test_a_file_that_is_too_large_is_not_read(model, monkeypatch):
  monkeypatch.setattr(files, 'MAX_BYTES', 1000)
  with pytest.raises(UserError, match=r'has [\d,]+ bytes, and at most 1,000 are read'):
    open_table(str(model))


@pytest.mark.parametrize(
  ('ids', 'beginning'),
  [
    ({}, '0 <unk>, 1 <s>, 2 </s>'),
    ({'pad_id': 3}, '0 <unk>, 1 <s>, 2 </s>, 3 <pad>'),
    ({'pad_id': 0, 'eos_id': 2, 'unk_id': 1, 'bos_id': -1}, '0 <pad>, 1 <unk>, 2 </s>'),
    ({'pad_id': 0, 'bos_id': 1, 'unk_id': 2, 'eos_id': 3}, '0 <pad>, 1 <s>, 2 <unk>, 3 </s>'),
    ({'pad_id': 0, 'bos_id': 1, 'unk_id': 2, 'eos_id': -1}, '0 <pad>, 1 <s>, 2 <unk>'),
  ],
)
def test_other_special_ids_are_refused_with_the_flags_of_the_right_ones(ids, beginning, tmp_path):
  path = vocabulary_harness.train(tmp_path / 'other', ids=ids)
  message = rf'begins with {beginning}.* `spm_train --pad_id=0 --eos_id=1 --unk_id=2 --bos_id=-1`'
  with pytest.raises(UserError, match=message):
    open_table(str(path))


def test_special_ids_of_other_names(tmp_path):
  names = {'pad_piece': '[PAD]', 'eos_piece': '[END]', 'unk_piece': '[UNK]'}
  assert vocabulary_harness.Reader(vocabulary_harness.train(tmp_path / 'a', **names)).ids('the ☃')[0][-1] == 2


def test_any_kind_of_sentencepiece_model_is_taken(tmp_path):
  reader = vocabulary_harness.Reader(vocabulary_harness.train(tmp_path / 'bpe', 200, model_type='bpe'))
  assert reader.text(reader.ids('that cat')[0]) == 'that cat'


@pytest.mark.parametrize(
  ('size', 'rows', 'fits'),
  [
    (32_100, 32_128, True),
    (32_100, 32_100, True),
    (32_128, 32_128, True),
    (250_100, 250_112, True),
    (359, 384, True),
    (359, 32_128, False),
    (32_129, 32_128, False),
    (32_000, 32_128, False),
  ],
)
def test_a_vocabulary_fits_a_model_of_its_padded_size(size, rows, fits):
  if fits:
    fit.check('The vocabulary x', size, rows, 'Give another.')
    return
  message = rf'The vocabulary x has {size:,} entries.* has vocab_size = {rows:,}. Give another.$'
  with pytest.raises(UserError, match=message):
    fit.check('The vocabulary x', size, rows, 'Give another.')


def test_json_may_begin_with_a_mark_of_byte_order():
  assert files.is_json(b'\xef\xbb\xbf {}') and files.json_object('a', b'\xef\xbb\xbf{"b": 1}') == {'b': 1}


def test_a_model_without_a_piece_is_refused_by_sentencepiece(model, tmp_path):
  proto = sentencepiece_model_pb2.ModelProto.FromString(model.read_bytes())
  proto.pieces[5].piece = ''
  (tmp_path / 'a.model').write_bytes(proto.SerializeToString())
  with pytest.raises(UserError, match='a.model is not a sentencepiece model: .*'):
    vocabulary_harness.Reader(tmp_path / 'a.model').ids('a')


def test_the_files_next_to_a_model_must_be_whole(model, tmp_path):
  (tmp_path / 'spiece.model').write_bytes(model.read_bytes())
  (tmp_path / 'tokenizer_config.json').write_text(json.dumps({'added_tokens_decoder': {'90': {'special': True}}}))
  with pytest.raises(UserError, match='tokenizer_config.json: its added tokens cannot be read: KeyError..content'):
    open_table(str(tmp_path / 'spiece.model'))
