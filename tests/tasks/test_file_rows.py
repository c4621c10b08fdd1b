"""Rows of files as examples, without a source: what becomes of malformed ones, and which files are read."""

import json

import pytest
import seqio
import tensorflow_datasets as tfds

from switch_zoo.errors import UserError
from switch_zoo.tasks import fields
from switch_zoo.tasks.example_datasets import TEXT_TO_TEXT
from switch_zoo.tasks.file_rows import FileRows, SkippedRows, examples_of, well_formed
from switch_zoo.tasks.raw_files import BadField, MalformedRow, RawRow
from switch_zoo.tasks.readers import JsonLines
from switch_zoo.tasks.split_files import FoundFiles, SplitFiles


def rows(record):
  """{'q': 'a', 'times': 2} -> two examples"""
  for number in range(record.get('times', 1)):
    yield {'inputs': fields.text(record, 'q'), 'targets': str(number)}


@pytest.fixture
def write(tmp_path):
  """Writes files of the given lines."""

  def write(*files):
    paths = [tmp_path / f'{number}.jsonl' for number in range(len(files))]
    for path, lines in zip(paths, files, strict=True):
      path.write_text('\n'.join(line if isinstance(line, str) else json.dumps(line) for line in lines))
    return FoundFiles(tuple(map(str, paths)), SplitFiles('*.jsonl', JsonLines(), rows))

  return write


def test_a_row_becomes_examples():
  assert examples_of(RawRow('f', 3, {'q': 'a', 'times': 2}), rows) == [
    {'inputs': 'a', 'targets': '0'},
    {'inputs': 'a', 'targets': '1'},
  ]


@pytest.mark.parametrize(
  ('rule', 'end'), [('is bad', 'is bad.'), ('is bad. Did you mean b?', 'is bad. Did you mean b?')]
)
def test_a_bad_field_is_reported_with_its_place(rule, end):
  def refuse(record):
    raise BadField('a', rule)

  with pytest.raises(UserError) as error:
    examples_of(RawRow('f.json', 3, {}, 7), refuse)
  assert str(error.value) == f'f.json, line 3, item 7: field "a" {end}'


def test_a_malformed_row_is_an_error():
  row = RawRow('f', 1, {})
  assert well_formed(row) is row
  with pytest.raises(UserError, match='^f, line 2: not JSON.$'):
    well_formed(MalformedRow('f', 2, 'not JSON.'))


def test_examples_and_records_come_from_all_files_in_order(write):
  files = write([{'q': 'a', 'times': 2}, {'q': 'b'}], [{'q': 'c'}])
  read = FileRows(files, TEXT_TO_TEXT)
  assert [example['inputs'] for example in read.examples()] == ['a', 'a', 'b', 'c']
  assert [(record['q'], len(examples)) for record, examples in read.records()] == [('a', 2), ('b', 1), ('c', 1)]
  assert read.shards == list(files.paths)


def test_the_first_row_is_checked(write):
  FileRows(write([{'q': 'a'}], ['{']), TEXT_TO_TEXT).check()
  FileRows(write([], ['{', {'q': 'a'}]), TEXT_TO_TEXT, SkippedRows()).check()
  with pytest.raises(UserError, match='0.jsonl, line 1: not JSON'):
    FileRows(write(['{'], [{'q': 'a'}]), TEXT_TO_TEXT).check()


@pytest.mark.parametrize(
  ('lines', 'message'),
  [([' ', ''], '0.jsonl, .*1.jsonl: there is not a single row'), ([{'q': 'a', 'times': 0}], 'not a single row')],
)
def test_no_rows(write, lines, message):
  with pytest.raises(UserError, match=message):
    FileRows(write(lines, lines), TEXT_TO_TEXT).check()


def test_no_row_is_left(write):
  with pytest.raises(UserError, match='not a single row .*Malformed rows were left out'):
    FileRows(write(['{'], []), TEXT_TO_TEXT, SkippedRows()).check()


def test_skipped_rows_are_reported_by_file(write, capsys):
  files = write([{'q': 'a'}, '{'], [{'q': 1}, {'q': 'b'}])
  read = FileRows(files, TEXT_TO_TEXT, SkippedRows())
  assert [example['inputs'] for example in read.examples()] == ['a', 'b']
  first, second = capsys.readouterr().err.splitlines()
  assert first.startswith(f'{files.paths[0]}: 1 of 2 rows are malformed and left out. {files.paths[0]}, line 2: ')
  assert second.startswith(f'{files.paths[1]}: 1 of 2 rows are malformed and left out. {files.paths[1]}, line 1: ')
  with pytest.raises(UserError):
    list(read.records())


def test_the_same_report_is_printed_once(capsys):
  skipped = SkippedRows()
  skipped.report('f', 9, [])
  assert not capsys.readouterr().err
  for _ in range(2):
    skipped.report('f', 1234, [f'row {number}.' for number in range(1003)])
  skipped.report('f', 2, ['row 0.'], 7)
  assert capsys.readouterr().err == (
    'f: 1,003 of 1,234 rows are malformed and left out. row 0. row 1. row 2. ... and 1,000 more\n'
    'f: 1 of 2 rows are malformed and left out, and so is everything from line 7 on. row 0.\n'
  )


def test_the_version_changes_with_the_files_and_the_treatment_of_malformed_rows(write):
  versions = {
    FileRows(write([{'q': 'a'}]), TEXT_TO_TEXT).version,
    FileRows(write([{'q': 'a'}]), TEXT_TO_TEXT, SkippedRows()).version,
    FileRows(write([{'q': 'ab'}]), TEXT_TO_TEXT).version,
    FileRows(write([{'q': 'ab'}], [{'q': 'c'}]), TEXT_TO_TEXT).version,
  }
  assert len(versions) == 4
  assert FileRows(write([{'q': 'a'}]), TEXT_TO_TEXT).version in versions


def test_a_dataset_of_some_of_the_files(write):
  read = FileRows(write(*([{'q': name}] for name in 'abcdef')), TEXT_TO_TEXT)
  names = lambda **options: [
    row['inputs'].decode()
    for row in tfds.as_numpy(read.dataset(**{'shuffle': False, 'seed': 0, 'shard_info': None, **options}))
  ]
  assert names() == list('abcdef')
  assert names(shard_info=seqio.ShardInfo(1, 3)) == ['b', 'e']
  assert sorted(names(shuffle=True)) == list('abcdef') != names(shuffle=True)
