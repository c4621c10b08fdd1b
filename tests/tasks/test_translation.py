"""Aligned files in every layout, the tasks of their languages, and the mixture of those that are there."""

import gzip

import benchmark_files
import gin
import pytest
import seqio
import tensorflow_datasets as tfds

from switch_zoo.errors import UserError
from switch_zoo.launcher import preflight
from switch_zoo.tasks import data_folder, parallel_files, raw_files, vocabularies
from switch_zoo.tasks.parallel_files import AlignedPair

TATOEBA = {'tatoeba.deu-eng.deu': 'Das ist gut.\nJa.\n', 'tatoeba.deu-eng.eng': 'That is good.\nYes.\n'}
FLORES = {'dev/deu_Latn.dev': 'Am Montag.\n', 'dev/zho_Hant.dev': '週一\n', 'dev/eng_Latn.dev': 'On Monday.\n'}
OPUS = {'Europarl.en-fr.fr': 'Oui.\n', 'Europarl.en-fr.en': 'Yes.\n', 'README': 'Not a text.'}


@pytest.fixture
def folder(tmp_path, monkeypatch):
  """The folder of aligned files in the data folder; what an earlier test found is forgotten."""
  monkeypatch.setenv(data_folder.VARIABLE, str(tmp_path))
  parallel_files._read_folder.cache_clear()
  (tmp_path / 'translation').mkdir()
  return tmp_path / 'translation'


def write(folder, files):
  for name, text in files.items():
    benchmark_files.write(folder / name, text)


def found(folder):
  """(language, split, names of both files) of every pair."""
  relative = lambda path: path.removeprefix(f'{folder}/')
  pairs = parallel_files.pairs(str(folder))
  return [(one.language, one.split, relative(one.path), relative(one.english)) for one in pairs]


@pytest.mark.parametrize(
  ('files', 'language', 'split'),
  [
    (('tatoeba.deu-eng.deu', 'tatoeba.deu-eng.eng'), 'de', 'train'),
    (('a/deu_Latn.dev', 'a/eng_Latn.dev'), 'de', 'validation'),
    (('deu_Latn.devtest.gz', 'eng_Latn.devtest'), 'de', 'test'),
    (('wmt.en-de.de.gz', 'wmt.en-de.en.gz'), 'de', 'train'),
    (('GNOME.pt_BR-en.pt_BR', 'GNOME.pt_BR-en.en'), 'pt', 'train'),
    (('newstest2014.de-en.de', 'newstest2014.de-en.en'), 'de', 'test'),
    (('valid.de', 'valid.en'), 'de', 'validation'),
    (('de-en.de', 'de-en.en'), 'de', 'train'),
  ],
  ids=['tatoeba', 'flores', 'gz', 'moses', 'region', 'test', 'plain', 'pair only'],
)
def test_pairs_are_found(folder, files, language, split):
  write(folder, dict.fromkeys(files, 'x\n'))
  assert found(folder) == [(language, split, *files)]


@pytest.mark.parametrize(
  'files',
  [('Europarl.de-fr.de', 'Europarl.de-fr.fr'), ('deu_Latn.dev',), ('train.de', 'other.en', 'notes.txt', 'en', '.de')],
  ids=['no English', 'alone', 'no pair'],
)
def test_other_files_are_not_pairs(folder, files):
  write(folder, dict.fromkeys(files, 'x\n'))
  assert found(folder) == []


def test_a_language_is_translated(folder):
  write(folder, TATOEBA | FLORES)
  source = seqio.TaskRegistry.get('zoo_translate_de_en').source
  assert source.splits == ['train', 'validation']
  rows = lambda split: [example for _, examples in source.records(split) for example in examples]
  assert rows('train') == [
    {'inputs': 'translate German to English: Das ist gut.', 'targets': 'That is good.'},
    {'inputs': 'translate German to English: Ja.', 'targets': 'Yes.'},
  ]
  assert rows('validation') == [{'inputs': 'translate German to English: Am Montag.', 'targets': 'On Monday.'}]
  assert source.num_input_examples('train') == 2


def test_all_files_of_a_language_are_read(folder):
  """Two scripts of Chinese, one of them compressed."""
  write(folder, FLORES)
  (folder / 'dev' / 'zho_Hans.dev.gz').write_bytes(gzip.compress('周一\n'.encode()))
  source = seqio.TaskRegistry.get('zoo_translate_zh_en').source
  rows = [example['inputs'] for _, examples in source.records('validation') for example in examples]
  assert rows == ['translate Chinese to English: 周一', 'translate Chinese to English: 週一']


def test_the_mixture_has_the_languages_that_are_there(folder):
  mixture = seqio.get_mixture_or_task('zoo_translate')
  assert len(mixture.tasks) > 200
  write(folder, TATOEBA | OPUS)
  parallel_files._read_folder.cache_clear()
  assert [task.name for task in mixture.tasks] == ['zoo_translate_de_en', 'zoo_translate_fr_en']
  # 19 and 5 bytes of English.
  assert [mixture.get_rate(task) for task in mixture.tasks] == pytest.approx([19**0.2, 5**0.2])
  gin.bind_parameter('translation_rate.temperature', 1.0)
  assert [mixture.get_rate(task) for task in mixture.tasks] == [19.0, 5.0]


def test_a_language_without_training_text_is_left_out_of_training(folder):
  write(folder, OPUS | FLORES)
  mixture = seqio.get_mixture_or_task('zoo_translate')
  assert {task.name: list(task.splits) for task in mixture.tasks} == {
    'zoo_translate_de_en': ['validation'],
    'zoo_translate_fr_en': ['train'],
    'zoo_translate_zh_en': ['validation'],
  }
  assert mixture.get_rate(seqio.TaskRegistry.get('zoo_translate_de_en')) == pytest.approx(11**0.2)


def test_packed_text_counts_about_what_it_unpacks_to(folder):
  (folder / 'a.de-en.de').write_text('x\n')
  (folder / 'a.de-en.en.gz').write_bytes(b'.' * 7)
  [pair] = parallel_files.pairs(str(folder))
  assert parallel_files.size(pair) == 21


def test_another_folder(folder, tmp_path):
  write(tmp_path / 'elsewhere', TATOEBA)
  gin.bind_parameter('translation_data.folder', str(tmp_path / 'elsewhere'))
  source = seqio.TaskRegistry.get('zoo_translate_de_en').source
  assert source.pairs() == [
    AlignedPair('de', 'train', *(str(tmp_path / 'elsewhere' / f'tatoeba.deu-eng.{code}') for code in ('deu', 'eng')))
  ]
  assert source.state().missing == ()


def test_a_missing_language_is_reported_with_those_that_are_there(folder):
  write(folder, TATOEBA | OPUS)
  source = seqio.TaskRegistry.get('zoo_translate_sw_en').source
  assert source.state().missing == ('*.sw-en.sw and *.sw-en.en, or the like',)
  with pytest.raises(UserError) as error:
    source.find_files('train')
  assert str(error.value).startswith(
    f'{folder} has no aligned files of Swahili ("sw") and English, split "train"; for this split it has: de, fr.'
  )


def test_no_data_folder(monkeypatch):
  monkeypatch.delenv(data_folder.VARIABLE, raising=False)
  source = seqio.TaskRegistry.get('zoo_translate_sw_en').source
  assert source.splits == ('train', 'validation', 'test')
  with pytest.raises(UserError, match='no data folder is set'):
    source.find_files('train')


@pytest.mark.parametrize(
  ('name', 'partner'),
  [
    ('Europarl.de-en.de', 'Europarl.de-en.en'),
    ('Europarl.de-en.en.gz', 'Europarl.de-en.de'),
    ('deu_Latn.train', 'eng_Latn.train'),
  ],
)
def test_one_side_of_a_pair_is_an_error_and_not_a_language_less(folder, name, partner):
  write(folder, {**OPUS, name: 'x\n'})
  mixture = seqio.get_mixture_or_task('zoo_translate')
  assert [task.name for task in mixture.tasks] == ['zoo_translate_de_en', 'zoo_translate_fr_en']
  with pytest.raises(UserError) as error:
    mixture.tasks[0].source.check('train')
  assert str(error.value).startswith(f'{folder}/{name} is one side of a pair, and there is no {partner} next to it.')


def test_a_name_that_only_looks_like_a_language_is_no_side_of_a_pair(folder):
  write(folder, {**OPUS, 'script.pl': 'x\n', 'my-it.so': 'x\n', 'Europarl.de-fr.de': 'x\n'})
  assert parallel_files.unpaired(str(folder)) == ()


@pytest.mark.parametrize(
  ('files', 'wrong'),
  [
    (None, 'There is no folder {}, in which translations are.'),
    ({}, '{} has no pair of aligned files, a language and English: it is empty.'),
    (
      dict.fromkeys('abcdef', ''),
      '{} has no pair of aligned files, a language and English: it contains a, b, c, d, e, ..',
    ),
  ],
  ids=['no folder', 'empty', 'others'],
)
def test_a_folder_without_pairs_is_described(folder, files, wrong):
  write(folder, files or {})
  if files is None:
    folder.rmdir()
  source = seqio.get_mixture_or_task('zoo_translate').tasks[0].source
  with pytest.raises(UserError) as error:
    source.check('train')
  assert str(error.value).startswith(wrong.format(folder)) and 'switch_zoo corpus DIR --pairs' in str(error.value)


@pytest.mark.parametrize('packed', [False, True])
def test_different_numbers_of_lines_are_found_before_a_run(folder, packed):
  write(folder, {'a.de-en.de': 'Ja.\nNein.\nDoch.', 'a.de-en.en': 'Yes.\nNo.\n'})
  if packed:
    path = folder / 'a.de-en.de'
    path.with_name('a.de-en.de.gz').write_bytes(gzip.compress(path.read_bytes()))
    path.unlink()
  source = seqio.TaskRegistry.get('zoo_translate_de_en').source
  with pytest.raises(UserError, match=r'a\.de-en\.de(\.gz)? has 3 lines and .*a\.de-en\.en has 2: line n of one'):
    source.check('train')
  gin.bind_parameter('task_data.skip_malformed', True)
  source.check('train')


@pytest.mark.parametrize('text', [b'', b'a', b'a\n', b'a\n\nb', b'a\r\nb\r\n', b'a\rb\rc', b'a\rb\r', b'\n' * 9])
def test_lines_are_counted_as_they_are_read(tmp_path, text):
  path = tmp_path / 'x'
  path.write_bytes(text)
  rows = [row for row in raw_files.lines(str(path)) if not isinstance(row, raw_files.MalformedRow)]
  assert raw_files.count_lines(str(path)) == len(rows)


def test_the_sides_can_have_different_vocabularies(folder, tmp_path, monkeypatch):
  write(folder, TATOEBA)
  vocabularies.train(['That is good.', 'Yes.', 'abcdefghijklmnopqrstuvwxyz'] * 9, tmp_path / 'english.model', 33)
  monkeypatch.setenv(vocabularies.VARIABLE, 'bytes')
  features = seqio.TaskRegistry.get('zoo_translate_de_en').output_features
  sizes = lambda: [features[side].vocabulary.vocab_size for side in ('inputs', 'targets')]
  assert sizes() == [359, 359] and features['targets'].vocabulary.path == 'bytes'
  monkeypatch.setenv(vocabularies.TARGET_VARIABLE, str(tmp_path / 'english.model'))
  assert sizes() == [359, 133]
  dataset = seqio.TaskRegistry.get('zoo_translate_de_en').get_dataset({'inputs': 64, 'targets': 16}, shuffle=False)
  row = next(iter(tfds.as_numpy(dataset)))
  assert bytes((row['inputs'][:-1] - 3).tolist()).decode() == 'translate German to English: Das ist gut.'
  assert features['targets'].vocabulary.decode(row['targets'].tolist()) == 'That is good.'
  gin.parse_config('target_vocab_size = 256\nvocab_size = 384\nshared_embedding = True')
  with pytest.raises(UserError, match='has a vocabulary for inputs .bytes. and another for targets'):
    preflight.vocabulary_fits('zoo_translate')
  gin.parse_config('shared_embedding = False')
  preflight.vocabulary_fits('zoo_translate')
  gin.parse_config('target_vocab_size = 384')
  with pytest.raises(UserError, match=r'vocabulary of zoo_translate \(targets\) has 133 .* target_vocab_size = 384'):
    preflight.vocabulary_fits('zoo_translate')


@pytest.mark.parametrize(
  ('files', 'wrong'),
  [
    ({'a.de-en.de': 'Ja.\n\n', 'a.de-en.en': 'Yes.\nNo.\n'}, 'a.de-en.de, line 2: field "source" is an empty line'),
    ({'a.de-en.de': 'Ja.\n', 'a.de-en.en': ' \n'}, 'a.de-en.de, line 1: field "english" is an empty line.'),
    ({'a.de-en.de': 'Ja.\nNein.\n', 'a.de-en.en': 'Yes.\n'}, 'a.de-en.en has only 1 lines; the two must have the'),
  ],
  ids=['empty', 'blank', 'shorter'],
)
def test_what_is_wrong_is_reported(folder, files, wrong):
  write(folder, files)
  with pytest.raises(UserError) as error:
    list(seqio.TaskRegistry.get('zoo_translate_de_en').source.records('train'))
  assert wrong in str(error.value)
