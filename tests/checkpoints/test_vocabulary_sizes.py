"""Vocabularies that are not a multiple of 128: padding is never predicted, and the number of ids is kept."""

import json
import pathlib

import numpy as np
import oracles
import pytest
import safetensors.numpy

from switch_zoo.checkpoints import conversion, sources
from switch_zoo.checkpoints.request_checks import Request

MODELS = {
  'T5 1.0': lambda size: oracles.t5('1.0', vocab_size=size),
  'T5 1.1': lambda size: oracles.t5('1.1', vocab_size=size),
  'Switch, tied': lambda size: oracles.switch(vocab_size=size),
  'Switch, untied': lambda size: oracles.switch(vocab_size=size, tied=False),
}
PADDED = np.array([[7, 9, 4, 1, 0], [11, 5, 1, 0, 0], [8, 8, 2, 6, 1]], np.int32)


def below_zero(model):
  """The model with logits that are all negative where they have a matrix of their own: padding with 0 would win."""
  torch = pytest.importorskip('torch')
  if model.lm_head.weight is not model.shared.weight:
    with torch.no_grad():
      for table in (model.shared, model.encoder.embed_tokens, model.decoder.embed_tokens):
        table.weight[:, 0] = 9.0
      model.lm_head.weight[:, 0] = -3.0
  return model


def expected_log_probabilities(model, inputs, targets):
  """<float32>[batch, length] of the targets by transformers, 0 for padding."""
  torch = pytest.importorskip('torch')
  logits = torch.tensor(oracles.torch_logits(model, inputs, targets))
  chosen = torch.log_softmax(logits, -1).gather(-1, torch.tensor(targets).long()[..., None])[..., 0]
  return chosen.numpy() * (targets != 0)


@pytest.mark.parametrize(('name', 'size'), [('T5 1.0', 359), ('T5 1.1', 32_100), ('Switch, untied', 359)])
def test_mesh(name, size, tmp_path):
  """Logits, and the loss of an evaluation."""
  model = below_zero(MODELS[name](size))
  folder = str(tmp_path / 'mesh')
  conversion.convert(Request(oracles.save(model, tmp_path / 'hf'), folder, 'mesh'))
  inputs, _ = oracles.batch(size)
  sparse = model.config.model_type.startswith('switch')
  parameters = ['capacity_factor_eval = 100.0', 'balance_loss_coef = 0.0'] if sparse else []
  expected = oracles.torch_logits(model, inputs, PADDED)
  logits, loss = oracles.mesh_outputs(folder, inputs, PADDED, parameters)
  real = PADDED != 0
  np.testing.assert_allclose(logits[real][:, :size], expected[real], atol=1e-4, rtol=1e-4)
  assert (logits[..., size:] < -1e29).all()
  log_probabilities = expected_log_probabilities(model, inputs, PADDED)
  np.testing.assert_allclose(loss, -log_probabilities.sum() / (PADDED != 0).sum(), rtol=1e-4)


@pytest.mark.parametrize('beams', [1, 3])
@pytest.mark.parametrize('name', ['T5 1.1', 'Switch, untied'])
def test_mesh_answers(name, beams, tmp_path):
  torch = pytest.importorskip('torch')
  model = below_zero(MODELS[name](359))
  conversion.convert(Request(oracles.save(model, tmp_path / 'hf'), str(tmp_path / 'mesh'), 'mesh'))
  inputs, _ = oracles.batch(359)
  with torch.no_grad():
    expected = model.generate(
      torch.tensor(inputs).long(), max_new_tokens=5, do_sample=False, num_beams=beams, length_penalty=0.0
    ).numpy()[:, 1:]
  np.testing.assert_array_equal(oracles.mesh_answers(str(tmp_path / 'mesh'), inputs, 5, beams), expected)


@pytest.mark.parametrize('name', MODELS)
@pytest.mark.parametrize('through', ['mesh', 'keras', 'hf'])
def test_the_number_of_ids_is_kept_and_written_back(name, through, tmp_path):
  model = MODELS[name](359)
  first = oracles.save(model, tmp_path / 'first')
  conversion.convert(Request(first, str(tmp_path / 'middle'), through))
  assert 'vocab_size = 359' in (tmp_path / 'middle' / 'model.gin').read_text().splitlines()
  conversion.convert(Request(str(tmp_path / 'middle'), str(tmp_path / 'last'), 'hf'))
  assert json.loads((tmp_path / 'last' / 'config.json').read_text())['vocab_size'] == 359
  written = safetensors.numpy.load_file(tmp_path / 'last' / 'model.safetensors')
  for tensor, value in safetensors.numpy.load_file(f'{first}/model.safetensors').items():
    np.testing.assert_array_equal(written[tensor], value, tensor)
  assert sources.open_source(str(tmp_path / 'last')).config.num_target_ids == 359


def test_transformers_loads_what_is_written_back(tmp_path):
  transformers = pytest.importorskip('transformers')
  model = oracles.switch(vocab_size=359)
  conversion.convert(Request(oracles.save(model, tmp_path / 'hf'), str(tmp_path / 'mesh'), 'mesh'))
  conversion.convert(Request(str(tmp_path / 'mesh'), str(tmp_path / 'back'), 'hf'))
  back = transformers.SwitchTransformersForConditionalGeneration.from_pretrained(tmp_path / 'back').eval()
  inputs, targets = oracles.batch(359)
  np.testing.assert_array_equal(
    oracles.torch_logits(back, inputs, targets), oracles.torch_logits(model, inputs, targets)
  )


def test_a_gin_file_that_counts_the_padding_does_not_unmask_it(tmp_path):
  """--model with the rows of the table, as files from before the number of ids was kept have them."""
  folder = oracles.save(oracles.switch(vocab_size=359), tmp_path / 'hf')
  conversion.convert(Request(folder, str(tmp_path / 'mesh'), 'mesh'))
  gin = (tmp_path / 'mesh' / 'model.gin').read_text().replace('vocab_size = 359', 'vocab_size = 384')
  (tmp_path / 'old.gin').write_text(gin)
  config = sources.open_source(folder, str(tmp_path / 'old.gin')).config
  assert (config.vocab_size, config.num_ids, config.num_target_ids) == (384, 359, 359)


def test_rows_that_a_checkpoint_has_stay_ids(tmp_path):
  """Released models have 32,128 rows for 32,100 entries of the vocabulary, and were trained with all of them."""
  folder = pathlib.Path(oracles.save(oracles.switch(vocab_size=384), tmp_path / 'hf'))
  (folder / 'config.json').write_text(
    json.dumps(json.loads((folder / 'config.json').read_text()) | {'vocab_size': 359})
  )
  result = conversion.convert(Request(str(folder), str(tmp_path / 'mesh'), 'mesh'))
  assert result.config.num_ids == result.config.vocab_size == 384
  inputs, targets = oracles.batch(384)
  assert (oracles.mesh_logits(str(tmp_path / 'mesh'), inputs, targets) > -1e6).all()


def test_the_ids_of_a_training_are_in_its_operative_config(tmp_path):
  """A checkpoint of a run has no model.gin."""
  model = oracles.t5('1.0', vocab_size=359)
  conversion.convert(Request(oracles.save(model, tmp_path / 'hf'), str(tmp_path / 'mesh'), 'mesh'))
  (tmp_path / 'mesh' / 'model.gin').rename(tmp_path / 'mesh' / 'operative_config.gin')
  config = sources.open_source(str(tmp_path / 'mesh')).config
  assert (config.vocab_size, config.num_ids, config.num_target_ids) == (384, 359, 359)
