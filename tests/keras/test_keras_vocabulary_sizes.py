"""Vocabularies that are not a multiple of 128 in the Keras model, against transformers: padding is never predicted."""

import numpy as np
import pytest
import tensorflow as tf

import switch_zoo
from switch_zoo.keras import CrossEntropy, generation
from switch_zoo.spec.sublayers import padded_vocabulary

torch = pytest.importorskip('torch')
transformers = pytest.importorskip('transformers')

# Small, after resize_token_embeddings to T5's pieces and sentinels, and a regional one.
SIZES = (359, 32_100, 250_100)
WIDTHS = {'d_model': 16, 'd_kv': 6, 'd_ff': 24, 'num_heads': 3, 'num_layers': 2, 'num_decoder_layers': 2}
INPUTS = np.array([[7, 300, 44, 9, 1], [5, 6, 358, 2, 8], [20, 21, 1, 0, 0]], np.int32)
TARGETS = np.array([[7, 9, 4, 1, 0], [11, 5, 1, 0, 0], [8, 8, 2, 6, 1]], np.int32)


def dense(size):
  config = transformers.T5Config(**WIDTHS, vocab_size=size, decoder_start_token_id=0)
  return transformers.T5ForConditionalGeneration(config)


def sparse(size, tied=True):
  config = transformers.SwitchTransformersConfig(
    **WIDTHS,
    vocab_size=size,
    num_experts=3,
    num_sparse_encoder_layers=1,
    num_sparse_decoder_layers=1,
    expert_capacity=1000,
    tie_word_embeddings=tied,
    decoder_start_token_id=0,
  )
  return transformers.SwitchTransformersForConditionalGeneration(config)


def below_zero(size):
  """A model whose logits are all negative: padding with logits of 0 would win."""
  model = sparse(size, tied=False)
  with torch.no_grad():
    model.shared.weight[:, 0] = 9.0
    for stack in (model.encoder, model.decoder):
      stack.embed_tokens.weight.copy_(model.shared.weight)
    model.lm_head.weight[:, 0] = -3.0
  return model


MODELS = {'T5': dense, 'Switch': sparse, 'Switch, all logits negative': below_zero}


@pytest.fixture(scope='module', params=[(name, size) for name in MODELS for size in SIZES], ids=str)
def pair(request, tmp_path_factory):
  """A model of transformers, and ours that read it."""
  name, size = request.param
  torch.manual_seed(1)
  theirs = MODELS[name](size).eval()
  folder = tmp_path_factory.mktemp('saved')
  theirs.save_pretrained(folder)
  return theirs, switch_zoo.load(str(folder))


SHIFTED = np.pad(TARGETS, [[0, 0], [1, 0]])[:, :-1]


def expected_logits(theirs):
  with torch.no_grad():
    return theirs(
      input_ids=torch.tensor(INPUTS).long(),
      attention_mask=torch.tensor(INPUTS != 0),
      decoder_input_ids=torch.tensor(SHIFTED).long(),
    ).logits


def expected_log_probabilities(theirs):
  """<float32>[batch, length] of the targets, 0 for padding."""
  ids = torch.tensor(TARGETS).long()[..., None]
  return torch.log_softmax(expected_logits(theirs), -1).gather(-1, ids)[..., 0].numpy() * (TARGETS != 0)


def logits_of(ours):
  return ours({'encoder_input_tokens': INPUTS, 'decoder_input_tokens': SHIFTED}).numpy()


def test_logits(pair):
  theirs, ours = pair
  expected, logits = expected_logits(theirs).numpy(), logits_of(ours)
  real = TARGETS != 0
  np.testing.assert_allclose(logits[real][:, : expected.shape[-1]], expected[real], atol=1e-4, rtol=1e-4)
  assert logits.shape[-1] == padded_vocabulary(expected.shape[-1])
  assert (logits[..., expected.shape[-1] :] < -1e29).all()


def test_scores(pair):
  theirs, ours = pair
  expected = expected_log_probabilities(theirs).sum(-1)
  np.testing.assert_allclose(ours.score(INPUTS, TARGETS), expected, atol=1e-3, rtol=1e-5)


def test_the_loss(pair):
  """As transformers computes it: labels of -100 do not count."""
  theirs, ours = pair
  labels = torch.tensor(np.where(TARGETS == 0, -100, TARGETS)).long()
  with torch.no_grad():
    output = theirs(input_ids=torch.tensor(INPUTS).long(), attention_mask=torch.tensor(INPUTS != 0), labels=labels)
  np.testing.assert_allclose(CrossEntropy(z_loss=0.0)(TARGETS, logits_of(ours)), output.loss.numpy(), rtol=1e-4)


@pytest.mark.parametrize('beams', [1, 3])
def test_answers(pair, beams):
  theirs, ours = pair
  with torch.no_grad():
    expected = theirs.generate(
      torch.tensor(INPUTS).long(),
      attention_mask=torch.tensor(INPUTS != 0),
      max_new_tokens=6,
      do_sample=False,
      num_beams=beams,
      length_penalty=0.0,
    ).numpy()[:, 1:]
  ids = ours.generate(INPUTS, 6, generation.Beam(beams, 0.0) if beams > 1 else None).ids.numpy()
  np.testing.assert_array_equal(ids, expected)


def test_samples_are_real_ids(pair):
  """At a temperature that makes all ids equally likely."""
  theirs, ours = pair
  ids = ours.generate(INPUTS, 20, sampling=generation.Sampling(temperature=1e6), seed=3).ids.numpy()
  assert ids.max() < theirs.config.vocab_size


def test_an_export(tmp_path):
  """A SavedModel answers without the padding, too."""
  theirs = below_zero(359).eval()
  theirs.save_pretrained(tmp_path / 'saved')
  model = switch_zoo.load(str(tmp_path / 'saved')).for_inference()
  answer = tf.function(lambda ids: generation.answer(model, ids, 6).ids, [tf.TensorSpec([None, None], tf.int32)])
  model.answer = answer
  tf.saved_model.save(model, str(tmp_path / 'export'))
  expected = theirs.generate(
    torch.tensor(INPUTS).long(), attention_mask=torch.tensor(INPUTS != 0), max_new_tokens=6, do_sample=False
  ).numpy()[:, 1:]
  exported = tf.saved_model.load(str(tmp_path / 'export'))
  np.testing.assert_array_equal(exported.answer(INPUTS), expected)
