"""The layout of a run against its model and its batch, for every kind of model and mode, without running it."""

import dataclasses

import mesh_tensorflow as mtf
import own_layer  # noqa: F401 - gives gin the layer
import pytest

from switch_zoo.errors import UserError
from switch_zoo.launcher import graph_settings, layout_check
from switch_zoo.mesh import gin_setup
from switch_zoo.spec import gin_files

RELEASED_RULES = 'ensemble:ensemble,batch:batch,d_ff:model,heads:model,vocab:model,experts:batch'
SETTINGS = graph_settings.GraphSettings(
  model_type='bitransformer',
  vocab_sizes=(1024, 1024),
  lengths={'inputs': 32, 'targets': 16},
  batch_size=8,
  mesh_shape='',
  layout_rules='',
  rules_place='',
  outer_batch_size=1,
  mode='train',
)
OWN_LAYER = [
  'encoder/make_layer_stack.layers = [@transformer_layers.SelfAttention, @own_layer.Bottleneck]',
  'encoder/make_layer_stack.num_layers = 1',
]


def check(model='tiny_switch_8', parameters=(), **changes):
  """Configures gin with a model and checks settings; gives the graph."""
  bound = gin_files.read([f'models/{model}.gin'], parameters)
  gin_setup.configure(bound)
  return layout_check.checked_graph(dataclasses.replace(SETTINGS, **changes), bound)


def refused(*args, **changes):
  with pytest.raises(UserError) as error:
    check(*args, **changes)
  assert '\n' not in str(error.value)
  return str(error.value)


@pytest.mark.parametrize('mesh', ['', 'batch:2', 'batch:2;model:2'])
@pytest.mark.parametrize('mode', ['train', 'perplexity_eval', 'infer'])
def test_released_rules_fit(mesh, mode):
  check(mesh_shape=mesh, layout_rules=RELEASED_RULES, mode=mode)


def test_the_graph_is_the_models():
  assert sum(variable.shape.size for variable in check().trainable_variables) == 460_800


def test_replicas_of_experts():
  replicated = {'mesh_shape': 'outer:2;batch:4', 'layout_rules': 'outer_batch:outer;batch:batch;experts:batch'}
  check(**replicated, outer_batch_size=2)
  assert 'replicas of the experts (outer_batch_size)=1 does not divide' in refused(**replicated)
  for mode in ('infer', 'eval', 'score_from_strings', 'export_infer'):
    text = refused(**replicated, outer_batch_size=2, mode=mode)
    assert f'with utils.run.mode = "{mode}" a batch has none. Use a layout without outer_batch' in text


def test_without_experts_answers_need_no_replicas():
  check('tiny_dense', mesh_shape='outer:2', layout_rules='outer_batch:outer', outer_batch_size=2, mode='infer')


def test_answers_need_a_batch_that_divides_as_a_whole():
  """Without replicas, the axis of the batch cuts all sequences: 4 of 8 in training, 8 of 8 here."""
  layout = {'mesh_shape': 'batch:8', 'layout_rules': 'batch:batch', 'outer_batch_size': 2}
  check('tiny_dense', **layout, mode='infer')
  assert '=4 does not divide over mesh axis "batch" of size 8' in refused('tiny_dense', **layout)


@pytest.mark.parametrize(
  ('batch_size', 'sequences'),
  [
    (8, 8),
    (('sequences_per_batch', 8), 8),
    (('tokens_per_batch', 256), 8),
    (('sequences_per_replica', 4), 8),
    (('tokens_per_replica', 128), 8),
  ],
)
def test_every_form_of_a_batch_size(batch_size, sequences):
  layout = {'mesh_shape': 'batch:2', 'layout_rules': 'batch:batch'}
  assert dataclasses.replace(SETTINGS, batch_size=batch_size, **layout).sequences() == sequences


def test_a_batch_size_that_is_none():
  assert 'unknown method tokens. Use' in refused(batch_size=('tokens', 256))


def test_a_dimension_of_a_users_own_layer():
  layout = {'mesh_shape': 'model:2', 'layout_rules': 'narrow:model'}
  check('tiny_dense', OWN_LAYER, **layout)
  assert 'narrow=6 does not divide over mesh axis "model" of size 4' in refused(
    'tiny_dense', OWN_LAYER, mesh_shape='model:4', layout_rules='narrow:model'
  )
  text = refused('tiny_dense', OWN_LAYER, mesh_shape='model:2', layout_rules='narow:model')
  assert 'no model has a dimension "narow"' in text and 'Did you mean narrow?' in text


def test_a_users_own_dimension_is_unknown_to_other_models():
  assert 'no model has a dimension "narrow"' in refused(mesh_shape='model:2', layout_rules='narrow:model')


def test_one_stack_reads_the_targets_alone():
  check(
    'tiny_dense',
    ['make_layer_stack.layers = [@transformer_layers.SelfAttention, @transformer_layers.DenseReluDense]',
     'make_layer_stack.num_layers = 1', 'Unitransformer.loss_fn = None'],
    model_type='lm', mesh_shape='model:2', layout_rules='d_ff:model',
  )  # fmt: skip


def test_layouts_in_other_forms_than_text():
  shape = mtf.Shape([mtf.Dimension('batch', 4), mtf.Dimension('model', 2)])
  assert graph_settings.mesh_text(shape) == graph_settings.mesh_text('batch:4;model:2') == 'batch:4;model:2'
  assert graph_settings.mesh_text(None) == graph_settings.mesh_text(mtf.Shape([])) == ''
  rules = mtf.convert_to_layout_rules('d_ff:model;batch:batch')
  assert graph_settings.rules_text(rules) == graph_settings.rules_text([('batch', 'batch'), ('d_ff', 'model')])


def test_the_place_of_a_rule_however_its_name_is_written():
  bound = gin_files.GinFiles()
  bound.read_parameter("mesh_tensorflow.transformer.utils.run.layout_rules = ''")
  assert graph_settings.place(bound, 'run.layout_rules') == '--gin_param'
  assert graph_settings.place(bound, 'run.mesh_shape') == ''
