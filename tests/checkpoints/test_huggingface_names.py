"""Hugging Face's files as people have them: one name for tied tensors, names with a prefix, quantized, adapters."""

import json
import pathlib

import numpy as np
import oracles
import pytest
import random_models
import safetensors.numpy

from switch_zoo.checkpoints import huggingface_names, sources
from switch_zoo.errors import UserError

torch = pytest.importorskip('torch')
pytest.importorskip('safetensors.torch')

MODELS = {
  'switch': lambda: oracles.switch(),
  't5': lambda: oracles.t5(),
  'gated': lambda: oracles.t5('1.1'),
}


@pytest.fixture(scope='module', params=MODELS)
def model(request):
  return MODELS[request.param]()


@pytest.fixture(scope='module')
def expected(model, tmp_path_factory):
  """Variable -> value, from the files as transformers saves them."""
  return weights(oracles.save(model, tmp_path_factory.mktemp('model')))


def weights(folder):
  source = sources.open_source(str(folder))
  return {name: source.whole(name) for name in source.config.variables}


def state(model):
  """Every name, those of tied tensors too."""
  return {name: value.detach().clone() for name, value in model.state_dict().items()}


def write(folder, model, tensors):
  """A folder with these tensors and the model's config.json."""
  model.config.save_pretrained(folder)
  safetensors.torch.save_file(
    {name: value.contiguous() for name, value in tensors.items()}, folder / 'model.safetensors'
  )
  return folder


COPIES = ['shared.weight', 'encoder.embed_tokens.weight', 'decoder.embed_tokens.weight']


@pytest.mark.parametrize('kept', COPIES)
def test_the_embedding_under_any_of_its_names(model, expected, tmp_path, kept):
  tensors = {name: value for name, value in state(model).items() if name == kept or name not in COPIES}
  random_models.assert_same(weights(write(tmp_path, model, tensors)), expected)


def test_the_embedding_as_the_matrix_of_logits(tmp_path):
  """A tied model of which only lm_head is left: the logits are those of transformers, which ties it again."""
  model = oracles.t5()
  tensors = {name: value for name, value in state(model).items() if name not in COPIES}
  values = weights(write(tmp_path, model, tensors))
  np.testing.assert_array_equal(values['shared/embedding'], model.shared.weight.detach().numpy())
  loaded = type(model).from_pretrained(tmp_path)
  torch.testing.assert_close(loaded.shared.weight, model.shared.weight)


def test_a_matrix_of_logits_of_its_own_is_no_embedding(tmp_path):
  model = oracles.t5('1.1')
  model.config.tie_word_embeddings = False
  tensors = {name: value for name, value in state(model).items() if name not in COPIES}
  with pytest.raises(UserError, match='has no embedding'):
    weights(write(tmp_path, model, tensors))


def test_what_save_model_keeps(model, expected, tmp_path):
  model.config.save_pretrained(tmp_path)
  safetensors.torch.save_model(model, str(tmp_path / 'model.safetensors'))
  names = set(safetensors.numpy.load_file(tmp_path / 'model.safetensors'))
  assert len(names & set(COPIES)) < len(COPIES)
  random_models.assert_same(weights(tmp_path), expected)


def test_the_names_of_madlad400(tmp_path):
  """decoder.embed_tokens and lm_head, not shared: two matrices."""
  model = oracles.t5('1.1')
  tensors = {name: value for name, value in state(model).items() if name not in COPIES[:2]}
  values = weights(write(tmp_path, model, tensors))
  np.testing.assert_array_equal(values['shared/embedding'], model.shared.weight.detach().numpy())
  np.testing.assert_array_equal(values['decoder/logits/kernel'], model.lm_head.weight.detach().numpy().T)


PREFIXES = ['module.', '_orig_mod.', 'model.', 'module._orig_mod.', 'base.model.']


@pytest.mark.parametrize('prefix', PREFIXES)
@pytest.mark.parametrize('kind', ['safetensors', 'bin'])
def test_a_prefix_of_all_names_is_left_out(tmp_path, kind, prefix):
  model = oracles.switch()
  tensors = {prefix + name: value for name, value in state(model).items()}
  write(tmp_path, model, tensors)
  if kind == 'bin':
    (tmp_path / 'model.safetensors').unlink()
    torch.save(tensors, tmp_path / 'pytorch_model.bin')
  plain = tmp_path / 'plain'
  plain.mkdir()
  random_models.assert_same(weights(tmp_path), weights(write(plain, model, state(model))))
  assert any('a prefix, which is left out' in note for note in sources.open_source(str(tmp_path)).notes)


def test_the_state_dict_of_a_compiled_model(tmp_path):
  model = oracles.t5()
  expected = weights(oracles.save(model, tmp_path / 'plain'))
  for layer, block in enumerate(model.encoder.block):
    model.encoder.block[layer] = torch.compile(block)
  compiled = torch.nn.parallel.DataParallel(torch.compile(model))
  names = list(compiled.state_dict())
  assert 'module._orig_mod.encoder.block.0._orig_mod.layer.0.layer_norm.weight' in names
  (tmp_path / 'compiled').mkdir()
  tensors = {name: value.clone() for name, value in compiled.state_dict().items()}
  random_models.assert_same(weights(write(tmp_path / 'compiled', model, tensors)), expected)


@pytest.mark.parametrize(
  ('names', 'prefix'),
  [
    (['encoder.a', 'encoder.b'], ''),
    (['encoder.a', 'decoder.b'], ''),
    (['x.encoder.a', 'x.encoder.b'], ''),
    (['x.encoder.a', 'x.decoder.b'], 'x.'),
    (['x.encoder.a', 'y.decoder.b'], ''),
    ([], ''),
  ],
)
def test_only_what_all_names_share_is_a_prefix(names, prefix):
  assert huggingface_names.shared_prefix(names) == prefix


def test_two_names_of_one_tensor_are_refused():
  with pytest.raises(UserError, match='are both encoder.a'):
    huggingface_names.standard_names(['encoder.a', 'encoder._orig_mod.a'], True)


@pytest.fixture(scope='module')
def good(tmp_path_factory):
  return oracles.save(oracles.t5(), tmp_path_factory.mktemp('good'))


Q = 'encoder.block.0.layer.0.SelfAttention.q'


def changed(good, folder, config=(), **tensors):
  """A copy of a good folder with other tensors at Q and other fields in config.json."""
  old = safetensors.numpy.load_file(f'{good}/model.safetensors')
  safetensors.numpy.save_file(
    old | {f'{Q}.{name}': value for name, value in tensors.items()}, folder / 'model.safetensors'
  )
  stated = json.loads(pathlib.Path(good, 'config.json').read_text())
  (folder / 'config.json').write_text(json.dumps(stated | dict(config)))
  return str(folder)


QUANTIZED = {
  'bitsandbytes int8': (
    {},
    {'weight': np.zeros((18, 16), 'i1'), 'SCB': np.zeros(18, 'f')},
    r'quantized weights: .*q\.',
  ),
  'bitsandbytes 4 bits': ({}, {'weight': np.zeros((144, 1), 'u1')}, 'q.weight is of type uint8'),
  'GPTQ': (
    {'quantization_config': {'quant_method': 'gptq'}},
    {'qweight': np.zeros(3, 'i4')},
    r'weights \(gptq\): .*qweight',
  ),
  'only config.json': (
    {'quantization_config': {'quant_method': 'fp8'}},
    {},
    r'\(fp8\): config.json has a quantization',
  ),
  'an odd config.json': ({'quantization_config': 'yes'}, {}, 'holds quantized weights: config.json'),
}


@pytest.mark.parametrize(('config', 'tensors', 'words'), QUANTIZED.values(), ids=QUANTIZED)
def test_quantized_weights_are_named(good, tmp_path, config, tensors, words):
  with pytest.raises(UserError, match=words):
    sources.open_source(changed(good, tmp_path, config, **tensors))


def test_float8_is_named(good, tmp_path):
  tensors = safetensors.torch.load_file(f'{good}/model.safetensors')
  tensors[f'{Q}.weight'] = tensors[f'{Q}.weight'].to(torch.float8_e4m3fn)
  changed(good, tmp_path)
  safetensors.torch.save_file(tensors, tmp_path / 'model.safetensors')
  with pytest.raises(UserError, match='quantized weights: .* is of type float8_e4m3fn'):
    sources.open_source(str(tmp_path))


def test_an_adapter_in_the_tensors_is_named(good, tmp_path):
  with pytest.raises(UserError, match='holds an adapter .* Merge it first'):
    sources.open_source(changed(good, tmp_path, **{'lora_A.default.weight': np.zeros((2, 16), 'f')}))


@pytest.mark.parametrize('with_config', [False, True])
def test_a_folder_with_an_adapter_only_is_named(tmp_path, with_config):
  (tmp_path / 'adapter_config.json').write_text('{"peft_type": "LORA"}')
  safetensors.numpy.save_file({'a': np.zeros(1, 'f')}, tmp_path / 'adapter_model.safetensors')
  if with_config:
    (tmp_path / 'config.json').write_text('{"model_type": "t5"}')
  with pytest.raises(UserError, match='holds an adapter .* Merge it first'):
    sources.open_source(str(tmp_path))


@pytest.mark.parametrize('family', ['umt5', 'longt5', 'nllb-moe', 't5gemma', 'pix2struct', 'byt5', 'ul2'])
def test_families_that_look_alike_are_named(good, tmp_path, family):
  with pytest.raises(UserError, match=f'is of a "{family}"; switch_zoo converts switch_transformers, t5, mt5'):
    sources.open_source(changed(good, tmp_path, {'model_type': family}))
