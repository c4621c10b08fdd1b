"""The table of names against the state of transformers' own models, and against itself."""

import dataclasses

import pytest
import random_models

from switch_zoo import list_models, load_config
from switch_zoo.checkpoints import huggingface_config_writer, model_gin, names
from switch_zoo.checkpoints.anatomy import read_anatomy
from switch_zoo.checkpoints.arrays import BFLOAT16, TensorInfo
from switch_zoo.checkpoints.format_names import FORMAT_NAMES, HuggingFaceNames
from switch_zoo.errors import UserError

HUGGING_FACE = ['switch_base_8', 'switch_c_2048', 'switch_large_128', 't5_base', 't5_small', 'mt5_base']
COPIES = {'encoder.embed_tokens.weight', 'decoder.embed_tokens.weight', 'lm_head.weight'}


def of_transformers(model):
  """Name -> shape of what transformers builds from the config.json we write; no memory is used for it."""
  config = load_config(model, ['num_experts = 8'] if load_config(model).num_experts else [])
  said = huggingface_config_writer.make_config(config, 'float32')
  torch, transformers = pytest.importorskip('torch'), pytest.importorskip('transformers')
  kind = getattr(transformers, said['architectures'][0])
  with torch.device('meta'):
    built = kind(kind.config_class(**said))
  return config, {name: tuple(tensor.shape) for name, tensor in built.state_dict().items()}


@pytest.mark.parametrize('model', HUGGING_FACE)
def test_names_and_shapes_are_those_of_transformers(model):
  config, expected = of_transformers(model)
  ours = HuggingFaceNames(config).shapes()
  ours_alone = COPIES if config.tied_embeddings else COPIES - {'lm_head.weight'}
  assert ours == {name: shape for name, shape in expected.items() if name not in ours_alone}


def test_some_names_in_full():
  """One of each row, as Mesh-TensorFlow, Hugging Face, T5X and Keras write them."""
  config = load_config('switch_base_8')
  kinds = (names.HUGGING_FACE, names.T5X, names.KERAS)
  format_names = {kind: FORMAT_NAMES[kind](config) for kind in kinds}
  expected = {
      ('shared/embedding', None): ('shared.weight', 'token_embedder/embedding', 'shared/vars/embedding'),
      ('encoder/block_000/layer_002/SelfAttention/q', None): (
          'encoder.block.1.layer.0.SelfAttention.q.weight', 'encoder/layers_1/attention/query/kernel',
          'encoder/block_000/layer_002/SelfAttention/vars/q',
      ),
      ('decoder/block_005/layer_004/EncDecAttention/o', None): (
          'decoder.block.11.layer.1.EncDecAttention.o.weight', 'decoder/layers_11/encoder_decoder_attention/out/kernel',
          'decoder/block_005/layer_004/EncDecAttention/vars/o',
      ),
      ('encoder/block_001/layer_001/DenseReluDense/wi/kernel', None): (
          'encoder.block.2.layer.1.mlp.wi.weight', 'encoder/layers_2/mlp/wi/kernel',
          'encoder/block_001/layer_001/DenseReluDense/wi/vars/kernel',
      ),
      ('encoder/block_000/layer_003/MoE1D/wi/kernel', 3): (
          'encoder.block.1.layer.1.mlp.experts.expert_3.wi.weight', 'encoder/layers_1/mlp/expert/wi/kernel',
          'encoder/block_000/layer_003/MoE1D/wi/vars/kernel',
      ),
      ('decoder/block_000/layer_005/MoE1D/switch_gating/kernel', None): (
          'decoder.block.1.layer.2.mlp.router.classifier.weight', 'decoder/layers_1/mlp/router/router_weights/w/kernel',
          'decoder/block_000/layer_005/MoE1D/switch_gating/vars/kernel',
      ),
      ('decoder/block_000/layer_000/SelfAttention/relative_attention_bias', None): (
          'decoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight', 'decoder/relpos_bias/rel_embedding',
          'decoder/block_000/layer_000/SelfAttention/vars/relative_attention_bias',
      ),
      ('decoder/block_000/layer_000/rms_norm/scale', None): (
          'decoder.block.0.layer.0.layer_norm.weight', 'decoder/layers_0/pre_self_attention_layer_norm/scale',
          'decoder/block_000/layer_000/rms_norm/vars/scale',
      ),
      ('encoder/rms_norm/scale', None): (
          'encoder.final_layer_norm.weight', 'encoder/encoder_norm/scale', 'encoder/rms_norm/vars/scale',
      ),
  }  # fmt: skip
  for (variable, expert), row in expected.items():
    assert tuple(format_names[kind].locate(variable, expert).name for kind in kinds) == row
    assert names.mesh_name(row[2]) == variable


@pytest.mark.parametrize('model', list_models())
def test_every_name_leads_back_to_its_variable(model):
  config = random_models.tiny(model)
  for kind in _kinds(config):
    try:
      format_names = FORMAT_NAMES[kind](config)
    except UserError:
      continue  # refused in a test below
    places = dict(names.model_places(config))
    for variable in config.variables:
      found, wanted = format_names.parse(format_names.locate(variable, 1).name), places[variable]
      # The norm before a feed-forward layer has the same name whichever of the two follows.
      if not variable.endswith('rms_norm/scale'):
        assert found.row.mesh == wanted.row.mesh, variable
      assert found.stack == wanted.stack
  assert HuggingFaceNames.parse('encoder.block.1.layer.1.mlp.gate.weight') is None


@pytest.mark.parametrize(
  ('model', 'kind', 'words'),
  [
    ('moe_base_128', names.HUGGING_FACE, 'the format routes by top-1 only'),
    ('gshard_12b5', names.HUGGING_FACE, 'an embedding each'),
    ('gshard_12b5', names.T5X, 'an embedding each'),
  ],
)
def test_a_model_that_a_format_has_no_place_for_is_refused(model, kind, words):
  with pytest.raises(UserError, match=words):
    FORMAT_NAMES[kind](load_config(model))


@pytest.mark.parametrize('model', list_models())
def test_a_model_read_from_its_tensors_is_the_model(model):
  """Names and shapes determine every size; the rest are settings that no weight depends on."""
  config = random_models.tiny(model)
  for kind in _kinds(config):
    try:
      shapes = FORMAT_NAMES[kind](config).shapes()
    except UserError:
      continue
    infos = {name: TensorInfo(shape, BFLOAT16) for name, shape in shapes.items()}
    anatomy = read_anatomy(FORMAT_NAMES[kind].place_tensors(infos))
    settings = anatomy.settings | {'ff_activation': anatomy.usual_activation}
    text = model_gin.text('', '', model_gin.ModelDescription(anatomy.blocks, settings, anatomy.router))
    again = model_gin.load(text, 'x')
    assert again.variables == config.variables and again.tied_embeddings == config.tied_embeddings, kind


@pytest.mark.parametrize('model', list_models())
def test_model_gin_says_what_the_model_says(model):
  config = load_config(model)
  assert model_gin.load(model_gin.text(config.title, config.source, model_gin.describe(config)), 'x') == _named(config)


@pytest.mark.parametrize(
    'parameters',
    [
        ["router = @routing.TopN()", 'routing.TopN.n = 3'],
        ['transformer_layers.SelfAttention.relative_attention_num_buckets = 16'],
        ['experts.SwitchFeedForward.hidden_size = 100', "activation_dtype = 'float32'", 'dropout_rate = 0.1'],
        ['encoder/stacks.num_blocks.layers_per_block = 1',
         'encoder/transformer.make_layer_stack.layers = '
         '[@transformer_layers.SelfAttention, @experts.SwitchFeedForward]', 'num_decoder_layers = 4'],
    ],
    ids=['router', 'buckets', 'wide experts', 'own layers'],
)  # fmt: skip
def test_model_gin_says_what_no_model_of_the_zoo_has(parameters):
  config = load_config('tiny_switch_8', parameters)
  again = model_gin.load(model_gin.text('', '', model_gin.describe(config)), 'x')
  assert again == _named(config)


def _kinds(config):
  """T5X has one name for all routers."""
  return [kind for kind in names.TITLES if kind != names.T5X or config.router in ('', 'top1')]


def _named(config):
  return dataclasses.replace(config, name='model')


def test_an_error_in_a_text_that_is_in_no_file_names_the_checkpoint():
  with pytest.raises(UserError) as error:
    text = model_gin.text('', '', model_gin.describe(load_config('tiny_dense')))
    model_gin.load(text.replace('d_model = 64', 'd_model = 0'), 'my/checkpoint')
  assert str(error.value).startswith('the model of my/checkpoint: ') and 'd_model is 0' in str(error.value)
