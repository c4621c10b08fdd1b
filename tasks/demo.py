"""Registers the tasks of the demo: `zoo_demo_span` (pre-training) and `zoo_demo_topics` (paragraph to its section).

Both read the text that comes with every CPython; their vocabulary is found by `vocabularies.demo_vocabulary_file`.
"""

import random
from collections.abc import Mapping, Sequence

import seqio
import tensorflow as tf
from t5.data import preprocessors as t5_preprocessors
from t5.evaluation import metrics

from switch_zoo.tasks import pydoc_topics, registration, vocabularies

SPAN_TASK = 'zoo_demo_span'
TOPICS_TASK = 'zoo_demo_topics'
PREFIX = 'section: '

_VOCABULARY = vocabularies.LazyVocabulary(vocabularies.demo_vocabulary_file)
_SHUFFLED = 1000  # segments or paragraphs


def span_documents(split: str, shuffle_files: bool, seed: int | None = None) -> tf.data.Dataset:
  """Documents for span corruption, {'text': <string>[]}; if requested, shuffled all together."""
  del split
  documents = list(pydoc_topics.documents())
  if shuffle_files:
    random.Random(seed).shuffle(documents)
  return _dataset([{'text': document} for document in documents])


def topic_rows(split: str, shuffle_files: bool, seed: int | None = None) -> tf.data.Dataset:
  """Paragraphs, {'text': <string>[], 'section': <string>[]}; seqio shuffles them."""
  del shuffle_files, seed
  return _dataset([row._asdict() for row in pydoc_topics.rows(split)])


def as_question(dataset: tf.data.Dataset) -> tf.data.Dataset:
  """{'text': 'Sets a stop.', 'section': 'debugger'} -> {'inputs': 'section: Sets a stop.', 'targets': 'debugger'}"""
  return dataset.map(
    lambda row: {'inputs': tf.strings.join([PREFIX, row['text']]), 'targets': row['section']},
    num_parallel_calls=tf.data.AUTOTUNE,
  )


def _dataset(rows: Sequence[Mapping[str, str]]) -> tf.data.Dataset:
  """Rows with the same keys as a dataset. A generator, so that the text does not end up in graphs and checkpoints."""
  signature = {key: tf.TensorSpec([], tf.string) for key in rows[0]}
  return tf.data.Dataset.from_generator(lambda: iter(rows), output_signature=signature)


registration.add_task(
  SPAN_TASK,
  seqio.FunctionDataSource(span_documents, splits=('train',)),
  preprocessors=(
    lambda dataset: seqio.preprocessors.rekey(dataset, {'inputs': None, 'targets': 'text'}),
    *map(
      tf.autograph.experimental.do_not_convert,  # nothing in them is to be converted, and looking for it takes seconds
      (seqio.preprocessors.tokenize, t5_preprocessors.span_corruption, seqio.preprocessors.append_eos_after_trim),
    ),
  ),
  vocabulary=_VOCABULARY,
  shuffled=_SHUFFLED,
)
registration.add_task(
  TOPICS_TASK,
  seqio.FunctionDataSource(topic_rows, splits=('train', 'validation')),
  (metrics.accuracy,),
  preprocessors=tuple(map(tf.autograph.experimental.do_not_convert, (as_question, *registration.TOKENIZED))),
  vocabulary=_VOCABULARY,
  shuffled=_SHUFFLED,
)
