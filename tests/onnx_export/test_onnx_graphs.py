"""The graphs of an ONNX export against the Keras model and Hugging Face's, and against themselves."""

import dataclasses
import functools
import os

import numpy as np
import onnx_harness as harness
import pytest
import tensorflow as tf

from switch_zoo.checkpoints import sources
from switch_zoo.errors import UserError
from switch_zoo.keras.attention import relative_bucket
from switch_zoo.onnx_export import feed_forward, positions, products
from switch_zoo.onnx_runner import searching, sessions
from switch_zoo.onnx_runner.beam_rules import TransformersBeam
from switch_zoo.onnx_runner.processors import LogitsProcessors
from switch_zoo.onnx_runner.sessions import Decoding
from switch_zoo.onnx_runner.settings import AnswerSettings

TARGETS = np.array([[5, 9, 200, 1], [30, 31, 1, 0], [7, 1, 0, 0], [40, 50, 60, 70]], np.int64)


@pytest.fixture(scope='module')
def exported(tmp_path_factory):
  """Architecture and dtype -> config, weights, folder of the version; each is made once."""

  @functools.cache
  def make(architecture, dtype):
    config, weights = harness.tiny(architecture)
    version = harness.export(config, weights, tmp_path_factory.mktemp('exports') / 'tiny', dtype)
    return config, weights, version

  return make


def logits_of(graphs, inputs, targets):
  """Whole targets at once. -> <float32>[B, T, V]"""
  return graphs.decode(np.pad(targets, [(0, 0), (1, 0)])[:, :-1], graphs.encode(inputs))[0].copy()


@pytest.mark.parametrize('architecture', harness.ARCHITECTURES)
def test_scores_and_greedy_answers_are_those_of_keras(exported, architecture):
  config, weights, version = exported(architecture, 'float32')
  inputs, graphs, keras = harness.ids(config), harness.graphs(version), harness.keras(config, weights)
  as_tensor = lambda array: tf.constant(array, tf.int32)
  expected = harness.generation.score(keras, as_tensor(inputs), as_tensor(TARGETS)).numpy()
  np.testing.assert_allclose(searching.score(graphs, inputs, TARGETS), expected, rtol=0, atol=1e-4)
  answers = tf.function(lambda x: harness.generation.answer(keras, x, 9))(as_tensor(inputs))
  found = searching.answer(graphs, inputs, AnswerSettings(9))
  np.testing.assert_array_equal(found.ids[:, 0], answers.ids)
  np.testing.assert_allclose(found.scores[:, 0], answers.scores, rtol=0, atol=1e-4)
  assert len({tuple(row) for row in found.ids[:, 0].tolist()}) > 1, 'answers that are all the same show little'


@pytest.mark.parametrize('dtype', products.DTYPES)
@pytest.mark.parametrize('architecture', harness.ARCHITECTURES)
def test_with_and_without_cache_alone_and_in_a_batch(exported, architecture, dtype):
  """Of tokens one by one the logits are those of all at once, and of a text alone those of a batch, in int8 too."""
  config, _, version = exported(architecture, dtype)
  graphs, inputs = harness.graphs(version), harness.ids(config)
  whole = logits_of(graphs, inputs, TARGETS)
  decoding = Decoding(graphs, graphs.encode(inputs), len(inputs), capacity=2)  # grows once
  before = np.pad(TARGETS, [(0, 0), (1, 0)])
  steps = [decoding.read(before[:, place, None], place)[0].copy() for place in range(TARGETS.shape[1])]
  np.testing.assert_allclose(np.concatenate(steps, 1), whole, rtol=1e-4, atol=1e-4)
  for row, length in enumerate((inputs != 0).sum(1)):
    alone = logits_of(graphs, inputs[row : row + 1, :length], TARGETS[row : row + 1])
    np.testing.assert_allclose(alone[0], whole[row], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('architecture', harness.ARCHITECTURES)
def test_int8_is_close_and_the_checker_passes(exported, architecture):
  import onnx

  config, _, version = exported(architecture, 'int8')
  inputs = harness.ids(config)
  both = [harness.graphs(exported(architecture, dtype)[2]) for dtype in products.DTYPES]
  float32, int8 = (logits_of(graphs, inputs, TARGETS)[:, :, : config.num_target_ids] for graphs in both)
  # With random weights, a token for which two experts are nearly as likely may go to the other one.
  assert np.corrcoef(float32.ravel(), int8.ravel())[0, 1] > (0.9 if config.num_experts else 0.97)
  assert not np.array_equal(float32, int8)
  for dtype in products.DTYPES:
    for part in ('encoder', 'decoder'):
      onnx.checker.check_model(f'{exported(architecture, dtype)[2]}/{part}.onnx')


@pytest.mark.parametrize('architecture', ['dense', 'top-1 of many'])
def test_products_for_processors_without_vnni_give_the_same(exported, architecture, monkeypatch):
  config, _, version = exported(architecture, 'int8')
  inputs = harness.ids(config)
  expected = logits_of(harness.graphs(version), inputs, TARGETS)
  monkeypatch.setattr(sessions, 'sums_overflow', lambda: True)
  np.testing.assert_allclose(logits_of(harness.graphs(version), inputs, TARGETS), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
  ('flags', 'overflow'), [('fpu avx2', True), ('avx2 avx512_vnni', False), ('avx2 avx_vnni', False), ('asimd', False)]
)
def test_processors_whose_sums_of_8_bits_overflow(flags, overflow, tmp_path):
  (tmp_path / 'cpuinfo').write_text(f'processor\t: 0\nflags\t\t: {flags}\nbugs\t: none\n')
  assert sessions.sums_overflow(str(tmp_path / 'cpuinfo')) == overflow
  assert not sessions.sums_overflow(str(tmp_path / 'another'))


def test_ids_that_pad_the_table_are_never_chosen(exported):
  config, _, version = exported('dense', 'float32')
  assert config.num_target_ids < config.target_vocab_size
  logits = logits_of(harness.graphs(version), harness.ids(config), TARGETS)
  assert (logits[:, :, config.num_target_ids :] < -1e29).all()


def test_weights_are_stored_once_and_int8_in_a_quarter(exported):
  config, _, float32 = exported('top-1', 'float32')
  size = os.path.getsize(f'{float32}/weights.bin')
  assert size < 4 * config.num_parameters + 100 * 4096  # tensors begin at pages
  assert os.path.getsize(f'{exported("top-1", "int8")[2]}/weights.bin') < size


@pytest.mark.parametrize('bidirectional', [True, False])
def test_the_table_of_positions_is_that_of_the_buckets(bidirectional):
  distances = np.arange(-300, 301)
  expected = relative_bucket(tf.constant(distances, tf.int32), 32, bidirectional).numpy()
  np.testing.assert_array_equal(positions.buckets(distances, 32, bidirectional), expected)


def test_columns_of_a_weight_are_quantized_each_by_itself():
  weight = np.array([[1.0, 0.0, -300.0], [-2.0, 0.0, 100.0]], np.float32)
  values, scales = products.quantize_columns(weight)
  assert values.tolist() == [[64, 0, -127], [-127, 0, 42]]
  np.testing.assert_allclose(scales, [2 / 127, 1, 300 / 127], rtol=1e-6)


SIZES = {
  'vocab_size': 384,
  'd_model': 16,
  'd_kv': 4,
  'd_ff': 24,
  'num_heads': 3,
  'num_layers': 2,
  'num_decoder_layers': 2,
  'initializer_factor': 1.5,
  'decoder_start_token_id': 0,
}


def hugging_face(kind):
  transformers = pytest.importorskip('transformers')
  if kind != 'switch':
    return transformers.T5ForConditionalGeneration(transformers.T5Config(**SIZES, feed_forward_proj=kind))
  config = transformers.SwitchTransformersConfig(
    **SIZES, num_experts=11, num_sparse_encoder_layers=1, num_sparse_decoder_layers=1, expert_capacity=1000,
    router_jitter_noise=0.0)  # fmt: skip
  return transformers.SwitchTransformersForConditionalGeneration(config)


@pytest.mark.parametrize('kind', ['switch', 'relu', 'gated-gelu'])
def test_logits_greedy_answers_and_beams_are_those_of_hugging_face(kind, tmp_path):
  torch = pytest.importorskip('torch')
  torch.manual_seed(0)
  theirs = hugging_face(kind).eval()
  theirs.save_pretrained(tmp_path / 'saved')
  source = sources.open_source(str(tmp_path / 'saved'))
  version = harness.export(
    source.config, {name: source.whole(name) for name in source.config.variables}, tmp_path / 'o'
  )
  graphs, inputs = harness.graphs(version), harness.ids(source.config)
  given = {'input_ids': torch.tensor(inputs), 'attention_mask': torch.tensor(inputs != 0)}
  with torch.no_grad():
    expected = theirs(**given, decoder_input_ids=torch.tensor(np.pad(TARGETS, [(0, 0), (1, 0)])[:, :-1])).logits.numpy()
    greedy = theirs.generate(**given, max_new_tokens=12, do_sample=False).numpy()[:, 1:]
    beams = theirs.generate(
      **given, max_new_tokens=12, num_beams=4, num_return_sequences=2, length_penalty=0.7, repetition_penalty=1.3,
      no_repeat_ngram_size=2, min_new_tokens=3, do_sample=False)  # fmt: skip
  np.testing.assert_allclose(logits_of(graphs, inputs, TARGETS), expected, rtol=0, atol=1e-4)
  found = searching.answer(graphs, inputs, AnswerSettings(12)).ids[:, 0]
  np.testing.assert_array_equal(found, greedy)
  settings = AnswerSettings(
    12, beam=TransformersBeam(4, 0.7), processors=LogitsProcessors(1.3, 2, 3), num_return_sequences=2
  )
  found = searching.answer(graphs, inputs, settings).ids.reshape(8, -1)
  length = max(found.shape[1], beams.shape[1] - 1)
  padded = lambda rows: np.pad(rows, [(0, 0), (0, length - rows.shape[1])])
  np.testing.assert_array_equal(padded(found), padded(beams.numpy()[:, 1:]))


def test_a_router_that_sees_the_whole_batch_is_refused():
  config = dataclasses.replace(harness.tiny('top-1')[0], router='expert_choice')
  with pytest.raises(UserError, match='runs in Mesh-TensorFlow only'):
    feed_forward.check(config)
