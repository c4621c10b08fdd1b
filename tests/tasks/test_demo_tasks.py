"""The demo's tasks by value."""

import pytest
import seqio
import tensorflow as tf
import tensorflow_datasets as tfds
from t5.data import preprocessors as t5_preprocessors

from switch_zoo.tasks import demo, pydoc_topics, vocabularies

LENGTHS = {'inputs': 32, 'targets': 8}


@pytest.fixture(scope='module')
def vocabulary_file(tmp_path_factory):
  path = tmp_path_factory.mktemp('vocabulary') / 'vocabulary.model'
  vocabularies.train([row.text for row in pydoc_topics.rows('train')], path, num_pieces=924)
  return str(path)


@pytest.fixture(autouse=True)
def vocabulary(vocabulary_file, monkeypatch):
  monkeypatch.setenv(vocabularies.DEMO_VARIABLE, vocabulary_file)
  return demo._VOCABULARY


@pytest.fixture(autouse=True)
def few_documents(monkeypatch):
  """A tenth of the text is enough to test what is made of it."""
  texts = tuple(row.text for row in pydoc_topics.rows('train'))
  monkeypatch.setattr(pydoc_topics, 'documents', lambda: texts)


def read(dataset, most):
  return list(tfds.as_numpy(dataset.take(most)))


def test_a_row_of_the_topics_task(vocabulary):
  row = read(seqio.get_mixture_or_task('zoo_demo_topics').get_dataset(split='validation', shuffle=False), 1)[0]
  first = pydoc_topics.rows('validation')[0]
  assert row['inputs_pretokenized'].decode() == f'section: {first.text}'
  assert row['targets_pretokenized'].decode() == first.section
  assert row['inputs'].tolist() == [*vocabulary.encode(f'section: {first.text}'), 1]
  assert row['targets'].tolist() == [*vocabulary.encode(first.section), 1]
  assert 2 not in row['targets']


def test_answers_are_compared_whole():
  task = seqio.get_mixture_or_task('zoo_demo_topics')
  assert task.metric_fns[0](['types', 'names'], ['types', 'types']) == {'accuracy': 50.0}


def test_as_question():
  rows = tf.data.Dataset.from_tensors({'text': 'Sets a stop.', 'section': 'debugger'})
  assert read(demo.as_question(rows), 1) == [{'inputs': b'section: Sets a stop.', 'targets': b'debugger'}]


def test_span_corruption_is_that_of_t5():
  """The same documents through T5's own preprocessors give the same ids."""
  task = seqio.get_mixture_or_task('zoo_demo_span')
  ours = read(task.get_dataset(LENGTHS, split='train', shuffle=False, seed=3), 20)
  documents = demo.span_documents('train', shuffle_files=False)
  with seqio.utils.map_seed_manager(3):
    dataset = seqio.preprocessors.rekey(documents, {'inputs': None, 'targets': 'text'})
    dataset = seqio.preprocessors.tokenize(dataset, task.output_features)
    dataset = t5_preprocessors.span_corruption(dataset, LENGTHS, task.output_features)
    dataset = seqio.preprocessors.append_eos_after_trim(dataset, task.output_features, LENGTHS)
  theirs = read(dataset, 20)
  assert len(ours) == 20
  for our, their in zip(ours, theirs, strict=True):
    assert our['inputs'].tolist() == their['inputs'].tolist()
    assert our['targets'].tolist() == their['targets'].tolist()


def test_spans_fit_together_again(vocabulary):
  """Text 'a b c d', inputs 'a <0> d', targets '<0> b c': each sentinel once on both sides, 15 percent masked."""
  task = seqio.get_mixture_or_task('zoo_demo_span')
  rows = read(task.get_dataset(LENGTHS, split='train', shuffle=True, seed=0), 50)
  first_sentinel = vocabulary.vocab_size - 1
  for row in rows:
    inputs, targets = row['inputs'].tolist(), row['targets'].tolist()
    assert inputs[-1] == targets[-1] == 1
    sentinels = [i for i in inputs if i > first_sentinel - 100]
    assert sentinels == [first_sentinel - n for n in range(len(sentinels))]
    assert [i for i in targets if i > first_sentinel - 100] == sentinels
  full = [row for row in rows if len(row['inputs']) == 32]
  masked = sum(len(row['targets']) - 1 - 2 for row in full) / sum(len(row['inputs']) - 1 - 2 + 5 for row in full)
  assert abs(masked - 0.15) < 0.01  # 5 of 34 tokens


@pytest.mark.parametrize('task', ['zoo_demo_span', 'zoo_demo_topics'])
def test_order_follows_the_seed(task):
  def inputs(seed):
    dataset = seqio.get_mixture_or_task(task).get_dataset(LENGTHS, split='train', shuffle=True, seed=seed)
    return [row['inputs'].tolist() for row in read(dataset, 5)]

  first = inputs(1)
  assert inputs(1) == first
  assert inputs(2) != first
