"""A model that ends answers with another id than 1, against transformers."""

import numpy as np
import pytest
import tensorflow as tf

import switch_zoo
from switch_zoo.errors import UserError
from switch_zoo.keras import export, generation
from switch_zoo.keras.model import _real_targets

torch = pytest.importorskip('torch')
transformers = pytest.importorskip('transformers')

INPUTS = np.array([[5, 9, 7, 100, 33, 2], [20, 3, 2, 0, 0, 0], [90, 91, 92, 93, 2, 0], [4, 4, 61, 8, 17, 2]], np.int32)
TARGETS = np.array([[8, 1, 30, 2], [11, 2, 0, 0], [1, 1, 2, 0], [6, 7, 8, 9]], np.int32)
END = 2


@pytest.fixture(scope='module')
def pair(tmp_path_factory):
  """A model of transformers that ends some answers early, and ours that read it."""
  torch.manual_seed(0)
  config = transformers.SwitchTransformersConfig(
    vocab_size=130,
    d_model=16,
    d_kv=4,
    d_ff=24,
    num_heads=3,
    num_layers=2,
    num_decoder_layers=2,
    num_experts=3,
    num_sparse_encoder_layers=1,
    num_sparse_decoder_layers=1,
    expert_capacity=1000,
    initializer_factor=2.0,
    tie_word_embeddings=False,
    decoder_start_token_id=0,
    eos_token_id=END,
  )
  theirs = transformers.SwitchTransformersForConditionalGeneration(config).eval()
  with torch.no_grad():
    for stack in (theirs.encoder, theirs.decoder):
      stack.embed_tokens.weight.copy_(theirs.shared.weight)
    theirs.lm_head.weight[END] *= 2.0
    theirs.lm_head.weight[1] *= 1.5
  folder = tmp_path_factory.mktemp('saved')
  theirs.save_pretrained(folder)
  return theirs, switch_zoo.load(str(folder)), str(folder)


def expected_answers(theirs, beams):
  with torch.no_grad():
    ids = theirs.generate(
      torch.tensor(INPUTS).long(),
      attention_mask=torch.tensor(INPUTS != 0),
      max_new_tokens=12,
      do_sample=False,
      num_beams=beams,
      length_penalty=0.0,
    ).numpy()[:, 1:]
  # Behind the end, its beam search repeats the end.
  return np.where(np.cumsum(ids == END, 1) - (ids == END) > 0, 0, ids)


@pytest.mark.parametrize('beams', [1, 3])
def test_answers(pair, beams):
  theirs, ours, _ = pair
  expected = expected_answers(theirs, beams)
  assert (expected[:, :-1] == END).any(), 'an answer ends early'
  ids = ours.generate(INPUTS, 12, generation.Beam(beams, 0.0) if beams > 1 else None).ids.numpy()
  np.testing.assert_array_equal(ids[:, : expected.shape[1]], expected)
  assert not ids[:, expected.shape[1] :].any()


def test_one_is_a_token_like_any_other(pair):
  """Scores of targets with a 1 in the middle."""
  theirs, ours, _ = pair
  labels = torch.tensor(np.where(TARGETS == 0, -100, TARGETS)).long()
  with torch.no_grad():
    logits = theirs(
      input_ids=torch.tensor(INPUTS).long(), attention_mask=torch.tensor(INPUTS != 0), labels=labels
    ).logits
  chosen = torch.log_softmax(logits, -1).gather(-1, torch.tensor(TARGETS).long()[..., None])[..., 0].numpy()
  np.testing.assert_allclose(ours.score(INPUTS, TARGETS), (chosen * (TARGETS != 0)).sum(-1), rtol=1e-5)


def test_an_end_that_is_read_in_training_takes_no_slot():
  """Only the end without a token after it."""
  ids = tf.constant([[0, 8, 1, 2, 0], [0, 2, 5, 2, 0]])
  expected = [[True, True, True, False, False], [True, True, True, False, False]]
  np.testing.assert_array_equal(_real_targets(ids, True, END), expected)


def test_a_saved_model_keeps_it(pair, tmp_path):
  _, ours, _ = pair
  assert type(ours).from_config(ours.get_config()).config.end_id == END


def test_texts_are_refused_because_vocabularies_end_them_with_1(pair):
  folder = pair[2]
  with pytest.raises(UserError, match=r'ends answers with the id 2.*end texts with 1.*generate\(ids\)'):
    export.open_model(folder, None, 'bytes', export.ExportSettings())
