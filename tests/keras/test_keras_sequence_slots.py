"""Room for a number of tokens of each sequence in an expert, against transformers."""

import copy

import numpy as np
import pytest
import tensorflow as tf

import switch_zoo
from switch_zoo.errors import UserError
from switch_zoo.keras import SwitchTransformer, generation
from switch_zoo.keras.experts import SwitchFeedForward
from switch_zoo.keras.sequence_slots import chosen_capacity, with_room

LENGTH, EXPERTS, RELEASED = 512, 8, 64


def saved(folder, capacity):
  """A Switch Transformer of transformers with 8 experts, and its folder."""
  torch = pytest.importorskip('torch')
  transformers = pytest.importorskip('transformers')
  torch.manual_seed(0)
  config = transformers.SwitchTransformersConfig(
    vocab_size=128,
    d_model=16,
    d_kv=4,
    d_ff=24,
    num_heads=3,
    num_layers=2,
    num_decoder_layers=2,
    num_experts=EXPERTS,
    num_sparse_encoder_layers=1,
    num_sparse_decoder_layers=1,
    expert_capacity=capacity,
    initializer_factor=2.0,
    decoder_start_token_id=0,
  )
  theirs = transformers.SwitchTransformersForConditionalGeneration(config).eval()
  theirs.save_pretrained(folder)
  return theirs, str(folder)


@pytest.fixture(scope='module', params=[RELEASED, 5])
def case(request, tmp_path_factory):
  return saved(tmp_path_factory.mktemp('saved'), request.param)


@pytest.fixture(scope='module')
def ids():
  """A full sequence and a shorter one, and targets long enough to overflow."""
  generator = np.random.default_rng(0)
  inputs = generator.integers(3, 128, [2, LENGTH]).astype(np.int32)
  inputs[1, 300:] = 0
  targets = generator.integers(3, 128, [2, 200]).astype(np.int32)
  targets[0, 180:] = 0
  return inputs, targets


def expected_logits(theirs, inputs, targets):
  torch = pytest.importorskip('torch')
  shifted = np.pad(targets, [[0, 0], [1, 0]])[:, :-1]
  with torch.no_grad():
    return theirs(
      input_ids=torch.tensor(inputs).long(),
      attention_mask=torch.tensor(inputs != 0),
      decoder_input_ids=torch.tensor(shifted).long(),
    ).logits


def logits_of(ours, inputs, targets):
  shifted = np.pad(targets, [[0, 0], [1, 0]])[:, :-1]
  return ours({'encoder_input_tokens': inputs, 'decoder_input_tokens': shifted}).numpy()


def test_logits(case, ids):
  """As near to what transformers computes in float64 as it is itself in float32.

  How near that is depends on the processor: with these weights, of twice the usual size, about 1e-3 of 18.
  """
  theirs, folder = case
  real = ids[1] != 0
  exact = expected_logits(copy.deepcopy(theirs).double(), *ids).numpy()[real]
  rounding = expected_logits(theirs, *ids).numpy()[real] - exact
  error = logits_of(switch_zoo.load(folder, expert_capacity='checkpoint'), *ids)[real] - exact
  assert np.linalg.norm(error) < 2 * np.linalg.norm(rounding) and np.abs(error).max() < 4 * np.abs(rounding).max()
  assert np.abs(rounding).max() < 5e-3
  # By default all tokens have room, which is something else here.
  assert np.abs(logits_of(switch_zoo.load(folder), *ids)[real] - exact).max() > 0.1


def test_scores(case, ids):
  torch = pytest.importorskip('torch')
  theirs, folder = case
  inputs, targets = ids
  log_probabilities = torch.log_softmax(expected_logits(theirs, inputs, targets), -1)
  chosen = log_probabilities.gather(-1, torch.tensor(targets).long()[..., None])[..., 0].numpy()
  ours = switch_zoo.load(folder, expert_capacity=theirs.config.expert_capacity)
  np.testing.assert_allclose(ours.score(inputs, targets), (chosen * (targets != 0)).sum(-1), rtol=1e-4)


@pytest.mark.parametrize('beams', [1, 2])
def test_answers(case, ids, beams):
  """The encoder drops tokens; the decoder, which reads one at a time, none."""
  torch = pytest.importorskip('torch')
  theirs, folder = case
  inputs, _ = ids
  with torch.no_grad():
    expected = theirs.generate(
      torch.tensor(inputs).long(),
      attention_mask=torch.tensor(inputs != 0),
      max_new_tokens=10,
      do_sample=False,
      num_beams=beams,
      length_penalty=0.0,
    ).numpy()[:, 1:]
  # Behind the end, its beam search repeats the end.
  expected = np.where(np.cumsum(expected == 1, 1) - (expected == 1) > 0, 0, expected)
  ours = switch_zoo.load(folder, expert_capacity='checkpoint')
  answers = ours.generate(inputs, 10, generation.Beam(beams, 0.0) if beams > 1 else None)
  np.testing.assert_array_equal(answers.ids, expected)


def test_rows_by_hand():
  """Two sequences, of 5 and 3 rows; room for two tokens of each in an expert. -1 goes nowhere and takes no room."""
  expert, first = tf.constant([1, 1, 0, 1, 1, 1, -1, 1]), tf.constant([0, 0, 0, 0, 0, 5, 5, 5])
  np.testing.assert_array_equal(with_room(expert, first, 2, 2), [1, 1, 0, -1, -1, 1, -1, 1])


def test_training_has_the_same_room():
  """All experts in one product, as in training, and only those with tokens: the same tokens are dropped."""
  # Of few rows, the activation could set all to 0, which would look like a token that was dropped.
  layer = SwitchFeedForward(6, 64, 2, jitter=0.0, balance_loss_coef=0.0, expert_capacity=3)
  x, real = tf.random.stateless_normal([2, 10, 6], [1, 2]), tf.sequence_mask([10, 7], 10)
  evaluated = layer(x, real)
  np.testing.assert_allclose(layer(x, real, training=True), evaluated, atol=1e-6)
  dropped = tf.reduce_all(tf.equal(evaluated, 0.0), -1).numpy()
  assert not dropped[:, :3].any() and (dropped.sum(1) >= [4, 4]).all()


def test_more_room_than_tokens():
  layer = SwitchFeedForward(6, 5, 2, jitter=0.0, balance_loss_coef=0.0, expert_capacity=1000)
  x, real = tf.random.stateless_normal([2, 10, 6], [1, 2]), tf.ones([2, 10], tf.bool)
  np.testing.assert_allclose(layer(x, real, training=True), layer(x, real), atol=1e-6)
  assert (np.abs(layer(x, real)).max(-1) > 0).any()


CONFIG = switch_zoo.load_config('tiny_switch_8')
SETTINGS = {None: None, 'none': None, 7: 7, '7': 7}


@pytest.mark.parametrize(('setting', 'expected'), SETTINGS.items())
def test_settings(setting, expected):
  assert chosen_capacity(setting, CONFIG) == expected


@pytest.mark.parametrize(
  ('setting', 'model', 'message'),
  [
    (0, 'tiny_switch_8', 'expert_capacity=0: give a number of tokens of at least 1'),
    ('-3', 'tiny_switch_8', 'expert_capacity=-3: give a number'),
    ('all', 'tiny_switch_8', 'expert_capacity=all: give a number'),
    ('checkpoint', 'tiny_switch_8', 'nothing states a number for tiny_switch_8'),
    (5, 'tiny_dense', 'tiny_dense has no experts'),
    (5, 'moe_base_128', 'moe_base_128 sends them to several'),
  ],
)
def test_settings_that_make_no_sense(setting, model, message):
  with pytest.raises(UserError, match=message):
    chosen_capacity(setting, switch_zoo.load_config(model))


def test_two_capacities():
  with pytest.raises(UserError, match='capacity_factor=1.0 counts slots in a group, expert_capacity=5 in a sequence'):
    SwitchTransformer(CONFIG, capacity_factor=1.0, expert_capacity=5)


def test_a_saved_model_keeps_it():
  model = SwitchTransformer(CONFIG, expert_capacity=5)
  assert SwitchTransformer.from_config(model.get_config()).expert_capacity == model.for_inference().expert_capacity == 5
