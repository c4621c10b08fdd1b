"""The bridge to TensorFlow Datasets, without a source and without a prepared data set."""

import pytest
import seqio
import tensorflow as tf
import tensorflow_datasets as tfds

from switch_zoo.errors import UserError
from switch_zoo.tasks.example_datasets import TEXT_TO_TEXT
from switch_zoo.tasks.tfds_rows import TfdsDataset, TfdsRows


@pytest.fixture
def requests(monkeypatch):
  """Replaces the data set by three rows; records the requests."""
  recorded = []

  def get_dataset(self, split, shuffle, seed):
    recorded.append((self.tfds_dataset.name, split, shuffle, seed))
    tags = tf.ragged.constant([['x'], [], ['y', 'z']])
    return tf.data.Dataset.from_tensor_slices({'q': ['a', 'b', 'é'], 'n': [1, 2, 3], 'tags': tags})

  monkeypatch.setattr(seqio.TfdsDataSource, 'get_dataset', get_dataset)
  return recorded


def dataset(record=lambda row: row):
  return TfdsDataset('set/config:1.0.0', {'train': 'theirs'}, record)


def rows(record):
  for _ in range(record['n']):
    yield {'inputs': record['q'], 'targets': str(record['n'])}


def test_records_have_python_values(requests):
  assert list(dataset().records('train', shuffle=True, seed=7)) == [
    {'q': 'a', 'n': 1, 'tags': ['x']},
    {'q': 'b', 'n': 2, 'tags': []},
    {'q': 'é', 'n': 3, 'tags': ['y', 'z']},
  ]
  assert requests == [('set/config:1.0.0', 'train', True, 7)]


def test_rows_become_records_and_then_examples(requests):
  read = TfdsRows(dataset(lambda row: {'q': row['q'].upper(), 'n': row['n']}), 'train', rows, TEXT_TO_TEXT)
  assert [(record['q'], len(examples)) for record, examples in read.records()] == [('A', 1), ('B', 2), ('É', 3)]
  assert [example['inputs'] for example in read.examples()] == list('ABBÉÉÉ')
  found = tfds.as_numpy(read.dataset(shuffle=True, seed=3, shard_info=None))
  assert [(row['inputs'].decode(), row['targets'].decode()) for row in found] == [
    ('A', '1'),
    *[('B', '2')] * 2,
    *[('É', '3')] * 3,
  ]
  assert requests[-1] == ('set/config:1.0.0', 'train', True, 3)


def test_a_split_is_one_shard():
  read = TfdsRows(dataset(), 'train', rows, TEXT_TO_TEXT)
  assert read.shards == ['train']
  assert read.version != TfdsRows(dataset(), 'test', rows, TEXT_TO_TEXT).version


def test_a_data_set_that_is_not_prepared(tmp_path, monkeypatch):
  monkeypatch.setenv('TFDS_DATA_DIR', str(tmp_path))
  read = TfdsRows(TfdsDataset('no_such_set:1.0.0', {'train': 'train'}, dict), 'train', rows, TEXT_TO_TEXT)
  with pytest.raises(UserError, match='has no prepared no_such_set:1.0.0.*`tfds build no_such_set:1.0.0`'):
    read.check()
