"""Sentencepiece models trained with other options than T5's: the ids and texts are those of sentencepiece.

Each row names the thread that describes such a model: OWNER/REPOSITORY#NUMBER on GitHub.
"""

import pytest
import sentencepiece
import vocabulary_harness

TEXTS = ('the cat <2de> sat', '<2de> the cat', 'naïve é 😀 Ω', 'a  b\tc 123', ' on ', '')
OPTIONS = {
  'ggml-org/llama.cpp#28862, bytes for unknown text': {'num_pieces': 400, 'byte_fallback': True},
  'apoorvumang/kgt5#26, BPE': {'model_type': 'bpe'},
  'google/sentencepiece#183, symbols of the user': {'user_defined_symbols': ['<2de>', '<2fr>']},
  'google/sentencepiece#667, nothing normalized': {
    'normalization_rule_name': 'identity',
    'add_dummy_prefix': False,
    'remove_extra_whitespaces': False,
  },
  'lower case': {'normalization_rule_name': 'nmt_nfkc_cf'},
  'blanks at the ends of words': {'treat_whitespace_as_suffix': True, 'split_digits': True},
  'characters': {'model_type': 'char'},
  'words': {'model_type': 'word'},
  'google-research/text-to-text-transfer-transformer#566, a beginning': {
    'ids': {**vocabulary_harness.T5_IDS, 'bos_id': 3}
  },
}


@pytest.mark.parametrize('case', OPTIONS)
def test_ids_and_texts(tmp_path, case):
  path = vocabulary_harness.train(tmp_path, **OPTIONS[case])
  reader, model = vocabulary_harness.Reader(path), sentencepiece.SentencePieceProcessor(model_file=str(path))
  expected = [model.encode(text) for text in TEXTS]
  assert reader.ids(*TEXTS) == expected
  assert [reader.text(ids) for ids in expected] == [model.decode(ids) for ids in expected]


@pytest.mark.parametrize('kind', ['user_defined_symbols', 'control_symbols'])
def test_sentinels_that_are_symbols_of_the_model(tmp_path, kind):
  """google/sentencepiece#779: they count up, and are pieces like any other."""
  sentinels = [f'<extra_id_{number}>' for number in range(100)]
  reader = vocabulary_harness.Reader(vocabulary_harness.train(tmp_path, num_pieces=250, **{kind: sentinels}))
  assert reader.table.first_sentinel == 3 and reader.table.size < 250
  (ids,) = reader.ids('the<extra_id_1>cat <extra_id_99>')
  assert [number for number in ids if 3 <= number < 103] == [4, 102]


def test_another_number_of_sentinels(tmp_path):
  """huggingface/transformers#12707: extra_ids=160."""
  path = vocabulary_harness.train(tmp_path)
  plain = sentencepiece.SentencePieceProcessor(model_file=str(path)).get_piece_size()
  (tmp_path / 'tokenizer_config.json').write_text('{"extra_ids": 160}')
  table = vocabulary_harness.Reader(path).table
  assert (table.size, table.first_sentinel) == (plain + 160, plain + 159)
