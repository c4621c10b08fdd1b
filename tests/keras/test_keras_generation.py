"""Generation against Hugging Face's, a plain beam search, and the model's own logits without a cache."""

from concurrent import futures

import keras_harness
import numpy as np
import pytest
import tensorflow as tf

import switch_zoo
from switch_zoo.errors import UserError
from switch_zoo.keras import SwitchTransformer, generation, inference, scoring
from switch_zoo.keras.generation import Beam, Sampling
from switch_zoo.keras.inference import grown

INPUTS = np.array([[5, 9, 7, 100, 33, 1], [20, 3, 1, 0, 0, 0], [90, 91, 92, 93, 1, 0]], np.int32)
LENGTH = 6
GATED = ["ff_activation = ['gelu', 'linear']", 'tied_embeddings = False']


# Top-1 with tied logits; top-2; dense, gated, with logits of their own.
MODELS = {'tiny_switch_8': ['num_experts = 4'], 'moe_base_128': ['num_experts = 4'], 'tiny_dense': GATED}


@pytest.fixture(scope='module', params=MODELS)
def model(request):
  """A small model whose answers are not all alike: logits far from even, and an end that comes now and then."""
  return made(request.param)


def made(name):
  small = ['d_model = 16', 'd_ff = 32', 'd_kv = 4', 'num_heads = 3', 'vocab_size = 128', 'num_encoder_layers = 2']
  small += ['num_decoder_layers = 2', "activation_dtype = 'float32'"]
  tf.keras.utils.set_random_seed(1)
  model = SwitchTransformer(switch_zoo.load_config(name, small + MODELS[name]))
  for variable, weight in model.named_weights.items():
    if 'kernel' in variable or '/o' in variable:
      weight.assign(weight * 4)
  return model


def logits_without_cache(model, inputs, targets):
  """Logits of the token after `targets`, by reading everything again. -> <float32>[B, V]"""
  read = np.pad(targets, [(0, 0), (1, 0)])
  return model({'encoder_input_tokens': inputs, 'decoder_input_tokens': read})[:, -1].numpy()


def greedy_without_cache(model, inputs):
  answers = np.zeros([len(inputs), 0], np.int32)
  alive = np.ones(len(inputs), bool)
  while alive.any() and answers.shape[1] < LENGTH:
    ids = np.where(alive, logits_without_cache(model, inputs, answers).argmax(-1), 0)
    alive &= ids != 1
    answers = np.concatenate([answers, ids[:, None].astype(np.int32)], 1)
  return answers


@pytest.mark.parametrize('room', [1, 4, 32])
def test_greedy_with_the_cache_is_greedy_without(model, room, monkeypatch):
  monkeypatch.setattr(inference, 'CACHE_GROWTH', room)
  np.testing.assert_array_equal(model.generate(INPUTS, LENGTH).ids, greedy_without_cache(model, INPUTS))


@pytest.mark.parametrize('shape', [[3, 6], [None, None]])
def test_answers_at_the_same_time_do_not_write_into_each_others_caches(shape):
  """The caches are written in place: two runs of one graph must not hold the same one."""
  model = made('tiny_dense').for_inference()
  answer = tf.function(lambda ids: generation.sample(model, ids, 40, Sampling()).scores)
  graph = answer.get_concrete_function(tf.TensorSpec(shape, tf.int32))
  batches = [tf.constant(np.roll(INPUTS, turn, 0)) for turn in range(3)] * 8
  expected = [graph(batch).numpy() for batch in batches]
  with futures.ThreadPoolExecutor(6) as threads:
    np.testing.assert_array_equal(list(threads.map(lambda batch: graph(batch).numpy(), batches)), expected)


def test_an_answer_does_not_depend_on_its_neighbours(model):
  together = model.generate(INPUTS, LENGTH).ids.numpy()
  alone = model.generate(INPUTS[1:2, :3], LENGTH).ids.numpy()[0]
  np.testing.assert_array_equal(alone, together[1, : len(alone)])


def test_nor_does_that_to_a_text_that_is_all_padding(model):
  together = np.where([[1], [0], [1]], INPUTS, 0)
  alone = model.generate(together[1:2], LENGTH).scores
  np.testing.assert_allclose(model.generate(together, LENGTH).scores[1:2], alone, rtol=1e-5)


def plain_beam_search(model, inputs, size, alpha):
  """Of one sequence, with Python lists: the best finished (ids, log-probability), or else the best unfinished one."""
  penalty = lambda length: ((5 + length) / 6) ** alpha
  live, done = [((), 0.0)], []
  for _ in range(LENGTH):
    found = []
    for ids, chance in live:
      logits = logits_without_cache(model, inputs, np.array([ids], np.int32).reshape(1, -1))[0].astype(np.float64)
      logs = logits - np.log(np.exp(logits - logits.max()).sum()) - logits.max()
      found += [(ids + (token,), chance + log) for token, log in enumerate(logs)]
    found = sorted(found, key=lambda hypothesis: -hypothesis[1])[: 2 * size]
    done += [(ids, chance) for ids, chance in found if ids[-1] == 1]
    done = sorted(done, key=lambda hypothesis: -hypothesis[1] / penalty(len(hypothesis[0])))[:size]
    live = [(ids, chance) for ids, chance in found if ids[-1] != 1][:size]
    if len(done) == size and live[0][1] / penalty(LENGTH) <= done[-1][1] / penalty(len(done[-1][0])):
      break
  return done[0] if done else live[0]


def test_beam_search_is_the_plain_one(model, monkeypatch):
  monkeypatch.setattr(inference, 'CACHE_GROWTH', 4)
  size, alpha = 3, 0.6
  answers = model.generate(INPUTS, LENGTH, beam=Beam(size, alpha))
  for row, ids, score in zip(INPUTS, answers.ids.numpy(), answers.scores.numpy(), strict=True):
    expected, chance = plain_beam_search(model, row[None], size, alpha)
    assert tuple(ids[: len(expected)]) == expected
    assert not ids[len(expected) :].any()
    np.testing.assert_allclose(score, chance, rtol=1e-4)


def plain_scores(model, targets):
  """Sums of log-probabilities of all that is no padding, by the model itself. -> <float>[B]"""
  logs = tf.nn.log_softmax(model(keras_harness.as_inputs({'inputs': INPUTS, 'targets': targets}))).numpy()
  return [sum(logs[b, t, i] for t, i in enumerate(row) if i) for b, row in enumerate(targets)]


def test_scores_are_sums_of_log_probabilities(model):
  answers = model.generate(INPUTS, LENGTH)
  expected = plain_scores(model, answers.ids.numpy())
  np.testing.assert_allclose(answers.scores, expected, rtol=1e-4)
  np.testing.assert_allclose(model.score(INPUTS, answers.ids), expected, rtol=1e-4)


def test_padding_inside_a_target_is_read_and_not_scored():
  model = made('tiny_dense')
  targets = np.array([[8, 0, 0, 9, 1], [0, 7, 1, 0, 0], [7, 7, 7, 7, 1]], np.int32)
  np.testing.assert_allclose(model.score(INPUTS, targets), plain_scores(model, targets), rtol=1e-4)


@pytest.mark.parametrize('together', [1, 4, 5])
def test_a_score_does_not_depend_on_how_many_tokens_have_logits_at_a_time(model, together, monkeypatch):
  targets = np.array([[8, 9, 1, 0], [0, 0, 0, 0], [7, 7, 7, 1]], np.int32)
  expected = model.score(INPUTS, targets)
  monkeypatch.setattr(scoring, 'TOKENS_AT_ONCE', together)
  np.testing.assert_allclose(model.score(INPUTS, targets), expected, rtol=1e-5)
  assert expected[1] == 0


def test_a_score_does_not_depend_on_padding(model):
  targets = np.array([[8, 9, 1], [7, 6, 5], [7, 1, 0]], np.int32)
  padded = np.pad(targets, [(0, 0), (0, 4)])
  np.testing.assert_allclose(model.score(INPUTS, padded), model.score(INPUTS, targets), rtol=1e-5)


@pytest.mark.parametrize(('inputs', 'targets'), [(3, 1), (1, 3), (3, 2)])
def test_one_target_is_never_scored_for_several_inputs(inputs, targets):
  model = made('tiny_dense')
  rows = np.array([[8, 9, 1], [7, 6, 1], [7, 1, 0]], np.int32)
  with pytest.raises(UserError, match=f'{inputs} inputs and {targets} targets: give one target for each input'):
    model.score(INPUTS[:inputs], rows[:targets])
  inference = model.for_inference()
  ids = tf.TensorSpec([None, None], tf.int32)
  score = tf.function(lambda i, t: generation.score(inference, i, t)).get_concrete_function(ids, ids)
  with pytest.raises(tf.errors.InvalidArgumentError, match='Not as many targets as inputs'):
    score(tf.constant(INPUTS[:inputs]), tf.constant(rows[:targets]))


def test_no_targets_score_nothing(model):
  np.testing.assert_array_equal(model.score(INPUTS, np.zeros([3, 0], np.int32)), [0, 0, 0])


def test_bfloat16_gives_nearly_the_same_logits(model):
  ids = tf.constant(INPUTS[:, 0])
  found = []
  for m in (model.for_inference(dtype) for dtype in ('bfloat16', 'float32')):
    with m.using(m.read()):
      found.append(m.step(ids, tf.constant(0), m.encode(INPUTS).for_steps(), grown(m.caches(3)))[0])
  # 8 bits of mantissa through four sublayers of weights scaled by 4.
  np.testing.assert_allclose(*found, atol=0.05 * np.abs(found[1]).max())


def test_in_bfloat16_too_attention_takes_its_softmax_in_float32():
  model = made('tiny_dense').for_inference('bfloat16')
  score = tf.function(lambda ids: generation.score(model, ids, ids)).get_concrete_function(tf.constant(INPUTS))
  functions = score.graph.as_graph_def().library.function
  softmax = [node.attr['T'].type for function in functions for node in function.node_def if node.op == 'Softmax']
  # In the functions of both self-attentions and of the attention over the encoder.
  assert softmax == [tf.float32.as_datatype_enum] * 3


def test_sampling_is_repeated_by_its_seed():
  model = made('tiny_dense').for_inference()
  graph = tf.function(lambda seed: generation.sample(model, INPUTS, 4, Sampling(1.0), seed).ids)
  draw = lambda seed: graph(tf.constant(seed)).numpy().tolist()
  assert draw(3) == draw(3)
  assert draw(3) != draw(4)


LOGITS = np.log(np.array([[0.1, 0.5, 0.05, 0.35]], np.float32))


@pytest.mark.parametrize(
  ('sampling', 'tokens'),
  [
    (Sampling(1.0), {0, 1, 2, 3}),
    (Sampling(1.0, top_k=2), {1, 3}),
    (Sampling(1.0, top_k=9), {0, 1, 2, 3}),
    (Sampling(1.0, top_p=0.8), {1, 3}),  # 0.5 is not yet 0.8, 0.5 + 0.35 is
    (Sampling(1.0, top_p=0.9), {0, 1, 3}),
    (Sampling(1.0, top_p=0.01), {1}),
    (Sampling(1e-4), {1}),
    (Sampling(), {1}),
  ],
)
def test_what_sampling_draws_from(sampling, tokens):
  drawn = sampling.draw(np.repeat(LOGITS, 400, 0), tf.constant([0, 0]))
  assert set(drawn.numpy().tolist()) == tokens


def test_temperature_sharpens():
  # 0.5 and 0.35 to the power of 2 are 0.25 and 0.1225: of all four 0.65 and 0.32.
  drawn = Sampling(0.5).draw(np.repeat(LOGITS, 4000, 0), tf.constant([0, 0])).numpy()
  assert abs((drawn == 1).mean() - 0.65) < 0.03


@pytest.mark.parametrize(
  ('arguments', 'message'),
  [
    ({'sampling': Sampling(-1.0)}, 'temperature=-1.0'),
    ({'sampling': Sampling(top_k=-2)}, 'top_k=-2'),
    ({'sampling': Sampling(top_p=0.0)}, 'top_p=0.0'),
    ({'beam': Beam(0)}, 'beam size 0'),
    ({'beam': Beam(), 'sampling': Sampling()}, 'Give either a Beam or a Sampling'),
    ({'max_new_tokens': 0}, 'max_new_tokens=0'),
  ],
)
def test_settings_that_make_no_sense(arguments, message):
  with pytest.raises(UserError, match=message):
    generation.answer(None, INPUTS, **{'max_new_tokens': 4, **arguments})
