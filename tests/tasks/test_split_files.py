"""A search of the data folder: which folder and which layout win, and the message if there is nothing."""

import pytest

from switch_zoo.errors import UserError
from switch_zoo.tasks import data_folder
from switch_zoo.tasks.readers import AlignedText, JsonLines
from switch_zoo.tasks.split_files import FileFinder, SplitFiles

PLAIN = SplitFiles('train.jsonl', JsonLines(), lambda record: [record])
SHARDS = SplitFiles('part-*.jsonl', JsonLines(), lambda record: [record])
WHERE = 'Get it at example.org.'


@pytest.fixture
def finder():
  return FileFinder(('suite/set', 'set'), {'train': (PLAIN, SHARDS), 'test': (PLAIN,)}, WHERE)


def touch(folder, *names):
  for name in names:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).touch()


@pytest.mark.parametrize(
  ('present', 'layout', 'names'),
  [
    (('set/train.jsonl.gz',), PLAIN, ('set/train.jsonl.gz',)),
    (('set/part-2.jsonl', 'set/part-1.jsonl.gz', 'set/part-1.jsonl'), SHARDS, ('set/part-1.jsonl', 'set/part-2.jsonl')),
    (('set/train.jsonl', 'set/part-1.jsonl'), PLAIN, ('set/train.jsonl',)),
    (('set/train.jsonl', 'suite/set/part-1.jsonl'), SHARDS, ('suite/set/part-1.jsonl',)),
  ],
  ids=['gz', 'shards', 'the first layout', 'the first folder'],
)
def test_the_first_that_is_there_is_found(tmp_path, finder, present, layout, names):
  touch(tmp_path, *present)
  found = finder.find(str(tmp_path), 'train')
  assert (found.layout, found.paths) == (layout, tuple(str(tmp_path / name) for name in names))


def test_a_folder_with_the_name_of_a_file_is_not_found(tmp_path, finder):
  (tmp_path / 'set/train.jsonl').mkdir(parents=True)
  assert finder.find(str(tmp_path), 'train') is None


def test_every_file_that_the_reader_needs_must_be_there(tmp_path):
  files = SplitFiles('*.de', AlignedText(lambda path: path.replace('.de', '.en')), lambda record: [record])
  finder = FileFinder(('',), {'train': (files,)}, WHERE)
  touch(tmp_path, 'a.de')
  assert finder.find(str(tmp_path), 'train') is None
  touch(tmp_path, 'a.en')
  assert finder.find(str(tmp_path), 'train').paths == (str(tmp_path / 'a.de'),)


def test_what_was_searched_for_is_reported(tmp_path, monkeypatch, finder):
  monkeypatch.setenv(data_folder.VARIABLE, str(tmp_path))
  touch(tmp_path, 'set/part-1.jsonl')
  names = f'suite/set/train.jsonl or set/train.jsonl (or .gz) in {tmp_path}'
  assert finder.missing() == (names,)
  with pytest.raises(UserError) as error:
    finder.required('test')
  assert str(error.value) == f'{names}: there is no such file. {WHERE}'
  assert finder.required('train').layout == SHARDS


def test_without_a_data_folder_everything_is_missing(monkeypatch, finder):
  monkeypatch.delenv(data_folder.VARIABLE, raising=False)
  train, test = finder.missing()
  assert train.startswith('suite/set/train.jsonl or suite/set/part-*.jsonl or set/train.jsonl or set/part-*.jsonl (or')
  assert test == 'suite/set/train.jsonl or set/train.jsonl (or .gz) in the data folder'
  with pytest.raises(UserError, match='^The split "test" of suite/set reads files, and no data folder is set.*org.$'):
    finder.required('test')
