"""Datasets of the examples that generators yield."""

import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from switch_zoo.tasks import example_datasets

FLAT = {
  'inputs': tf.TensorSpec([], tf.string),
  'label': tf.TensorSpec([], tf.int32),
  'x': tf.TensorSpec([], tf.float32),
}
LISTS = {**FLAT, 'answers': tf.TensorSpec([None], tf.string)}


def example(number):
  return {'inputs': f'é{number}', 'label': number, 'x': number / 2, 'answers': ['a'] * (number % 3)}


def read(dataset):
  return [
    {name: value.tolist() if hasattr(value, 'tolist') else value for name, value in row.items()}
    for row in tfds.as_numpy(dataset)
  ]


@pytest.mark.parametrize('fields', [FLAT, LISTS], ids=['batched', 'one by one'])
@pytest.mark.parametrize('count', [0, 1, 64, 150])
def test_examples_become_a_dataset(fields, count):
  dataset = example_datasets.from_examples(lambda: map(example, range(count)), fields)
  assert dataset.element_spec == fields
  expected = [{'inputs': f'é{n}'.encode(), 'label': n, 'x': n / 2, 'answers': [b'a'] * (n % 3)} for n in range(count)]
  assert read(dataset) == [{name: row[name] for name in fields} for row in expected]


def test_each_iteration_calls_the_function_again():
  calls = []

  def examples():
    calls.append(None)
    return iter([example(1)])

  dataset = example_datasets.from_examples(examples, FLAT)
  assert not calls
  assert read(dataset) == read(dataset)
  assert len(calls) == 2


@pytest.mark.parametrize('fields', [FLAT, LISTS], ids=['batched', 'one by one'])
def test_files_are_interleaved_in_a_fixed_order(fields):
  """Two files of 65 examples each, more than fit in a batch, and one file of one."""
  sizes = {'a': 65, 'b': 65, 'c': 1}

  def examples(path):
    assert isinstance(path, str)
    return ({**example(number), 'inputs': f'{path}{number}'} for number in range(sizes[path]))

  dataset = example_datasets.from_files(tf.data.Dataset.from_tensor_slices(list(sizes)), examples, fields, parallel=2)
  first, again = ([row['inputs'].decode() for row in read(dataset)] for _ in range(2))
  assert first == again
  assert sorted(first) == sorted(f'{path}{number}' for path, size in sizes.items() for number in range(size))
  for path, size in sizes.items():
    assert [name for name in first if name[0] == path] == [f'{path}{number}' for number in range(size)]
