"""Beam search against all answers of a vocabulary of five."""

import dataclasses
import functools
import itertools

import numpy as np
import pytest
import tensorflow as tf

import switch_zoo
from switch_zoo.keras import SwitchTransformer, generation
from switch_zoo.keras.generation import Beam
from switch_zoo.spec.token_ids import END

LENGTH, VOCAB = 3, 5
# As many as there are unfinished answers: nothing is left out, and the search must find the best.
ALL = (VOCAB - 1) ** (LENGTH - 1)
INPUTS = np.array([[2, 3, 4, 1], [4, 1, 0, 0], [3, 3, 2, 1]], np.int32)
SMALL = [
  'd_model = 8',
  'd_ff = 16',
  'd_kv = 4',
  'num_heads = 2',
  'num_encoder_layers = 1',
  "activation_dtype = 'float32'",
]


def made(seed):
  """A model with few ids, which gin files would pad to 128, and with logits far from even."""
  tf.keras.utils.set_random_seed(seed)
  config = switch_zoo.load_config('tiny_dense', SMALL)
  model = SwitchTransformer(dataclasses.replace(config, vocab_size=VOCAB, target_vocab_size=VOCAB))
  for variable, weight in model.named_weights.items():
    if 'scale' not in variable:
      weight.assign(2 * weight)
  return model


def all_answers(model, inputs):
  """Every answer that ends, and every one of LENGTH that does not: ids -> log-probability."""
  chances = {(): 0.0}
  answers = {}
  for _ in range(LENGTH):
    prefixes = list(chances)
    read = np.pad(np.array(prefixes, np.int32).reshape(len(prefixes), -1), [(0, 0), (1, 0)])
    batch = {'encoder_input_tokens': np.repeat(inputs[None], len(prefixes), 0), 'decoder_input_tokens': read}
    logs = tf.nn.log_softmax(model(batch)[:, -1]).numpy().astype(np.float64)
    extended = {
      (*prefix, token): chances[prefix] + logs[row, token]
      for (row, prefix), token in itertools.product(enumerate(prefixes), range(VOCAB))
    }
    answers |= {ids: chance for ids, chance in extended.items() if ids[-1] == END}
    chances = {ids: chance for ids, chance in extended.items() if ids[-1] != END}
  return answers, chances


@functools.cache
def model_and_answers(seed):
  """A model, and all answers of it that end."""
  model = made(seed)
  return model, [all_answers(model, inputs)[0] for inputs in INPUTS]


# The best answers of the second model hold the id 0, which is padding only behind an end.
@pytest.mark.parametrize('seed', [2, 6])
@pytest.mark.parametrize('alpha', [-1.0, 0.6, 3.0])
def test_the_best_of_all_answers_is_found(alpha, seed):
  model, answers_of_inputs = model_and_answers(seed)
  found = model.generate(INPUTS, LENGTH, beam=Beam(ALL, alpha))
  for answers, ids, score in zip(answers_of_inputs, found.ids.numpy(), found.scores.numpy(), strict=True):
    best = max(answers, key=lambda ids: answers[ids] / ((5 + len(ids)) / 6) ** alpha)
    assert tuple(ids[: len(best)]) == best
    assert not ids[len(best) :].any()
    np.testing.assert_allclose(score, answers[best], rtol=1e-4)


def test_the_best_five_of_all_answers_are_found():
  model, answers_of_inputs = model_and_answers(2)
  found = model.generate(INPUTS, LENGTH, beam=Beam(ALL), num_return_sequences=5)
  rank = lambda ids: answers[ids] / ((5 + len(ids)) / 6) ** 0.6
  for row, answers in enumerate(answers_of_inputs):
    best = sorted(answers, key=rank, reverse=True)[:5]
    assert [tuple(ids[: len(b)]) for ids, b in zip(found.ids[row].numpy(), best, strict=True)] == best
    np.testing.assert_allclose(found.scores[row], [answers[ids] for ids in best], rtol=1e-4)
    np.testing.assert_allclose(found.beam_scores[row], list(map(rank, best)), rtol=1e-4)


def test_where_too_few_end_unfinished_answers_follow_them():
  """The end may only be the first token: one answer ends, the others do not."""
  model, answers_of_inputs = model_and_answers(2)
  inference = model.for_inference()
  to_logits = inference.to_logits
  calls = []

  def ends_at_first_only(x):
    calls.append(1)
    return tf.where((tf.range(VOCAB) == END) & (len(calls) > 1), -1e12, to_logits(x))

  inference.to_logits = ends_at_first_only
  found = generation.beam_search(inference, tf.constant(INPUTS), LENGTH, Beam(8), num_return_sequences=3)
  for row, answers in enumerate(answers_of_inputs):
    ids = found.ids[row].numpy()
    assert ids[0].tolist() == [END, 0, 0] and END not in ids[1:]
    np.testing.assert_allclose(found.scores[row, 0], answers[(END,)], rtol=1e-4)
    assert found.scores[row, 1] >= found.scores[row, 2]


def test_where_nothing_ends_the_best_unfinished_answer_is_given():
  model, _ = model_and_answers(2)
  inference = model.for_inference()
  to_logits = inference.to_logits
  inference.to_logits = lambda x: tf.where(tf.range(VOCAB) == END, -1e12, to_logits(x))
  found = generation.beam_search(inference, tf.constant(INPUTS), LENGTH, Beam(ALL))
  for row, inputs in enumerate(INPUTS):
    expected = {}
    _, unfinished = all_answers(model, inputs)
    # The end has no probability left: what the others have is shared out at every token, so compare ranks by hand.
    for ids in unfinished:
      read = np.array([[0, *ids[:-1]]], np.int32)
      logits = model({'encoder_input_tokens': inputs[None], 'decoder_input_tokens': read})[0].numpy()
      logits[:, END] = -np.inf
      logs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
      expected[ids] = sum(logs[place, token] for place, token in enumerate(ids))
    best = max(expected, key=expected.get)
    assert tuple(found.ids[row].numpy()) == best
    np.testing.assert_allclose(found.scores[row], expected[best], rtol=1e-4)


@pytest.mark.parametrize('size', [1, 2])
def test_beams_of_a_batch_do_not_mix(size):
  model, _ = model_and_answers(2)
  together = model.generate(INPUTS, LENGTH, beam=Beam(size))
  for row, inputs in enumerate(INPUTS):
    alone = model.generate(inputs[None], LENGTH, beam=Beam(size))
    np.testing.assert_array_equal(together.ids[row, : alone.ids.shape[1]], alone.ids[0])
    np.testing.assert_allclose(together.scores[row], alone.scores[0], rtol=1e-4)
