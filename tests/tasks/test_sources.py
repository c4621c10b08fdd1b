"""A source over official files: where it finds them, in what order, and its messages about what is missing or bad."""

import gzip
import json

import gin
import pytest
import seqio
import tensorflow as tf
import tensorflow_datasets as tfds

from switch_zoo.errors import UserError
from switch_zoo.tasks import data_folder, fields
from switch_zoo.tasks.readers import JsonLines
from switch_zoo.tasks.sources import ReleaseSource, SourceState
from switch_zoo.tasks.split_files import SplitFiles
from switch_zoo.tasks.tfds_rows import TfdsDataset

WHERE = 'Get it at example.org.'
LABELS = {'y': 'yes', 'n': 'no'}


def rows(row):
  """{'q': 'a', 'label': 'y', 'times': 2} -> twice 'q: a' to 'yes'"""
  label = LABELS[fields.one_of(row, 'label', tuple(LABELS))]
  for _ in range(row.get('times', 1)):
    yield {'inputs': f'q: {fields.text(row, "q")}', 'targets': label}


@pytest.fixture
def folder(tmp_path, monkeypatch):
  monkeypatch.setenv(data_folder.VARIABLE, str(tmp_path))
  return tmp_path


@pytest.fixture
def source():
  layouts = {
    'train': [SplitFiles('train.jsonl', JsonLines(), rows), SplitFiles('part-*.jsonl', JsonLines(), rows)],
    'validation': [SplitFiles('val.jsonl', JsonLines(), rows)],
  }
  return ReleaseSource(('suite/set', 'set'), layouts, WHERE)


def write(path, *questions, end='\n', **more):
  path.parent.mkdir(parents=True, exist_ok=True)
  text = end.join(json.dumps({'q': question, 'label': 'y', **more}) for question in questions)
  path.write_bytes(gzip.compress(text.encode()) if path.name.endswith('.gz') else text.encode())


def questions(source, split='train', **options):
  found = tfds.as_numpy(source.get_dataset(split, **{'shuffle': False, **options}))
  return [row['inputs'].decode().removeprefix('q: ') for row in found]


@pytest.mark.parametrize('name', ['suite/set/train.jsonl', 'set/train.jsonl', 'set/train.jsonl.gz'])
def test_a_file_is_found(folder, source, name):
  write(folder / name, 'a', 'b')
  assert questions(source) == ['a', 'b']
  assert source.list_shards('train') == [str(folder / name)]


def test_the_first_of_several_layouts_is_taken(folder, source):
  write(folder / 'set/train.jsonl', 'low')
  write(folder / 'suite/set/part-0.jsonl', 'high')
  assert questions(source) == ['high']


def test_shards_are_read_in_order_and_shuffled_by_the_seed(folder, source):
  for number in range(20):
    write(folder / f'set/part-{number:02}.jsonl.gz', *(f'{number:02} {row}' for row in range(3)))
  first = questions(source)
  assert sorted(first) == [f'{number:02} {row}' for number in range(20) for row in range(3)]
  assert first[:3] == ['00 0', '00 1', '00 2']
  assert questions(source) == first
  assert questions(source, shuffle=True, seed=1) == questions(source, shuffle=True, seed=1) != first
  halves = [questions(source, shard_info=seqio.ShardInfo(index, 2)) for index in range(2)]
  assert sorted(halves[0] + halves[1]) == sorted(first) and len(halves[0]) == 30


def test_rows_are_counted_as_examples(folder, source):
  write(folder / 'set/train.jsonl', 'a', 'b', times=3)
  assert questions(source) == ['a', 'a', 'a', 'b', 'b', 'b']
  assert source.num_input_examples('train') == 6
  write(folder / 'set/train.jsonl', 'a', 'b', 'c', times=3)
  assert source.num_input_examples('train') == 9


def test_gin_names_the_folder(folder, source, tmp_path_factory):
  other = tmp_path_factory.mktemp('other')
  write(other / 'set/train.jsonl', 'other')
  gin.parse_config(f'task_data.folder = {str(other)!r}')
  assert questions(source) == ['other']


def test_what_is_missing(folder, source):
  with pytest.raises(UserError, match=r'suite/set/val.jsonl or set/val.jsonl \(or .gz\) in .*no such file. Get it at'):
    source.get_dataset('validation')
  write(folder / 'set/part-1.jsonl', 'a')
  assert source.state() == SourceState((f'suite/set/val.jsonl or set/val.jsonl (or .gz) in {folder}',), WHERE)
  write(folder / 'set/val.jsonl', 'a')
  assert source.state() == SourceState((), WHERE)


def test_no_folder_is_set(monkeypatch, source):
  monkeypatch.delenv(data_folder.VARIABLE, raising=False)
  with pytest.raises(UserError, match='no data folder is set. Set SWITCH_ZOO_DATA_DIR=DIR.*Get it at example.org'):
    source.check('train')
  assert [text.rpartition(' in ')[2] for text in source.state().missing] == ['the data folder'] * 2


def test_a_folder_that_is_not_there(monkeypatch, source):
  monkeypatch.setenv(data_folder.VARIABLE, '/nowhere')
  with pytest.raises(UserError, match='The data folder "/nowhere" is not a folder'):
    source.check('train')


BAD = '{"q": "a", "label": "y"}\n{"q": 1, "label": "y"}\n{"q": "b", "label": "x"}\n{"q": "c"\n{"label": "n"}\n'
SAID = [
  'line 2: field "q" is 1, not text.',
  'line 3: field "label" is \'x\'; it must be one of: y, n.',
  "line 4: not JSON: Expecting ',' delimiter at column 10.",
  'line 5: field "q" is missing; the row has: label.',
]


def test_a_malformed_row_is_an_error_with_its_place(folder, source):
  path = folder / 'set/train.jsonl'
  for number, said in enumerate(SAID, 1):
    path.parent.mkdir(exist_ok=True)
    path.write_text(BAD.splitlines()[number])
    with pytest.raises(UserError) as error:
      source.check('train')
    assert str(error.value) == f'{path}, {said.replace(str(number + 1), "1", 1)}'
    with pytest.raises(tf.errors.OpError, match='UserError: '):
      questions(source)


def test_malformed_rows_are_counted_and_reported_once(folder, source, capsys):
  path = folder / 'set/train.jsonl'
  write(path)
  path.write_text(BAD)
  gin.parse_config('task_data.skip_malformed = True')
  assert questions(source) == ['a']
  assert questions(source) == ['a']
  assert source.num_input_examples('train') == 1
  places = ' '.join(f'{path}, {said}' for said in SAID[:3])
  assert capsys.readouterr().err == f'{path}: 4 of 5 rows are malformed and left out. {places} ... and 1 more\n'


def test_a_bug_in_a_row_function_is_not_skipped(folder):
  write(folder / 'set/train.jsonl', 'a')
  gin.parse_config('task_data.skip_malformed = True')
  broken = ReleaseSource(
    ('set',), {'train': [SplitFiles('train.jsonl', JsonLines(), lambda row: [row['nothing']])]}, WHERE
  )
  with pytest.raises(KeyError):
    broken.check('train')


def test_records_with_their_examples(folder, source):
  write(folder / 'set/train.jsonl', 'a', times=2)
  example = {'inputs': 'q: a', 'targets': 'yes'}
  assert list(source.records('train')) == [({'q': 'a', 'label': 'y', 'times': 2}, [example, example])]


def test_tensorflow_datasets_under_the_same_name(source, monkeypatch):
  """Their rows become the official record, so that the same function makes the examples."""

  def get_dataset(self, split, shuffle, seed):
    assert (split, self.splits, shuffle, seed) == ('validation', {'validation'}, False, None)
    tags = tf.ragged.constant([[b'x'], []])
    return tf.data.Dataset.from_tensor_slices({'question': [b'a', b'b'], 'label': [0, 1], 'tags': tags})

  monkeypatch.setattr(seqio.TfdsDataSource, 'get_dataset', get_dataset)
  monkeypatch.setattr(seqio.TfdsDataSource, 'splits', property(lambda self: set(self._splits)))
  seen = []

  def record(row):
    seen.append(row)
    return {'q': row['question'], 'label': 'yn'[row['label']]}

  source.tfds = TfdsDataset('set:1.0.0', {'validation': 'dev'}, record)
  gin.parse_config('task_data.use_tfds = True')
  assert questions(source, 'validation') == ['a', 'b']
  assert seen == [{'question': 'a', 'label': 0, 'tags': ['x']}, {'question': 'b', 'label': 1, 'tags': []}]
  assert source.num_input_examples('validation') == 2
  assert source.state() == SourceState((), 'TensorFlow Datasets: set:1.0.0')
  assert source.list_shards('validation') == ['validation']


def test_tensorflow_datasets_that_are_not_prepared(source, tmp_path, monkeypatch):
  monkeypatch.setenv('TFDS_DATA_DIR', str(tmp_path))
  source.tfds = TfdsDataset('no_such_set:1.0.0', {'train': 'train'}, dict)
  gin.parse_config('task_data.use_tfds = True')
  with pytest.raises(UserError, match='has no prepared no_such_set:1.0.0.*tfds build'):
    source.check('train')
