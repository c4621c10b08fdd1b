"""Conversions from end to end: bit-exact round trips, types, shards, slots, interruption."""

import json
import os
import pathlib

import numpy as np
import oracles
import pytest
import random_models
import safetensors.numpy
import tensorflow.compat.v1 as tf

from switch_zoo import load_config
from switch_zoo.checkpoints import conversion, journal, model_gin, source, sources
from switch_zoo.checkpoints.arrays import BFLOAT16
from switch_zoo.checkpoints.request_checks import Request, Surgery
from switch_zoo.errors import UserError

MODELS = ['switch_base_8', 'switch_c_2048', 'switch_xxl_128', 't5_base', 'mt5_base']


def convert(source, destination, to, **options):
  """Converts; gives the new folder."""
  conversion.convert(Request(str(source), str(destination), to, **options))
  return str(destination)


def weights(folder, model=None):
  """Variable -> value of a checkpoint of any kind."""
  source = sources.open_source(folder, model)
  return {name: source.read(name) if 'experts' not in axes else
          np.stack([source.read(name, expert) for expert in range(axes['experts'])])
          for name, axes in source.config.variables.items()}  # fmt: skip


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
  """model -> (config, values, folder) of a Mesh-TensorFlow checkpoint by `tf.train.Saver`, with slots."""
  made = {}

  def of(model, dtype=np.float32):
    if (model, dtype) not in made:
      config = random_models.tiny(model)
      values = random_models.values(config, dtype)
      folder = tmp_path_factory.mktemp('trained') / model
      made[model, dtype] = config, values, random_models.save_mesh(folder, values, step=30)
    return made[model, dtype]

  return of


@pytest.mark.parametrize('dtype', [np.float32, BFLOAT16], ids=['float32', 'bfloat16'])
@pytest.mark.parametrize('model', MODELS)
def test_a_round_trip_through_all_formats_is_bit_exact(trained, tmp_path, model, dtype):
  _, values, folder = trained(model, dtype)
  hugging_face = convert(folder, tmp_path / 'hf', 'hf', max_shard_bytes=3000)
  keras = convert(hugging_face, tmp_path / 'keras', 'keras')
  mesh = convert(keras, tmp_path / 'mesh', 'mesh', max_shard_bytes=3000)
  again = convert(mesh, tmp_path / 'again', 'hf', max_shard_bytes=3000)
  found = random_models.restored(mesh)
  assert found.pop('global_step') == 0
  random_models.assert_same(found, values)
  assert len([file for file in os.listdir(mesh) if '.data-' in file]) > 2
  for file in os.listdir(hugging_face):
    assert (
      pathlib.Path(hugging_face, file).read_bytes() == pathlib.Path(again, file).read_bytes() or file == 'model.gin'
    )


@pytest.mark.parametrize('model', ['moe_base_128', 'gshard_12b5'])
def test_models_that_hugging_face_does_not_have_go_to_keras_and_back(trained, tmp_path, model):
  config, values, folder = trained(model)
  gin = write_model_gin(tmp_path / 'tiny.gin', config)
  keras = convert(folder, tmp_path / 'keras', 'keras', model=gin)
  mesh = convert(keras, tmp_path / 'mesh', 'mesh')
  found = random_models.restored(mesh)
  del found['global_step']
  random_models.assert_same(found, values)
  assert load_config(f'{mesh}/model.gin').router == 'top2'


def write_model_gin(path, config):

  path.write_text(model_gin.text(config.title, config.source, model_gin.describe(config)))
  return str(path)


def test_the_saver_restores_it_whole(trained, tmp_path):
  """What the Estimator does with a checkpoint."""
  _, values, folder = trained('switch_base_8')
  mesh = convert(convert(folder, tmp_path / 'hf', 'hf'), tmp_path / 'mesh', 'mesh')
  with tf.Graph().as_default(), tf.Session() as session:
    variables = {name: tf.Variable(np.zeros_like(value), name=name) for name, value in values.items()}
    tf.train.Saver().restore(session, tf.train.latest_checkpoint(mesh))
    random_models.assert_same(session.run(variables), values)


@pytest.mark.parametrize(
  'model',
  [lambda: oracles.switch(num_experts=3, tied=False), lambda: oracles.switch(4, 2, 6), lambda: oracles.t5('1.0')],
  ids=['untied switch', 'switch', 't5'],
)
def test_transformers_loads_what_we_write(model, tmp_path):
  """Every weight, none left over, each bit-exact."""
  torch = pytest.importorskip('torch')
  model = model()
  mesh = convert(oracles.save(model, tmp_path / 'hf'), tmp_path / 'mesh', 'mesh')
  ours = convert(mesh, tmp_path / 'ours', 'hf', max_shard_bytes=20_000)
  loaded, report = type(model).from_pretrained(ours, output_loading_info=True)
  assert not report['missing_keys'] and not report['unexpected_keys'] and not report['mismatched_keys']
  assert json.loads(pathlib.Path(ours, 'model.safetensors.index.json').read_text())['metadata']['total_size'] > 20_000
  for name, tensor in model.state_dict().items():
    assert torch.equal(loaded.state_dict()[name], tensor), name


def test_bin_files_and_safetensors_are_the_same(tmp_path):
  torch = pytest.importorskip('torch')
  model = oracles.switch()
  folder = oracles.save(model, tmp_path / 'a')
  other = tmp_path / 'b'
  other.mkdir()
  (other / 'config.json').write_text(pathlib.Path(folder, 'config.json').read_text())
  state = dict(model.state_dict())
  first, second = dict(list(state.items())[:20]), dict(list(state.items())[20:])
  torch.save(first, other / 'pytorch_model-00001-of-00002.bin')
  torch.save(second, other / 'pytorch_model-00002-of-00002.bin')
  index = {name: f'pytorch_model-0000{1 if name in first else 2}-of-00002.bin' for name in state}
  (other / 'pytorch_model.bin.index.json').write_text(json.dumps({'weight_map': index}))
  random_models.assert_same(weights(str(other)), weights(folder))


def test_t5x(tmp_path):
  for number, model in enumerate(['switch_base_8', 'switch_xxl_128', 't5_base']):
    config = random_models.tiny(model)
    for dtype in (np.float32, BFLOAT16):
      values = random_models.values(config, dtype)
      folder = random_models.save_t5x(tmp_path / f't5x{number}{np.dtype(dtype).name}', config, values)
      random_models.assert_same(weights(folder), values)
  mesh = convert(folder, tmp_path / 'mesh', 'mesh')
  found = random_models.restored(mesh)
  del found['global_step']
  random_models.assert_same(found, values)


def test_types(trained, tmp_path):
  _, values, folder = trained('switch_base_8')
  narrow = weights(convert(folder, tmp_path / 'narrow', 'hf', dtype='bfloat16'))
  random_models.assert_same(narrow, {name: value.astype(BFLOAT16) for name, value in values.items()})
  wide = weights(convert(tmp_path / 'narrow', tmp_path / 'wide', 'keras', dtype='float32'))
  random_models.assert_same(wide, {name: value.astype(np.float32) for name, value in narrow.items()})
  assert json.loads((tmp_path / 'narrow' / 'config.json').read_text())['torch_dtype'] == 'bfloat16'


def test_experts_of_two_types_become_one_of_the_wider(tmp_path):
  folder = oracles.save(oracles.switch(), tmp_path / 'hf')
  path = tmp_path / 'hf' / 'model.safetensors'
  tensors = safetensors.numpy.load_file(path)
  name = 'encoder.block.1.layer.1.mlp.experts.expert_1.wi.weight'
  expected = tensors[name].astype(BFLOAT16).astype(np.float32)
  tensors[name] = tensors[name].astype(BFLOAT16)
  safetensors.numpy.save_file(tensors, path)
  mesh = convert(folder, tmp_path / 'mesh', 'mesh')
  found = random_models.restored(mesh)['encoder/block_000/layer_003/MoE1D/wi/kernel']
  assert found.dtype == np.float32
  np.testing.assert_array_equal(found[1], expected.T)


def test_slots_are_dropped_or_kept(trained, tmp_path):
  _, values, folder = trained('switch_base_8')
  plain = random_models.restored(convert(folder, tmp_path / 'plain', 'mesh'))
  assert plain.pop('global_step') == 0
  random_models.assert_same(plain, values)
  kept = convert(folder, tmp_path / 'kept', 'mesh', keep_slots=True)
  random_models.assert_same(random_models.restored(kept), random_models.restored(folder))
  assert tf.train.latest_checkpoint(kept).endswith('model.ckpt-30')


def test_a_vocabulary_without_padding_is_padded_with_zeros(tmp_path):
  model = oracles.switch(vocab_size=100, tied=False)
  mesh = random_models.restored(convert(oracles.save(model, tmp_path / 'hf'), tmp_path / 'mesh', 'mesh'))
  table = model.shared.weight.detach().numpy()
  np.testing.assert_array_equal(mesh['shared/embedding'], np.concatenate([table, np.zeros((28, 16), 'f')]))
  assert mesh['decoder/logits/kernel'].shape == (16, 128) and not mesh['decoder/logits/kernel'][:, 100:].any()


def test_a_config_that_contradicts_its_tensors(tmp_path):
  """The hub's Switch-C says twelve decoder layers and has fifteen; transformers builds no expert there from it."""
  folder = oracles.save(oracles.switch(4, 4, tied=False), tmp_path / 'hf')
  path = tmp_path / 'hf' / 'config.json'
  changes = {'num_decoder_layers': 3, 'num_heads': 5, 'layer_norm_epsilon': 0.1}
  path.write_text(json.dumps(json.loads(path.read_text()) | changes))
  result = conversion.convert(Request(folder, str(tmp_path / 'mesh'), 'mesh'))
  assert result.config.num_decoder_layers == 4 and result.config.num_heads == 3
  text = '\n'.join(result.notes)
  assert 'config.json says num_decoder_layers = 3, the tensors 4: the tensors are followed.' in text
  assert 'config.json says num_heads = 5, the tensors 3' in text
  assert 'config.json says layer_norm_epsilon = 0.1. Here it is always 1e-06: the logits will not be the same.' in text
  assert (
    'num_sparse_decoder_layers = 4 of 3, from which transformers builds 0 sparse layers; the tensors have 4' in text
  )


def test_a_t5_1_1_of_transformers_5_without_a_head_keeps_its_logits(tmp_path):
  """It ties the logits and does not scale them: here that is a matrix of logits with the embedding's values."""
  pytest.importorskip('torch')
  transformers = pytest.importorskip('transformers')
  model = transformers.T5ForConditionalGeneration(
    transformers.T5Config(
      **oracles.SIZES,
      num_layers=1,
      feed_forward_proj='gated-gelu',
      tie_word_embeddings=False,
    )
  )
  model.save_pretrained(tmp_path / 'hf')
  result = conversion.convert(Request(str(tmp_path / 'hf'), str(tmp_path / 'mesh'), 'mesh'))
  found = random_models.restored(str(tmp_path / 'mesh'))
  np.testing.assert_array_equal(found['decoder/logits/kernel'], found['shared/embedding'].T)
  assert any('its logits are not scaled' in note for note in result.notes)


def test_an_old_t5_with_all_its_copies(tmp_path):
  """The hub's T5 1.0: the embedding four times, and a table that no layer uses."""
  folder = oracles.save(oracles.t5('1.0'), tmp_path / 'hf')
  path = tmp_path / 'hf' / 'model.safetensors'
  tensors = safetensors.numpy.load_file(path)
  copies = ('encoder.embed_tokens.weight', 'decoder.embed_tokens.weight', 'lm_head.weight')
  unused = 'decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight'
  safetensors.numpy.save_file(
    {**tensors, **{name: tensors['shared.weight'].copy() for name in copies}, unused: np.ones((32, 3), 'f')}, path
  )
  source = sources.open_source(folder)
  assert source.config.tied_embeddings and len(source.notes) == 1
  assert sum(value.size for value in weights(folder).values()) == source.config.num_parameters


def test_a_matrix_of_logits_is_kept_whatever_the_config_says(tmp_path):
  model = oracles.switch(tied=False)
  folder = oracles.save(model, tmp_path / 'hf')
  path = tmp_path / 'hf' / 'config.json'
  path.write_text(json.dumps(json.loads(path.read_text()) | {'tie_word_embeddings': True}))
  source = sources.open_source(folder)
  np.testing.assert_array_equal(source.read('decoder/logits/kernel'), model.lm_head.weight.detach().numpy().T)
  assert any('lm_head.weight is kept as the matrix it is' in note for note in source.notes)


def test_the_operative_config_of_a_training_is_read(trained, tmp_path):
  """Its vocabulary sizes are those of the checkpoint: gin leaves them out."""
  config, values, _ = trained('switch_base_8')
  folder = pathlib.Path(random_models.save_mesh(tmp_path / 'mesh', values, slots=False))
  text = pathlib.Path(write_model_gin(tmp_path / 'a.gin', config)).read_text()
  lines = [line for line in text.splitlines() if not line.startswith('vocab_size') and 'target_vocab' not in line]
  (folder / 'operative_config.gin').write_text('\n'.join([*lines, 'capacity_factor_train = 3.5']))
  found = sources.open_source(str(folder)).config
  assert found.variables == config.variables and found.capacity_factor_train == 3.5


class Stop(conversion.Progress):
  """Interrupts after some parts, as Ctrl-C does."""

  def __init__(self, parts):
    self.left = parts

  def advance(self, nbytes):
    self.left -= 1
    if not self.left:
      raise KeyboardInterrupt


class Count(conversion.Progress):
  """Counts parts, bytes to write, and bytes already written."""

  def __init__(self):
    self.parts = 0

  def begin(self, total, done):
    self.total, self.done = total, done

  def advance(self, nbytes):
    self.parts += 1
    self.done += nbytes


@pytest.mark.parametrize('to', ['mesh', 'keras', 'hf'])
def test_an_interrupted_conversion_is_not_a_checkpoint_and_can_be_resumed(trained, tmp_path, to):
  _, values, folder = trained('switch_base_8')
  destination = tmp_path / 'new'
  with pytest.raises(KeyboardInterrupt):
    conversion.convert(Request(folder, str(destination), to, max_shard_bytes=3000), Stop(20))
  assert not destination.exists()
  partial = tmp_path / 'new.partial'
  assert {'config.json', 'model.gin', 'checkpoint'}.isdisjoint(os.listdir(partial))
  with pytest.raises(UserError, match='is a conversion that was interrupted'):
    sources.open_source(str(partial))
  with pytest.raises(UserError, match='was interrupted. Add --resume to continue it'):
    convert(folder, destination, to, max_shard_bytes=3000)
  # The last line of the record may be cut off.
  with open(partial / journal.FILE, 'a') as file:
    file.write('["encoder/')
  count = Count()
  result = conversion.convert(Request(folder, str(destination), to, resume=True, max_shard_bytes=3000), count)
  assert result.resumed >= 19 and count.parts == result.parts - result.resumed and count.done == count.total
  assert not partial.exists()
  random_models.assert_same(weights(str(destination)), values)
  whole = convert(folder, tmp_path / 'whole', to, max_shard_bytes=3000)
  for file in os.listdir(whole):
    assert pathlib.Path(whole, file).read_bytes() == (destination / file).read_bytes(), file


@pytest.mark.parametrize('change', ['dtype', 'surgery', 'source'])
def test_another_request_does_not_resume_it(trained, tmp_path, change):
  _, values, _ = trained('switch_base_8')
  folder = random_models.save_mesh(tmp_path / 'source', values, slots=False)
  request = Request(folder, str(tmp_path / 'new'), 'hf')
  with pytest.raises(KeyboardInterrupt):
    conversion.convert(request, Stop(5))
  options = {'dtype': {'dtype': 'bfloat16'}, 'surgery': {'surgery': Surgery(experts=(0, 1))}, 'source': {}}[change]
  if change == 'source':
    os.utime(pathlib.Path(folder, 'checkpoint'), (1, 1))
  with pytest.raises(UserError, match='is of another conversion: .* differ'):
    convert(folder, tmp_path / 'new', 'hf', resume=True, **options)


def test_nothing_larger_than_a_part_is_read(monkeypatch, trained, tmp_path):
  """Nothing larger than an expert, or the table of a vocabulary, is read at once."""
  _, _, folder = trained('switch_base_8')
  largest = []
  read = source.Source.read

  def noted(self, variable, expert=None):
    array = read(self, variable, expert)
    largest.append(array.nbytes)
    return array

  monkeypatch.setattr(source.Source, 'read', noted)
  convert(folder, tmp_path / 'hf', 'hf')
  config = load_config(f'{tmp_path}/hf/model.gin')
  assert max(largest) == 4 * config.vocab_size * config.d_model
