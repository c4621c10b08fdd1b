"""Documents for pre-training: where they are found, how text is cut, what is left out, what a mixture takes."""

import gzip
import json

import gin
import pytest
import seqio
import tensorflow_datasets as tfds

from switch_zoo.errors import UserError
from switch_zoo.tasks import data_folder, documents, plain_text, pretraining, vocabularies
from switch_zoo.tasks.raw_files import MalformedRow


@pytest.fixture
def folder(tmp_path, monkeypatch):
  monkeypatch.setenv(data_folder.VARIABLE, str(tmp_path))
  monkeypatch.setenv(vocabularies.VARIABLE, 'bytes')
  return tmp_path


def write(path, *texts):
  path.parent.mkdir(parents=True, exist_ok=True)
  rows = '\n'.join(json.dumps({'text': text, 'timestamp': '', 'url': ''}) for text in texts).encode()
  path.write_bytes(gzip.compress(rows) if path.suffix == '.gz' else rows)


def texts(source, split='train'):
  return [row['text'].decode() for row in tfds.as_numpy(source.get_dataset(split, shuffle=False))]


@pytest.mark.parametrize('place', ['c4/en', 'en', 'c4', ''])
def test_c4_is_found_as_it_is_downloaded(folder, place):
  write(folder / place / 'c4-train.00000-of-01024.json.gz', 'a', 'b')
  write(folder / place / 'c4-train.00007-of-01024.json', 'c')
  write(folder / place / 'c4-train.00007-of-01024.json.gz', 'c')
  write(folder / place / 'c4-validation.00000-of-00008.json.gz', 'd')
  source = seqio.get_mixture_or_task('zoo_c4_span').source
  assert texts(source, 'validation') == ['d']
  assert texts(source) == ['a', 'b', 'c']  # a file that is there plain and compressed is read once
  assert source.num_input_examples('train') is None


def test_mc4_tells_languages_and_splits_apart(folder):
  write(folder / 'multilingual/c4-bg.tfrecord-00000-of-01024.json.gz', 'bg')
  write(folder / 'multilingual/c4-bg-Latn.tfrecord-00000-of-00064.json.gz', 'latin')
  write(folder / 'multilingual/c4-bg-validation.tfrecord-00000-of-00001.json.gz', 'held out')
  source = seqio.get_mixture_or_task('zoo_mc4_bg').source
  assert (texts(source), texts(source, 'validation')) == (['bg'], ['held out'])
  assert texts(seqio.get_mixture_or_task('zoo_mc4_bg_latn').source) == ['latin']


def test_the_languages_are_those_of_tensorflow_datasets():
  from tensorflow_datasets.text import c4

  assert sorted(pretraining.LANGUAGES) == sorted(c4.MC4_LANGUAGES)


def test_a_mixture_takes_the_languages_that_are_there(folder):
  mixture = seqio.get_mixture_or_task('zoo_mc4')
  assert len(mixture.tasks) == len(pretraining.LANGUAGES)
  for language, words in (('sw', 1), ('en', 10_000)):
    for split in ('', '-validation'):
      write(folder / f'mc4/c4-{language}{split}.tfrecord-0.json', 'word ' * words)
  assert [task.name for task in mixture.tasks] == ['zoo_mc4_en', 'zoo_mc4_sw']
  sizes = [(folder / f'mc4/c4-{language}.tfrecord-0.json').stat().st_size for language in ('en', 'sw')]
  assert [mixture.get_rate(task) for task in mixture.tasks] == [size**0.3 for size in sizes]
  gin.parse_config('mc4_rate.exponent = 1.0')
  assert [mixture.get_rate(task) for task in mixture.tasks] == sizes


def test_repeated_lines():
  assert documents.without_repeated_lines('a b\nc\n\n a  b\n\nd\nc') == 'a b\nc\n\n\nd'
  assert documents.without_repeated_lines('') == ''


def test_repeated_lines_go_if_gin_says_so(folder):
  write(folder / 'en/c4-train.0.json', 'menu\nstory\nmenu', 'menu')
  source = seqio.get_mixture_or_task('zoo_c4_span').source
  assert texts(source) == ['menu\nstory\nmenu', 'menu']
  gin.parse_config('documents.remove_duplicates = True')
  assert texts(source) == ['menu\nstory', 'menu']


def test_a_text_is_cut_into_documents_of_whole_lines(tmp_path, monkeypatch):
  monkeypatch.setattr(plain_text, '_PIECE', 10)
  path = tmp_path / 'a.txt'
  path.write_bytes(b'one two\r\n\r\nthree\nfour\n\xff\nfive\n')
  first, bad, last = plain_text.TextPieces().rows(str(path))
  assert (first.line, first.value) == (1, {'text': 'one two\nthree'})
  assert isinstance(bad, MalformedRow) and bad.line == 5
  assert (last.line, last.value) == (4, {'text': 'four\nfive'})


def test_plain_text_is_split_by_what_it_says(folder, monkeypatch):
  monkeypatch.setattr(plain_text, '_PIECE', 3)
  (folder / 'books').mkdir()
  (folder / 'books/a.txt').write_text('\n'.join(f'line {number}' for number in range(500)))
  (folder / 'books/b.txt').write_text('the end')
  gin.parse_config(["text_corpus.files = 'books/*.txt'", 'text_corpus.held_out = 10'])
  source = seqio.get_mixture_or_task('zoo_text_span').source
  train, validation = texts(source), texts(source, 'validation')
  assert sorted(train + validation) == sorted([f'line {number}' for number in range(500)] + ['the end'])
  assert 25 < len(validation) < 75
  gin.parse_config("text_corpus.validation = 'books/b.txt'")
  assert texts(source, 'validation') == ['the end'] and len(texts(source)) == 501
  assert not source.state().missing


def test_no_plain_text_is_named(folder):
  source = plain_text.TextSource()
  with pytest.raises(UserError, match='No plain text is named. Name .txt or .txt.gz files with --gin_param="text_co'):
    source.check('train')
  gin.parse_config("text_corpus.files = 'books/*.txt'")
  assert source.state().missing == ('text_corpus: there is no file "books/*.txt".',)
  gin.parse_config('text_corpus.held_out = 1')
  with pytest.raises(UserError, match='held_out = 1: it must be at least 2; one document in that many is kept'):
    source.check('train')


@pytest.mark.parametrize('objective', ['prefix_lm', 'iid'])
def test_other_objectives_are_t5s(folder, objective):
  """Prefix language modelling shows the beginning and asks for the end; no objective loses text."""
  text = 'abcdefghij' * 3
  write(folder / 'c4-train.0.json', text)
  lengths = {'inputs': 64, 'targets': 64}
  task = seqio.get_mixture_or_task(f'zoo_c4_{objective}')
  (row,) = tfds.as_numpy(task.get_dataset(lengths, 'train', shuffle=False, seed=0))
  inputs, targets = ([token for token in row[key].tolist() if 3 <= token < 259] for key in ('inputs', 'targets'))
  assert len(inputs) + len(targets) == len(text) and targets
  if objective == 'prefix_lm':
    assert bytes(token - 3 for token in inputs + targets).decode() == text
