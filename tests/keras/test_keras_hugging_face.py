"""The Keras model against Hugging Face on weights that it saved: logits, and greedy answers token by token."""

import numpy as np
import pytest

import switch_zoo

torch = pytest.importorskip('torch')
transformers = pytest.importorskip('transformers')

INPUTS = np.array([[5, 9, 7, 100, 33, 1], [20, 3, 1, 0, 0, 0], [90, 91, 92, 93, 1, 0]], np.int64)
TARGETS = np.array([[0, 8, 30], [0, 11, 5], [0, 2, 2]], np.int64)
# Heads x d_kv is not d_model; the logits far from even, so that an answer is not one token again and again.
SIZES = {
  'vocab_size': 128,
  'd_model': 16,
  'd_kv': 4,
  'd_ff': 24,
  'num_heads': 3,
  'num_layers': 2,
  'num_decoder_layers': 2,
  'initializer_factor': 2.0,
  'decoder_start_token_id': 0,
}


def switch(num_experts, sparse):
  return transformers.SwitchTransformersForConditionalGeneration(
    transformers.SwitchTransformersConfig(
      **SIZES,
      num_experts=num_experts,
      num_sparse_encoder_layers=sparse,
      num_sparse_decoder_layers=sparse,
      expert_capacity=1000,
      router_jitter_noise=0.0,
    )
  )


def t5(act):
  return transformers.T5ForConditionalGeneration(transformers.T5Config(**SIZES, feed_forward_proj=act))


MODELS = {
  'every_second_layer': lambda: switch(6, 1),
  'every_layer': lambda: switch(3, 2),
  'dense': lambda: t5('relu'),
  'gated': lambda: t5('gated-gelu'),
}


@pytest.fixture(scope='module', params=MODELS)
def pair(request, tmp_path_factory):
  """A model of Hugging Face with random weights, and ours that read them."""
  torch.manual_seed(0)
  theirs = MODELS[request.param]().eval()
  folder = tmp_path_factory.mktemp('saved')
  theirs.save_pretrained(folder)
  return theirs, switch_zoo.load(str(folder))


def test_logits(pair):
  theirs, ours = pair
  with torch.no_grad():
    expected = theirs(
      input_ids=torch.tensor(INPUTS), attention_mask=torch.tensor(INPUTS != 0), decoder_input_ids=torch.tensor(TARGETS)
    ).logits.numpy()
  logits = ours({'encoder_input_tokens': INPUTS.astype(np.int32), 'decoder_input_tokens': TARGETS.astype(np.int32)})
  np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-4)


def test_greedy_answers(pair):
  theirs, ours = pair
  with torch.no_grad():
    expected = theirs.generate(
      torch.tensor(INPUTS), attention_mask=torch.tensor(INPUTS != 0), max_new_tokens=12, do_sample=False
    ).numpy()
  ids = ours.generate(INPUTS.astype(np.int32), 12).ids.numpy()
  np.testing.assert_array_equal(ids, expected[:, 1:])
