"""Span corruption of batches: T5's ids for the same documents and seed, and by hand."""

import gzip
import json

import numpy as np
import pytest
import seqio
import tensorflow as tf
import tensorflow_datasets as tfds
from t5.data import preprocessors as t5_preprocessors

from switch_zoo.errors import UserError
from switch_zoo.tasks import data_folder, registration, span_corruption, vocabularies

SEED = 3


@pytest.fixture(autouse=True)
def byte_vocabulary(monkeypatch):
  """Ids of bytes: 'a' is 100; 259 to 358 are the sentinels, <extra_id_0> the last."""
  monkeypatch.setenv(vocabularies.VARIABLE, 'bytes')


def read(dataset):
  return [{key: value.tolist() for key, value in row.items()} for row in tfds.as_numpy(dataset)]


def ours(texts, lengths, **options):
  dataset = tf.data.Dataset.from_tensor_slices({'text': texts})
  with seqio.utils.map_seed_manager(SEED):
    return read(span_corruption.span_corruption(dataset, lengths, registration.features(), **options))


def theirs(texts, lengths, **options):
  features = registration.features()
  dataset = tf.data.Dataset.from_tensor_slices({'inputs': [''] * len(texts), 'targets': texts})
  dataset = seqio.preprocessors.tokenize(dataset, features, copy_pretokenized=False)
  with seqio.utils.map_seed_manager(SEED):
    dataset = t5_preprocessors.span_corruption(dataset, lengths, features, **options)
  return read(seqio.preprocessors.append_eos_after_trim(dataset, features, lengths))


def texts(*lengths):
  random = np.random.default_rng(0)
  return [bytes(random.integers(97, 123, length).astype(np.uint8)) for length in lengths]


@pytest.mark.parametrize(
  ('documents', 'lengths', 'options'),
  [
    (texts(1), (32, 16), {}),
    (texts(2, 0, 40), (32, 16), {}),
    (texts(*range(5, 900, 6)), (512, 114), {}),
    (texts(300, 100), (64, 64), {'noise_density': 0.5, 'mean_noise_span_length': 1.5}),
    (texts(100, 70_000, 140_000), (512, 114), {}),
  ],
  ids=['one token', 'empty between', 'more than a batch', 'other noise', 'longer than T5 takes'],
)
def test_ids_are_those_of_t5(documents, lengths, options):
  lengths = dict(zip(('inputs', 'targets'), lengths, strict=True))
  found = ours(documents, lengths, **options)
  assert found == theirs(documents, lengths, **options)
  assert found


def test_segments_fill_inputs_and_targets():
  """568 tokens: 85 of noise in 28 spans. Inputs 483 + 28 + 1 = 512, targets 85 + 28 + 1 = 114."""
  rows = ours(texts(568 * 3), {'inputs': 512, 'targets': 114})
  assert [(len(row['inputs']), len(row['targets'])) for row in rows] == [(512, 114)] * 3


def test_inputs_and_targets_fit_together_again():
  (text,) = texts(30)
  (row,) = ours([text], {'inputs': 64, 'targets': 64})
  assert row['inputs'][-1] == row['targets'][-1] == 1
  spans, sentinel = {}, None
  for token in row['targets'][:-1]:
    if token > 258:
      sentinel = token
      spans[sentinel] = []
    else:
      spans[sentinel].append(token)
  assert list(spans) == [358 - number for number in range(len(spans))]
  whole = [token for one in row['inputs'][:-1] for token in spans.get(one, [one])]
  assert bytes(token - 3 for token in whole) == text


def test_targets_that_do_not_fit():
  with pytest.raises(UserError, match='inputs of 512 makes targets of 114; TARGETS_LENGTH is 64'):
    ours(texts(9), {'inputs': 512, 'targets': 64})


def test_a_mask_by_hand():
  """10 tokens, 4 of noise in 2 spans: sorted draws cut the 6 that stay after 2, and the 4 after 3."""
  length = tf.constant([10])
  noise = tf.constant([[0.9, 0.1, 0.5]])  # the first of three is the greatest: cut after the third
  rest = tf.constant([[0.3, 0.2, 0.9, 0.8, 0.7]])  # the first of five is the second smallest: cut after the second
  mask = span_corruption.noise_mask(length, noise, rest, 10, density=0.4, span=2.0)
  assert read(tf.data.Dataset.from_tensors({'mask': mask})) == [{'mask': [[bool(int(x)) for x in '0011100001']]}]


@pytest.fixture
def shards(tmp_path, monkeypatch):
  """Three shards of C4 with ten documents each."""
  monkeypatch.setenv(data_folder.VARIABLE, str(tmp_path))
  (tmp_path / 'en').mkdir()
  for shard in range(3):
    rows = [json.dumps({'text': f'{shard}{row} ' * 40, 'url': 'u', 'timestamp': 't'}) for row in range(10)]
    path = tmp_path / 'en' / f'c4-train.{shard:05}-of-01024.json.gz'
    path.write_bytes(gzip.compress('\n'.join(rows).encode()))


def test_the_task_is_the_same_again_with_a_seed(shards):
  lengths = {'inputs': 64, 'targets': 32}
  task = seqio.get_mixture_or_task('zoo_c4_span')
  first, again, other = (
    read(task.get_dataset(lengths, 'train', shuffle=True, seed=seed).take(9)) for seed in (1, 1, 2)
  )
  assert first == again != other
  assert {len(row['inputs']) for row in first} == {64}
