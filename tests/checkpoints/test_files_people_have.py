"""Checkpoints as public threads describe them: opened with the right values, or refused by what they are.

Each row names the thread that describes such a file: OWNER/REPOSITORY#NUMBER on GitHub.
"""

import argparse
import json
import shutil

import numpy as np
import oracles
import pytest
import random_models

from switch_zoo.checkpoints import sources
from switch_zoo.errors import UserError

torch = pytest.importorskip('torch')
safetensors_torch = pytest.importorskip('safetensors.torch')

MODELS = {'t5': lambda: oracles.t5(), 'gated': lambda: oracles.t5('1.1'), 'switch': lambda: oracles.switch()}


@pytest.fixture(scope='module')
def saved(tmp_path_factory):
  """name -> (model, the folder that transformers saves)."""
  root = tmp_path_factory.mktemp('saved')
  models = {name: make() for name, make in MODELS.items()}
  return {name: (model, oracles.save(model, root / name)) for name, model in models.items()}


def weights(folder):
  source = sources.open_source(str(folder))
  return {name: source.whole(name) for name in source.config.variables}


def state(model):
  """Every name, those of tied tensors too."""
  return {name: value.detach().clone() for name, value in model.state_dict().items()}


def says(folder, **fields):
  """Changes config.json; None removes a field."""
  stated = json.loads((folder / 'config.json').read_text()) | fields
  (folder / 'config.json').write_text(json.dumps({name: value for name, value in stated.items() if value is not None}))


def bin_file(folder, tensors, name='pytorch_model.bin'):
  (folder / 'model.safetensors').unlink()
  torch.save(tensors, folder / name)


def unused_bias(folder, model):
  name = 'decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight'
  bin_file(folder, state(model) | {name: torch.zeros(32, 3)})


def not_contiguous(folder, model):
  turned = {name: value.T.contiguous().T if value.dim() == 2 else value for name, value in state(model).items()}
  assert not turned['shared.weight'].is_contiguous()
  bin_file(folder, turned)


def views_of_one_buffer(folder, model):
  tensors = state(model)
  buffer = torch.cat([value.flatten() for value in tensors.values()])
  ends = np.cumsum([value.numel() for value in tensors.values()])
  views = {
    name: buffer[end - value.numel() : end].view(value.shape)
    for (name, value), end in zip(tensors.items(), ends, strict=True)
  }
  bin_file(folder, views)


def from_a_gpu(folder, model):
  location_tag = torch.serialization.location_tag
  torch.serialization.location_tag = lambda storage: 'cuda:0'
  try:
    bin_file(folder, state(model))
  finally:
    torch.serialization.location_tag = location_tag


def of_lightning(folder, model):
  tensors = {f'model.{name}': value for name, value in state(model).items()}
  bin_file(folder, {'epoch': 1, 'state_dict': tensors, 'hyper_parameters': {'lr': 1.0}, 'optimizer_states': []})


def without_metadata(folder, model):
  numpy_files = pytest.importorskip('safetensors.numpy')
  numpy_files.save_file(numpy_files.load_file(folder / 'model.safetensors'), folder / 'model.safetensors')


OPENED = {
  'huggingface/transformers#8933, a bias that no version used': ('t5', unused_bias),
  'huggingface/transformers#34623, strides': ('t5', not_contiguous),
  'tensors that are views of one buffer': ('t5', views_of_one_buffer),
  'invoke-ai/InvokeAI#3442, saved on a GPU': ('t5', from_a_gpu),
  'pytorch/pytorch#85695, a checkpoint of Lightning': ('t5', of_lightning),
  'ml-explore/mlx#743, no metadata': ('t5', without_metadata),
  'huggingface/transformers#17420, gated-gelu_new': (
    'gated',
    lambda folder, model: says(folder, feed_forward_proj='gated-gelu_new'),
  ),
  'huggingface/transformers#19418, vocab_size of another table': (
    't5',
    lambda folder, model: says(folder, vocab_size=4096),
  ),
}


@pytest.mark.parametrize('case', OPENED)
def test_opened(saved, tmp_path, case):
  name, change = OPENED[case]
  model, folder = saved[name]
  shutil.copytree(folder, tmp_path / 'model')
  change(tmp_path / 'model', model)
  random_models.assert_same(weights(tmp_path / 'model'), weights(folder))


def test_gated_gelu_new_is_what_transformers_makes_of_gated_gelu():
  configs = [pytest.importorskip('transformers').T5Config(feed_forward_proj=f'gated-gelu{end}') for end in ('', '_new')]
  assert {(config.dense_act_fn, config.is_gated_act) for config in configs} == {('gelu_new', True)}


def test_half_precision_with_some_of_it_in_float32(saved, tmp_path):
  """huggingface/transformers#34264: transformers keeps `wo` in float32."""
  model, folder = saved['gated']
  shutil.copytree(folder, tmp_path / 'model')
  mixed = {name: value if '.wo.' in name else value.half() for name, value in state(model).items()}
  safetensors_torch.save_file(
    {name: value.contiguous() for name, value in mixed.items()}, tmp_path / 'model/model.safetensors'
  )
  values, exact = weights(tmp_path / 'model'), weights(folder)
  assert {value.dtype for name, value in values.items() if name.endswith('wo/kernel')} == {np.dtype(np.float32)}
  for variable, value in values.items():
    np.testing.assert_array_equal(value, exact[variable].astype(value.dtype))


def renamed(name):
  return lambda folder, model: (folder / 'model.safetensors').rename(folder / name)


def replaced_by(name):
  def change(folder, model):
    (folder / 'model.safetensors').unlink()
    (folder / name).write_bytes(b'anything')

  return change


def with_tensors(change):
  """The model of a folder with other tensors."""
  return lambda folder, model: safetensors_torch.save_file(
    {name: value.contiguous() for name, value in change(state(model)).items()}, folder / 'model.safetensors'
  )


def without_index(folder, model):
  (folder / 'model.safetensors').unlink()
  model.save_pretrained(folder, max_shard_size='20KB')
  (folder / 'model.safetensors.index.json').unlink()


def half_of_the_files(folder, model):
  (folder / 'model.safetensors').unlink()
  model.save_pretrained(folder, max_shard_size='20KB')
  files = sorted(folder.glob('model-0*'))
  for file in files[len(files) // 2 :]:
    file.unlink()


def two_sets(folder, model):
  (folder / 'model.safetensors').rename(folder / 'kept')
  model.save_pretrained(folder, max_shard_size='20KB')
  (folder / 'kept').rename(folder / 'model.safetensors')


def next_to_an_adapter(folder, model):
  (folder / 'adapter_config.json').write_text('{"peft_type": "LORA"}')


def with_a_head(tensors):
  inner = {f'transformer.{name}': value for name, value in tensors.items() if name != 'lm_head.weight'}
  return inner | {'classification_head.dense.weight': torch.zeros(4, 4)}


def with_a_small_decoder(tensors):
  small = {name: tensors[name][:32].clone() for name in ('decoder.embed_tokens.weight', 'lm_head.weight')}
  return tensors | small


def with_a_namespace(folder, model):
  bin_file(folder, {'state_dict': state(model), 'hyper_parameters': argparse.Namespace(lr=1.0)})


REFUSED = {
  'huggingface/diffusers#10928, a variant': (
    't5',
    renamed('model.fp16.safetensors'),
    'It has config.json, generation_config.json, model.fp16.safetensors. model.fp16.safetensors is a variant: rename',
  ),
  'shuaijiang/Ke-Omni-R#4, files without their index': (
    'switch',
    without_index,
    'model-00001-of-[0-9]{5}.safetensors is one of several files: copy their index too',
  ),
  'Neph0s/CoSER#3, half of the files': ('switch', half_of_the_files, 'of them are missing; the first is model-'),
  'Blaizzy/mlx-vlm#1464, a whole file and an index': (
    'switch',
    two_sets,
    'has two sets of weights: model.safetensors, which transformers reads, and model.safetensors.index.json with model',
  ),
  'huggingface/transformers#43781, an adapter next to its model': (
    't5',
    next_to_an_adapter,
    'holds an adapter .* To convert a model next to it without it, move adapter_config.json out of the folder',
  ),
  'huggingface/transformers#20082, what ZeRO-3 leaves': (
    't5',
    with_tensors(lambda tensors: {name: torch.zeros(0) for name in tensors}),
    r'tensors without a value, the first .* of shape \[0\]. ZeRO-3 of DeepSpeed .*zero_to_fp32.py',
  ),
  'huggingface/transformers#14097, T5ForSequenceClassification': (
    't5',
    with_tensors(with_a_head),
    'classifies or marks text: there is a classification_head.dense.weight',
  ),
  'modelscope/DiffSynth-Studio#636, an encoder': (
    'gated',
    with_tensors(lambda tensors: {name: tensors[name] for name in tensors if not name.startswith(('dec', 'lm_'))}),
    'has no decoder: switch_zoo converts encoder-decoder models',
  ),
  'huggingface/transformers#35084, a decoder with a vocabulary of its own': (
    'gated',
    with_tensors(with_a_small_decoder),
    'decoder.embed_tokens.weight is not the same as shared.weight',
  ),
  'Lightning-AI/pytorch-lightning#2404, settings in a Namespace': (
    't5',
    with_a_namespace,
    'asks for argparse.Namespace to be called',
  ),
  'huggingface/transformers#9209, last.ckpt': (
    't5',
    replaced_by('last.ckpt'),
    'If last.ckpt is a state_dict or a checkpoint of Lightning, name it pytorch_model.bin',
  ),
  'huggingface/transformers#23810, Flax alone': (
    't5',
    replaced_by('flax_model.msgpack'),
    'flax_model.msgpack is of Flax or TensorFlow: load it with transformers 4',
  ),
  'withcatai/node-llama-cpp#486, GGUF': (
    't5',
    replaced_by('madlad-q3.gguf'),
    'madlad-q3.gguf is made for another prog',
  ),
  'huggingface/transformers#20250, the first config.json of Flan-T5': (
    'gated',
    lambda folder, model: says(folder, feed_forward_proj='gelu', dense_act_fn='gelu', is_gated_act=True),
    'activation "gelu" cannot be converted; .* Flan-T5 said gelu and meant gated-gelu',
  ),
  'huggingface/transformers#17420, the activation of UL2': (
    'gated',
    lambda folder, model: says(folder, feed_forward_proj='gated-silu'),
    'activation "gated-silu" cannot be converted; known are relu, gelu_new, gated-gelu, gated-gelu_new.$',
  ),
  'salesforce/CodeT5#87, a config.json without model_type': (
    't5',
    lambda folder, model: says(folder, model_type=None),
    'config.json does not say model_type.*add "model_type": "t5"',
  ),
  'OpenNMT/CTranslate2#1552, the padding of MADLAD-400': (
    'gated',
    lambda folder, model: says(folder, pad_token_id=1, eos_token_id=2),
    'says pad_token_id = 1. Padding is 0 in every model',
  ),
}


@pytest.mark.parametrize('case', REFUSED)
def test_refused(saved, tmp_path, case):
  name, change, message = REFUSED[case]
  model, folder = saved[name]
  shutil.copytree(folder, tmp_path / 'model')
  change(tmp_path / 'model', model)
  with pytest.raises(UserError, match=message):
    weights(tmp_path / 'model')


@pytest.mark.parametrize(
  ('thread', 'place'),
  [
    ('carson-katri/dream-textures#688, the cache of the hub', 'snapshots/5e1f'),
    ('ThilinaRajapakse/simpletransformers#346, the folder of a trainer', 'checkpoint-500'),
  ],
)
def test_a_checkpoint_inside_is_named(saved, tmp_path, thread, place):
  shutil.copytree(saved['t5'][1], tmp_path / place)
  (tmp_path / 'refs').mkdir()
  with pytest.raises(UserError, match=f'holds no checkpoint.* There is a checkpoint inside: give {tmp_path / place}.$'):
    sources.detect(str(tmp_path))


def test_of_several_inside_the_last_is_named(saved, tmp_path):
  for step in (500, 1000, 1500):
    shutil.copytree(saved['t5'][1], tmp_path / f'checkpoint-{step}')
  message = f'give {tmp_path}/checkpoint-1500 or one of 2 others next to it'
  with pytest.raises(UserError, match=message):
    sources.detect(str(tmp_path))


def test_a_file_in_place_of_its_folder(saved):
  folder = saved['t5'][1]
  with pytest.raises(UserError, match=f'model.safetensors is a file. Give the folder of the checkpoint: {folder}$'):
    sources.detect(f'{folder}/model.safetensors')


def test_a_state_file_that_names_another_machine(tmp_path):
  """tensorflow/tensorflow#9146, and tensorflow/models#974 for one under another name."""
  values = random_models.values(random_models.tiny('t5_base'))
  folder = random_models.save_mesh(tmp_path / 'mesh', values, step=5)
  state_file = tmp_path / 'mesh' / 'checkpoint'
  state_file.write_text('model_checkpoint_path: "/home/other/run/model.ckpt-5"\n')
  random_models.assert_same(weights(folder), values)
  state_file.rename(tmp_path / 'mesh' / 'checkpoint.txt')
  random_models.assert_same(weights(folder), values)


def test_scanned_layers_of_t5x(tmp_path):
  """huggingface/transformers#22573."""
  tensorstore = pytest.importorskip('tensorstore')
  shapes = {'encoder.encoder.mlp.wi.kernel': (8, 2, 12), 'decoder.decoder.mlp.wi.kernel': (8, 2, 12)}
  for name, shape in shapes.items():
    kvstore = {'driver': 'file', 'path': str(tmp_path / f'target.{name}')}
    spec = {'driver': 'zarr', 'kvstore': kvstore}
    tensorstore.open(spec, create=True, dtype=np.float32, shape=shape).result().write(np.zeros(shape, 'f')).result()
  with pytest.raises(UserError, match='a checkpoint of scalable_t5, with the layers of a stack in one array'):
    sources.open_source(str(tmp_path))
