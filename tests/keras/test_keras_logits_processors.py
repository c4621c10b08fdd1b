"""The options of transformers' `generate`: each processor against theirs, and whole answers token by token."""

import math

import hypothesis
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import strategies as st

import switch_zoo
from switch_zoo.errors import UserError
from switch_zoo.keras import generation
from switch_zoo.keras.generation import Beam, LogitsProcessors, Sampling, TransformersBeam
from switch_zoo.keras.logits_processors import repetition_penalized, without_repeated_ngrams
from switch_zoo.spec.token_ids import END

torch = pytest.importorskip('torch')
transformers = pytest.importorskip('transformers')

INPUTS = np.array([[5, 9, 7, 100, 33, 1], [20, 3, 1, 0, 0, 0], [90, 91, 92, 93, 1, 0]], np.int32)
SIZES = {
  'vocab_size': 128,
  'd_model': 16,
  'd_kv': 4,
  'd_ff': 24,
  'num_heads': 3,
  'num_layers': 1,
  'num_decoder_layers': 1,
  'initializer_factor': 2.0,
  'decoder_start_token_id': 0,
}
LENGTH = 9


def switch():
  config = transformers.SwitchTransformersConfig(
    **SIZES,
    num_experts=3,
    num_sparse_encoder_layers=1,
    num_sparse_decoder_layers=1,
    expert_capacity=1000,
    router_jitter_noise=0.0,
  )
  return transformers.SwitchTransformersForConditionalGeneration(config)


MODELS = {
  'switch': switch,
  't5': lambda: transformers.T5ForConditionalGeneration(transformers.T5Config(**SIZES, feed_forward_proj='relu')),
}


@pytest.fixture(scope='module', params=MODELS)
def pair(request, tmp_path_factory):
  """A model of theirs with random weights, whose answers end now and then, and ours that read them."""
  torch.manual_seed(4)
  theirs = MODELS[request.param]().eval()
  with torch.no_grad():
    theirs.get_input_embeddings().weight[END] *= 3
  folder = tmp_path_factory.mktemp('saved')
  theirs.save_pretrained(folder)
  return theirs, switch_zoo.load(str(folder))


def theirs_generate(model, **options):
  with torch.no_grad():
    return model.generate(
      torch.tensor(INPUTS).long(),
      attention_mask=torch.tensor(INPUTS != 0),
      max_new_tokens=LENGTH,
      return_dict_in_generate=True,
      output_scores=True,
      **options,
    )


def up_to_end(ids):
  """The tokens of an answer: theirs are padded with something else after a beam search."""
  ids = list(ids)
  return ids[: ids.index(END) + 1] if END in ids else ids


def log_probabilities(theirs, ids):
  """Of each answer, by the model itself, with ids of 0 before the end, which `score` takes for padding. -> [B]"""
  read = torch.tensor(np.pad(ids, [(0, 0), (1, 0)])[:, :-1]).long()
  mask = torch.tensor(INPUTS != 0)
  with torch.no_grad():
    logits = theirs(input_ids=torch.tensor(INPUTS).long(), attention_mask=mask, decoder_input_ids=read).logits
  logs = logits.log_softmax(-1).numpy()
  return [sum(logs[b, t, i] for t, i in enumerate(up_to_end(row))) for b, row in enumerate(np.asarray(ids))]


ids_of = st.lists(st.lists(st.integers(0, 5), min_size=4, max_size=4), min_size=3, max_size=3)


@hypothesis.given(ids_of, st.integers(1, 4), st.integers(1, 6))
@hypothesis.settings(max_examples=60, deadline=None)
def test_banned_ngrams(history, length, size):
  history = np.array(history, np.int32)[:, :length]
  scores = np.random.default_rng(length).normal(size=(3, 6)).astype(np.float32)
  expected = transformers.NoRepeatNGramLogitsProcessor(size)(torch.tensor(history).long(), torch.tensor(scores))
  found = without_repeated_ngrams(tf.constant(scores), tf.constant(history), size)
  np.testing.assert_array_equal(found, expected.numpy())


@hypothesis.given(ids_of, st.sampled_from([0.5, 1.2, 3.0]))
@hypothesis.settings(max_examples=30, deadline=None)
def test_repetition_penalty(history, penalty):
  history = np.array(history, np.int32)
  scores = np.random.default_rng(0).normal(size=(3, 6)).astype(np.float32)
  processor = transformers.RepetitionPenaltyLogitsProcessor(penalty)
  expected = processor(torch.tensor(history).long(), torch.tensor(scores)).numpy()
  np.testing.assert_allclose(repetition_penalized(tf.constant(scores), tf.constant(history), penalty), expected)


def test_an_option_that_is_off_adds_nothing():
  scores = tf.constant([[1.0, 2.0]])
  assert LogitsProcessors().apply(scores, tf.zeros([1, 0], tf.int32), tf.constant(0)) is scores


OPTIONS = [
  {},
  {'repetition_penalty': 1.5},
  {'repetition_penalty': 0.4},
  {'no_repeat_ngram_size': 1},
  {'no_repeat_ngram_size': 2},
  {'min_new_tokens': 4},
  {'min_new_tokens': LENGTH},
  {'forced_bos_token_id': 17},
  {'repetition_penalty': 1.3, 'no_repeat_ngram_size': 3, 'min_new_tokens': 3, 'forced_bos_token_id': 9},
]


@pytest.mark.parametrize('options', OPTIONS, ids=str)
def test_greedy_answers(pair, options):
  theirs, ours = pair
  expected = theirs_generate(theirs, do_sample=False, **options).sequences.numpy()[:, 1:]
  found = ours.generate(INPUTS, LENGTH, processors=LogitsProcessors(**options))
  np.testing.assert_array_equal(found.ids, expected)
  np.testing.assert_allclose(found.scores, log_probabilities(theirs, found.ids), rtol=1e-4)
  assert found.beam_scores is None


BEAMS = [
  (TransformersBeam(3), {}),
  (TransformersBeam(3, 0.0), {}),
  (TransformersBeam(4, 2.0, True), {}),
  (TransformersBeam(4, 2.0, 'never'), {}),
  (TransformersBeam(4, 2.0), {}),
  (TransformersBeam(3, -1.0, 'never'), {}),
  *((TransformersBeam(3), options) for options in OPTIONS[1:]),
  (TransformersBeam(4, 2.0, True), {'no_repeat_ngram_size': 3, 'min_new_tokens': 3}),
]


@pytest.mark.parametrize(('beam', 'options'), BEAMS, ids=str)
def test_beams(pair, beam, options):
  """All beams, best first, with their scores."""
  theirs, ours = pair
  expected = theirs_generate(
    theirs,
    num_beams=beam.size,
    num_return_sequences=beam.size,
    length_penalty=beam.length_penalty,
    early_stopping=beam.early_stopping,
    do_sample=False,
    **options,
  )
  found = ours.generate(
    INPUTS, LENGTH, beam=beam, processors=LogitsProcessors(**options), num_return_sequences=beam.size
  )
  assert found.ids.shape[:2] == found.scores.shape == (3, beam.size)
  flat = found.ids.numpy().reshape(3 * beam.size, -1)
  assert list(map(up_to_end, flat)) == list(map(up_to_end, expected.sequences.numpy()[:, 1:]))
  np.testing.assert_allclose(np.ravel(found.beam_scores), expected.sequences_scores.numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('beam', [TransformersBeam(3), Beam(3)])
def test_the_first_beam_is_the_only_answer_without_the_others(pair, beam):
  _, ours = pair
  many, one = (ours.generate(INPUTS, LENGTH, beam=beam, num_return_sequences=n) for n in (3, 1))
  for several, single in zip(many, one, strict=True):
    np.testing.assert_array_equal(several[:, 0], single)


@pytest.mark.parametrize('beam', [TransformersBeam(3, 0.0), Beam(3)])
def test_scores_are_those_of_the_model_itself_whatever_a_processor_does(pair, beam):
  theirs, ours = pair
  processors = LogitsProcessors(repetition_penalty=1.5, forced_bos_token_id=9)
  found = ours.generate(INPUTS, LENGTH, beam=beam, processors=processors, num_return_sequences=2)
  for n in range(2):
    assert (found.ids[:, n, 0].numpy() == 9).all()
    np.testing.assert_allclose(found.scores[:, n], log_probabilities(theirs, found.ids[:, n]), rtol=1e-4)


def test_some_answers_end_and_some_do_not(pair):
  """Otherwise the tests above would show little."""
  _, ours = pair
  found = ours.generate(INPUTS, LENGTH, beam=TransformersBeam(4), num_return_sequences=4).ids.numpy().reshape(12, -1)
  assert 3 < sum(END in row for row in found) < 12 and len(set(map(tuple, found))) > 8


def test_samples_of_one_input_differ_and_follow_the_processors(pair):
  theirs, ours = pair
  processors = LogitsProcessors(no_repeat_ngram_size=1, min_new_tokens=5, forced_bos_token_id=3)
  draw = lambda seed: ours.generate(
    INPUTS, LENGTH, sampling=Sampling(2.0, 20, 0.95), seed=seed, processors=processors, num_return_sequences=5
  )
  found = draw(1)
  assert found.ids.shape[:2] == found.scores.shape == (3, 5)
  rows = found.ids.numpy().reshape(15, -1)
  assert len(set(map(tuple, rows))) > 10
  for row in map(up_to_end, rows.tolist()):
    assert row[0] == 3 and END not in row[:5]
    assert len(set(row)) == len(row) and 0 not in row  # the start counts as having occurred
  np.testing.assert_array_equal(found.ids, draw(1).ids)
  for n in range(5):
    np.testing.assert_allclose(found.scores[:, n], log_probabilities(theirs, found.ids[:, n]), rtol=1e-4)


def test_samples_belong_to_their_inputs(pair):
  """At a temperature near zero each is the greedy answer."""
  _, ours = pair
  found = ours.generate(INPUTS, LENGTH, sampling=Sampling(1e-3), num_return_sequences=2).ids
  greedy = ours.generate(INPUTS, LENGTH).ids
  for n in range(2):
    np.testing.assert_array_equal(found[:, n], greedy)


def test_an_empty_batch_has_no_answers(pair):
  _, ours = pair
  for options in ({'beam': TransformersBeam(2)}, {'sampling': Sampling(1.0)}):
    found = ours.generate(INPUTS[:0], 4, num_return_sequences=2, processors=LogitsProcessors(1.5, 2), **options)
    assert (found.ids.shape, found.scores.shape) == ((0, 2, 0), (0, 2))


@pytest.mark.parametrize(
  ('arguments', 'message'),
  [
    ({'processors': LogitsProcessors(0.0)}, 'repetition_penalty=0.0 must be above 0'),
    ({'processors': LogitsProcessors(-1.0)}, 'repetition_penalty=-1.0'),
    ({'processors': LogitsProcessors(math.nan)}, 'repetition_penalty=nan'),
    ({'processors': LogitsProcessors(math.inf)}, 'repetition_penalty=inf'),
    ({'processors': LogitsProcessors(no_repeat_ngram_size=-1)}, 'no_repeat_ngram_size=-1 must be 0'),
    ({'processors': LogitsProcessors(min_new_tokens=-1)}, 'min_new_tokens=-1 must be 0'),
    ({'processors': LogitsProcessors(min_new_tokens=5)}, 'min_new_tokens=5 is more than max_new_tokens=4'),
    ({'processors': LogitsProcessors(forced_bos_token_id=-1)}, 'forced_bos_token_id=-1 must be the id of a token'),
    ({'num_return_sequences': 0}, 'num_return_sequences=0 must be at least 1'),
    ({'num_return_sequences': 2}, 'there is only one answer'),
    ({'num_return_sequences': 2, 'sampling': Sampling()}, 'there is only one answer'),
    ({'num_return_sequences': 3, 'beam': Beam(2)}, 'more than the beam size 2'),
    ({'beam': TransformersBeam(0)}, 'beam size 0'),
    ({'beam': TransformersBeam(2, 1.0, 'soon')}, "early_stopping='soon' must be True, False or 'never'"),
  ],
)
def test_settings_that_make_no_sense(arguments, message):
  with pytest.raises(UserError, match=message):
    generation.answer(None, INPUTS, **{'max_new_tokens': 4, **arguments})


def test_a_forced_token_that_the_model_does_not_have(pair):
  with pytest.raises(UserError, match='forced_bos_token_id=128 is not an id of this model: its ids are 0 to 127'):
    pair[1].generate(INPUTS, 4, processors=LogitsProcessors(forced_bos_token_id=128))
