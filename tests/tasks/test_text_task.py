"""Tasks of texts: the same ids as seqio's, without waiting for a thousand passes over a small file."""

import json
import time

import gin
import numpy as np
import pytest
import seqio
import tensorflow as tf
import tensorflow_datasets as tfds

from switch_zoo.tasks import cut_texts, file_rows, text_task, vocabularies

LENGTHS = {'inputs': 16, 'targets': 4}


@pytest.fixture(scope='module')
def pieces(tmp_path_factory):
  path = tmp_path_factory.mktemp('vocabulary') / 'pieces.model'
  words = [f'{a}{b} {b}{c}ing' for a in 'abcdef' for b in ('one', 'two', 'three') for c in 'uvw']
  vocabularies.train([' '.join(words[i : i + 9]) for i in range(len(words))] * 3, path, 36)
  return str(path)


@pytest.fixture(params=['bytes', 'pieces'])
def write(request, tmp_path, monkeypatch):
  """Writes rows as zoo_file's training and validation data."""
  monkeypatch.setenv(vocabularies.VARIABLE, 'bytes' if request.param == 'bytes' else request.getfixturevalue('pieces'))

  text_task.TextTask._cut_texts.cache_clear()  # what has been reported

  def write(rows):
    path = tmp_path / 'a.jsonl'
    path.write_text(''.join(json.dumps({'inputs': inputs, 'targets': targets}) + '\n' for inputs, targets in rows))
    gin.parse_config([f'zoo_file.{split} = {str(path)!r}' for split in ('train', 'validation')])
    return seqio.get_mixture_or_task('zoo_file')

  return write


def read(dataset):
  return [{key: np.asarray(value).tolist() for key, value in row.items()} for row in tfds.as_numpy(dataset)]


TEXTS = [
  ('', ''),
  ('aone', 'b'),
  ('aone ' * 20, 'btwo'),
  ('\u00e9 one\n' * 5000, 'x'),
  ('x' * 20_000, 'cthree'),
  (' ' * 50_000 + 'aone btwo', 'z' * 3000),
  ('\u65e5\u672c\u8a9e' * 9000, '1'),
  ('atwo cuing' + ' ' * 9000 + 'aone' * 99, 'd'),
]


def test_ids_are_those_of_seqio(write):
  task = write(TEXTS)
  ours = read(task.get_dataset(LENGTHS, 'validation', shuffle=False))
  theirs = read(seqio.Task.get_dataset(task, LENGTHS, 'validation', shuffle=False))
  assert ours == theirs and len(ours) == len(TEXTS)
  assert max(len(row['inputs']) for row in ours) == LENGTHS['inputs']


def test_cuts_are_counted_once(write, capfd):
  task = write([('a', 'b'), ('aone ' * 20, 'b'), ('aone ' * 9000, 'btwo ' * 9000)])
  for _ in range(2):
    read(task.get_dataset({'inputs': 17, 'targets': 5}, 'train', shuffle=False))
  read(task.get_dataset({'inputs': 100_000, 'targets': 100_000}, 'train', shuffle=False))
  (line,) = capfd.readouterr().err.splitlines()
  assert line == (
    'zoo_file, train: the tokens after the limit were cut off examples: 2 with inputs longer than INPUTS_LENGTH = 17, '
    '1 with targets longer than TARGETS_LENGTH = 5.'
  )


def test_every_pass_has_every_row_once(write):
  rows = [('a' * number, '') for number in range(9)]
  task = write(rows)
  dataset = task.get_dataset(LENGTHS, 'train', seed=1, num_epochs=None).take(27)
  lengths = [len(row['inputs']) for row in read(dataset)]
  passes = [lengths[:9], lengths[9:18], lengths[18:]]
  assert passes[0] != passes[1] != passes[2] and sorted(passes[0]) == sorted(passes[1]) == sorted(passes[2])
  assert [len(row['inputs']) for row in read(dataset)] == lengths  # with a seed, in the same order again
  assert set(dataset.element_spec) == {'inputs', 'targets'}


def test_a_small_file_with_a_long_row_begins_at_once(write):
  task = write([('short', 'x')] * 12 + [('aone btwo ' * 500_000, 'y')])
  begin = time.monotonic()
  read(task.get_dataset({'inputs': 512, 'targets': 114}, 'train', num_epochs=None).take(600))
  assert time.monotonic() - begin < 20


def test_a_slow_beginning_is_reported(capsys):
  now = [100.0]
  first = file_rows.FirstExamples(1, lambda: now[0])
  for _ in first.reported(iter([{}] * 5)):
    now[0] += 6
  for _ in first.reported(iter([{}] * 5)):  # the second pass
    now[0] += 60
  assert capsys.readouterr().err.splitlines() == [
    'Reading: 3 examples in 12 s. Up to 16,384 are shuffled before the first step.',
    'Reading: 5 examples in 24 s. Up to 16,384 are shuffled before the first step.',
  ]


def test_a_feature_without_an_end():
  feature = seqio.Feature(seqio.ByteVocabulary(), add_eos=False)
  with tf.compat.v1.Session() as session:
    ids, is_longer = session.run(cut_texts._ids(tf.constant('abc'), feature, 2))
  assert ids.tolist() == [3 + ord('a'), 3 + ord('b')] and is_longer
