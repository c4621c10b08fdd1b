"""Span corruption of many segments at once, with exactly the ids of T5 (`t5.data.preprocessors.span_corruption`).

B segments  L tokens of a segment  N noise tokens  R tokens that stay  K spans of noise, and of tokens that stay

T5 runs some sixty small operations for every segment of 568 tokens. Here only the random numbers, whose seeds belong to
a segment, are drawn for each; everything else is done for a batch. Source: arXiv:1910.10683, section 3.1.4 and 3.3.4.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import gin
import seqio
import tensorflow as tf
from t5.data import preprocessors as t5_preprocessors

from switch_zoo.errors import UserError
from switch_zoo.tasks import vocabularies

BATCH = 128  # segments
LONGEST = 65536  # tokens of a document; of a longer one T5 takes a random part of that length
_CONCATENATED = 128  # documents
_ROW = tf.RaggedTensorSpec([None], tf.int32)

_Tensors = dict[str, tf.Tensor]


@gin.configurable(module='tasks')  # pyright: ignore[reportCallIssue] - gin has no types
@tf.autograph.experimental.do_not_convert  # nothing in it is to be converted, and looking for it takes seconds
def span_corruption(
  dataset: tf.data.Dataset,
  sequence_length: Mapping[str, int],
  output_features: Mapping[str, seqio.utils.Feature],
  noise_density: float = 0.15,
  mean_noise_span_length: float = 3.0,
) -> tf.data.Dataset:
  """Masks spans of tokens: 'a b c d e' becomes 'a <0> d e' and '<0> b c'.

  Documents are concatenated and cut so that inputs and targets, with the end of sequence that is added to each, have
  their lengths without padding: at 15 percent and spans of 3, 568 tokens become inputs of 512 and targets of 114.

  Args:
    dataset: documents, {'text': <string>[]}
    sequence_length: of 'inputs' and 'targets', the end of sequence included
    output_features: whose vocabulary has the sentinels as its last ids
    noise_density: share of tokens that are masked
    mean_noise_span_length: mean length of a span, in tokens
  Returns:
    {'inputs': <int32>[length], 'targets': <int32>[length]}, each with an end of sequence
  Raises:
    UserError: the targets are longer than sequence_length allows
  """
  length, targets_length = t5_preprocessors.random_spans_helper(
    inputs_length=sequence_length['inputs'],
    noise_density=noise_density,
    mean_noise_span_length=mean_noise_span_length,
    extra_tokens_per_span_inputs=1,
    extra_tokens_per_span_targets=1,
  )
  if sequence_length['targets'] < targets_length:
    raise UserError(
      f'Span corruption of inputs of {sequence_length["inputs"]} makes targets of {targets_length}; TARGETS_LENGTH '
      f'is {sequence_length["targets"]}. Set it to at least {targets_length}, or shorten INPUTS_LENGTH.'
    )
  dataset = _segments(dataset, length, output_features['targets'].vocabulary)
  noise = round(length * noise_density)
  dataset = _map_with_seeds(functools.partial(_draws, counts=(noise, length)), dataset).batch(BATCH)
  corrupt = functools.partial(
    _corrupt, density=noise_density, span=mean_noise_span_length, features=output_features, lengths=sequence_length
  )
  return dataset.map(corrupt, num_parallel_calls=tf.data.AUTOTUNE).unbatch()


def _map_with_seeds(function: Callable[..., _Tensors], dataset: tf.data.Dataset) -> tf.data.Dataset:
  """Maps a function of a row and its `seed`; the seeds follow from the calls so far, as in T5."""
  mapped: Any = seqio.map_over_dataset(function, num_seeds=1)(dataset)
  return mapped


def _segments(dataset: tf.data.Dataset, length: int, vocabulary: seqio.Vocabulary) -> tf.data.Dataset:
  """Documents -> {'tokens': <int32>[length], 'length': <int32>[]}: tokenized, concatenated by 128 and cut."""
  dataset = _map_with_seeds(lambda row, seed: {'text': row['text'], 'seed': seed}, dataset)
  dataset = dataset.batch(_CONCATENATED)
  dataset = dataset.map(lambda batch: _cut(batch, length, vocabulary), num_parallel_calls=tf.data.AUTOTUNE)
  # T5 draws a number here that only segments of random length would need; it counts for the seeds of what follows.
  return _map_with_seeds(lambda row, seed: row, dataset).unbatch()


def _cut(batch: _Tensors, length: int, vocabulary: seqio.Vocabulary) -> _Tensors:
  documents = vocabulary.encode_tf(batch['text'])  # ragged <int32>[documents, any]
  if not isinstance(documents, tf.RaggedTensor):  # a vocabulary that takes one text at a time
    documents = tf.map_fn(vocabulary.encode_tf, batch['text'], fn_output_signature=_ROW)
  longest = tf.reduce_max(documents.row_lengths())
  flat = tf.cond(longest > LONGEST, lambda: _chunks(documents, batch['seed']), lambda: documents.values)
  segments = -(-tf.size(flat) // length)
  tokens = tf.reshape(tf.pad(flat, [[0, segments * length - tf.size(flat)]]), [segments, length])
  return {'tokens': tokens, 'length': tf.minimum(tf.size(flat) - length * tf.range(segments), length)}


def _chunks(documents: tf.RaggedTensor, seeds: tf.Tensor) -> tf.Tensor:
  """The part of each document that T5 takes, one after the other. <int32>[any]"""

  def chunk(row: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
    document, seed = row
    part = t5_preprocessors.single_example_select_random_chunk(
      {'targets': document}, tf.unstack(seed), output_features={}, max_length=LONGEST, feature_key='targets'
    )
    return part['targets']

  return tf.map_fn(chunk, (documents, seeds), fn_output_signature=_ROW).values


def _draws(example: _Tensors, seed: tf.Tensor, counts: tuple[int, int]) -> _Tensors:
  """The random numbers that T5 sorts for a segment's noise and for the rest.

  T5 draws as many as the segment needs. The first numbers are the same if more are drawn.
  """
  seeds = tf.unstack(tf.random.split(seed, 6))[:2]
  noise, rest = (tf.random.stateless_uniform([count], one) for count, one in zip(counts, seeds, strict=True))
  return {**example, 'noise': noise, 'rest': rest}


def _counts(length: tf.Tensor, density: float) -> tuple[tf.Tensor, tf.Tensor]:
  """N and R of segments, <int32>[B]; each at least 1, in segments of at least 2."""
  length = tf.maximum(length, 2)
  noise = tf.cast(tf.round(tf.cast(length, tf.float32) * density), tf.int32)
  noise = tf.minimum(tf.maximum(noise, 1), length - 1)
  return noise, length - noise


def _corrupt(
  batch: _Tensors,
  density: float,
  span: float,
  features: Mapping[str, seqio.utils.Feature],
  lengths: Mapping[str, int],
) -> _Tensors:
  """Segments and their random numbers -> ragged inputs and targets with their ends."""
  tokens, length = batch['tokens'], batch['length']
  is_noise = noise_mask(length, batch['noise'], batch['rest'], tf.shape(tokens)[1], density, span)
  is_token = tf.sequence_mask(length, tf.shape(tokens)[1])
  sentinel = vocabularies.first_sentinel(features['targets'].vocabulary)
  corrupted = {
    'inputs': _with_sentinels(tokens, is_noise, is_token, sentinel),
    'targets': _with_sentinels(tokens, tf.logical_not(is_noise), is_token, sentinel),
  }
  ended = seqio.preprocessors.append_eos_after_trim_impl(corrupted, features, lengths)
  return {name: tf.cast(value, features[name].dtype) for name, value in ended.items()}


def noise_mask(
  length: tf.Tensor, noise_draws: tf.Tensor, rest_draws: tf.Tensor, width: int | tf.Tensor, density: float, span: float
) -> tf.Tensor:
  """Which tokens are masked: K spans that stay and K spans of noise alternate, all ways of cutting equally likely.

  Args:
    length: <int32>[B], tokens of each segment
    noise_draws: <float32>[B, N - 1 or more], random numbers in [0, 1)
    rest_draws: <float32>[B, R - 1 or more], the same
    width: L
    density: share of tokens that are masked
    span: mean length of a span of noise
  Returns:
    <bool>[B, L]
  """
  noise, rest = _counts(length, density)
  spans = tf.maximum(tf.cast(tf.round(tf.cast(noise, tf.float32) / span), tf.int32), 1)
  max_spans = tf.reduce_max(spans)
  parts = [_random_parts(rest_draws, rest, spans, max_spans), _random_parts(noise_draws, noise, spans, max_spans)]
  alternating = tf.reshape(tf.stack(parts, axis=2), [-1, 2 * max_spans])  # [B, K, 2] -> [B, 2 K]
  starts = tf.cumsum(alternating, axis=1)[:, :-1]
  # The missing spans of a shorter segment begin where it ends: one column more than there are tokens takes them.
  begins = _count(starts, width + 1)[:, :width]
  return tf.equal(tf.cumsum(begins, axis=1) % 2, 1)


def _random_parts(draws: tf.Tensor, items: tf.Tensor, parts: tf.Tensor, max_parts: tf.Tensor) -> tf.Tensor:
  """Cuts `items` [B] into `parts` [B] pieces of at least 1: their lengths, <int32>[B, max_parts], 0 after the last."""
  draws = tf.where(tf.sequence_mask(items - 1, tf.shape(draws)[1]), draws, 2.0)
  first = draws[:, : max_parts - 1]
  # T5 sorts: the position of a number in the sorted row is how many are smaller, or equal and before it.
  smaller = tf.reduce_sum(tf.cast(draws[:, None, :] < first[:, :, None], tf.int32), axis=2)
  before = tf.range(max_parts - 1) < tf.range(max_parts - 1)[:, None]
  # tf.equal: with TensorFlow 1's behaviour, which Mesh-TensorFlow turns on, == compares objects.
  equal = tf.equal(first[:, None, :], first[:, :, None]) & before
  position = smaller + tf.reduce_sum(tf.cast(equal, tf.int32), axis=2)
  cuts = tf.where(tf.range(max_parts - 1) < parts[:, None] - 1, position + 1, items[:, None])
  ends = tf.concat([tf.sort(cuts, axis=1), items[:, None]], axis=1)
  return ends - tf.pad(ends[:, :-1], [[0, 0], [1, 0]])


def _count(values: tf.Tensor, width: int | tf.Tensor) -> tf.Tensor:
  """How often each of 0 .. width - 1 is in a row. <int32>[B, any] -> <int32>[B, width]."""
  rows = tf.shape(values)[0]
  flat = values + width * tf.range(rows)[:, None]
  return tf.reshape(tf.math.bincount(tf.reshape(flat, [-1]), minlength=rows * width), [rows, width])


def _with_sentinels(tokens: tf.Tensor, replaced: tf.Tensor, exists: tf.Tensor, sentinel: int) -> tf.RaggedTensor:
  """Every run of replaced tokens becomes one sentinel, counted down. <int32>[B, L] -> ragged <int32>[B, any]."""
  replaced = replaced & exists
  continues = replaced & tf.pad(replaced[:, :-1], [[0, 0], [1, 0]])
  begins = replaced & tf.logical_not(continues)
  sentinels = sentinel + 1 - tf.cumsum(tf.cast(begins, tf.int32), axis=1)
  return tf.ragged.boolean_mask(tf.where(begins, sentinels, tokens), exists & tf.logical_not(continues))
