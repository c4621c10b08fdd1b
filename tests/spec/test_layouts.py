"""Every layout file fits its models, is accepted by Mesh-TensorFlow's TPU implementation, and changes no result."""

import functools
import inspect
import pathlib
import re

import gin
import numpy as np
import pytest
import tpu_harness
import zoo_harness
from mesh_tensorflow.transformer import transformer
from t5.models import mtf_model

from switch_zoo import list_models, load_config
from switch_zoo.errors import UserError
from switch_zoo.mesh import graph as mesh_graph
from switch_zoo.planner import hardware
from switch_zoo.spec import gin_files, layouts
from switch_zoo.spec.zoo import model_file

READY = [name for name in layouts.list_layouts() if '/' in name]
# Strategy -> the mesh it is lowered with at full size, its model there, and the mesh of 8 slices it is run on.
STRATEGIES = {
  'data': ('batch:8', 'switch_base_2', 'batch:8'),
  'model': ('model:4', 'switch_base_8', 'model:8'),
  'model_data': ('batch:8;model:4', 'switch_base_8', 'batch:4;model:2'),
  'expert_data': ('batch:32', 'switch_base_32', 'batch:8'),
  'expert_model_data': ('batch:8;model:4', 'switch_base_8', 'batch:4;model:2'),
  'expert_replication': ('outer:4;batch:8', 'switch_base_8', 'outer:2;batch:4'),
}
SLICES = {'v3-8', 'v3-32', 'v3-128', 'v3-512', 'v3-2048', 'v4-64', 'v4-512', 'v4-4096'}
CUT_TO_SIZE = ['num_heads = 16', 'num_experts = 32']
SMALL_BATCH = mesh_graph.Batch(64, {'inputs': 32, 'targets': 16})
# float32 weights and gradients, without which no step is possible; the compiler's figures are in `tests/tpu`.
BYTES_PER_PARAMETER = 8


def ready(name):
  """(slice, config, layout, sequences of a batch) of a layout for a slice and a model."""
  slice_name, model = name.split('/')
  layout = layouts.load_layout(name)
  return slice_name, load_config(model), layout, max(layouts.SEQUENCES, layout.num_slices)


def strategy(name, mesh_shape):
  """A strategy with a mesh; the replicas of the experts are the axis that holds them."""
  replicas = re.search(r'outer:(\d+)', mesh_shape)
  parameters = [f"mesh_shape = '{mesh_shape}'"] + ([f'expert_replicas = {replicas[1]}'] if replicas else [])
  return layouts.load_layout(name, tuple(parameters))


def test_strategies_and_slices_are_there():
  assert set(STRATEGIES) | {'cpu'} == {name for name in layouts.list_layouts() if '/' not in name}
  assert {name.split('/')[0] for name in READY} == SLICES


def test_every_model_has_a_ready_layout():
  served = {name.split('/')[1] for name in READY}
  assert served == {model for model in list_models() if not model.startswith('tiny_')}


@pytest.mark.parametrize('name', READY)
def test_ready_layout_fits_its_model_and_its_slice(name):
  slice_name, config, layout, sequences = ready(name)
  layouts.check(layout, config, sequences, slice_name)
  held = layouts.parameters_per_core(layout, config)
  limit = hardware.slice_named(slice_name).chip.limit
  assert held * BYTES_PER_PARAMETER < limit, 'weights and gradients fit what the compiler has of a core'
  elsewhere = config.num_expert_parameters - config.num_expert_parameters // layout.parts('experts')
  assert held <= config.num_parameters - elsewhere


@pytest.mark.parametrize('name', READY)
def test_paper_layouts(name):
  """Switch-C has expert and data parallelism only, Switch-XXL has model parallelism too (arXiv:2101.03961, 5.6)."""
  _, config, layout, _ = ready(name)
  if config.name.startswith('switch_c'):
    assert 'model' not in layout.mesh and layout.rules['experts'] == layout.rules['batch']
  if config.name.startswith('switch_xxl'):
    assert {layout.rules[name] for name in ('d_ff', 'expert_hidden', 'heads', 'd_model_split')} == {'model'}


def test_rules_cut_what_the_released_ones_forget():
  released = layouts.parse('batch:128;model:16', 'batch:batch,d_ff:model,heads:model,vocab:model,experts:batch')
  ours, config = layouts.load_layout('v3-2048/switch_xxl_128'), load_config('switch_xxl_128')
  assert ours.mesh == released.mesh
  experts = config.num_expert_parameters // 128
  difference = layouts.parameters_per_core(released, config) - layouts.parameters_per_core(ours, config)
  assert difference == experts - experts // 16


def test_parameters_per_core_by_hand():
  config = load_config('switch_base_8')
  layout = layouts.parse('batch:8', 'batch:batch;experts:batch')
  assert layouts.parameters_per_core(layout, config) == config.num_parameters - 7 * config.num_expert_parameters // 8


REFUSED = {
    'experts': (
        'batch:16', 'experts:batch', r'num_experts=8 does not divide over mesh axis "batch" of size 16 '
        r'\(layout rule "experts:batch"\). Use a multiple of 16, or a smaller axis'),
    'heads': ('model:8', 'heads:model', 'num_heads=12 does not divide over mesh axis "model" of size 8'),
    'expert_hidden': (
        'model:5', 'expert_hidden:model', 'expert_d_ff=3072 does not divide over mesh axis "model" of size 5'),
    'batch': ('batch:4096', 'batch:batch', 'for each replica of the experts=2048 does not divide'),
    'one axis twice': ('model:4', 'd_model:model;d_ff:model', 'd_model and d_ff of encoder/.* to the same mesh axis'),
    'batch twice': ('all:4', 'batch:all;length:all', 'batch and length of a batch to the same mesh axis "all"'),
}  # fmt: skip


@pytest.mark.parametrize('case', REFUSED)
def test_layout_that_does_not_fit_is_refused(case):
  mesh, rules, message = REFUSED[case]
  with pytest.raises(UserError, match=message):
    layouts.check(layouts.parse(mesh, rules), load_config('switch_base_8'))


def test_slice_of_another_size_is_refused():
  with pytest.raises(UserError, match='batch:8 has 8 slices, and v3-32 has 32 cores'):
    layouts.check(layouts.parse('batch:8', 'batch:batch'), load_config('t5_base'), slice_name='v3-32')
  with pytest.raises(UserError, match='"v3" is not a TPU slice'):
    layouts.cores('v3')
  with pytest.raises(UserError, match='2047 sequences do not divide over 2 replicas'):
    layouts.check(layouts.parse('outer:2', 'outer_batch:outer', 2), load_config('t5_base'), 2047)


MALFORMED = {
  'no pair': ('batch', 'batch:batch', '"batch" is not a pair. Write it as in "batch:4;model:2"'),
  'no number': ('batch:many', 'batch:batch', 'axis "batch" has size many'),
  'no slice': ('batch:0', 'batch:batch', 'axis "batch" has size 0'),
  'axis twice': ('batch:2;batch:4', 'batch:batch', 'names "batch" twice'),
  'rule twice': ('batch:2', 'batch:batch;batch:x', 'layout_rules .* names "batch" twice'),
  'no such dimension': ('batch:2', 'expert:batch', 'no model has a dimension "expert".*Did you mean experts'),
}


@pytest.mark.parametrize('case', MALFORMED)
def test_malformed_text_is_refused(case):
  mesh, rules, message = MALFORMED[case]
  with pytest.raises(UserError, match=message):
    layouts.parse(mesh, rules)


def test_separators_are_mesh_tensorflows():
  assert layouts.parse('batch:4, model:2', 'batch:batch d_ff:model').text() == (
    'batch:4;model:2',
    'batch:batch;d_ff:model',
  )


def released_rules():
  """The layout rules in the gin files of Mesh-TensorFlow and T5, and the default of T5's model API."""
  for folder in gin_files.search_path()[1:]:
    for name in gin_files.available([folder]):
      bound = gin_files.read([name])
      yield from {value for key in bound.bindings if key.endswith('run.layout_rules') and (value := bound.value(key))}
  yield inspect.signature(mtf_model.MtfModel).parameters['layout_rules'].default


def test_released_rules_are_accepted():
  rules = set(released_rules())
  assert 'outer_batch:outer,batch:inner,experts:inner' in rules and len(rules) > 1
  for text in rules:
    layouts.parse('batch:2;model:2;outer:2;inner:2;ensemble:2', text)


def test_dimensions_of_released_layers_are_accepted():
  folder = pathlib.Path(transformer.__file__).parent
  text = '\n'.join(path.read_text() for path in folder.glob('*.py') if not path.name.endswith('_test.py'))
  names = set(re.findall(r"""Dimension\(\s*['"](\w+)['"]""", text))
  # Axes of meshes, and names of a moment.
  assert names - {'model', '_', 'k', 'tmp'} <= {*layouts.DIMENSIONS, *layouts.RELEASED_DIMENSIONS}
  assert not layouts.RELEASED_DIMENSIONS & set(layouts.DIMENSIONS)


def test_only_dimensions_of_our_models_are_suggested():
  with pytest.raises(UserError, match=r'Did you mean experts\? Dimensions are outer_batch, .*expert_hidden\.$'):
    layouts.parse('batch:2', 'expert:batch')


def test_rule_for_an_axis_the_mesh_lacks_does_nothing():
  layout = layouts.parse('batch:4', 'batch:batch,d_ff:model')
  assert (layout.parts('d_ff'), layout.parts('batch'), layout.rules) == (1, 4, {'batch': 'batch'})


def test_layout_files_that_cannot_be_read(tmp_path):
  with pytest.raises(UserError, match='no layout "expert_dat".*Did you mean expert_data'):
    layouts.load_layout('expert_dat')
  with pytest.raises(UserError, match='mesh_shape has no value: .*expert_data.gin, line .* leaves it REQUIRED'):
    layouts.load_layout('expert_data')
  own = tmp_path / 'own.gin'
  own.write_text("utils.run.mesh_shape = 'batch:4'\n")
  with pytest.raises(UserError, match='is not a layout: it sets no utils.run.layout_rules'):
    layouts.load_layout(str(own))
  own.write_text("include 'layouts/data.gin'\nmesh_shape = 'batch:4'\n")
  assert layouts.load_layout(str(own)).num_slices == 4


@pytest.fixture(scope='module')
def lowered_small():
  """(model, layout) -> a model under the overlay lowered for TPU, optimizer included; what is equal there only once."""
  done = {}

  def lower(model, layout):
    config = zoo_harness.configure(model, CUT_TO_SIZE)
    key = (gin.config_str(), layout.text(), layout.outer_batch_size)
    if key not in done:
      done[key] = tpu_harness.lower(mesh_graph.build_model(config, *layout.text()), layout, SMALL_BATCH)
    return done[key], config

  return lower


@pytest.mark.slow
@pytest.mark.parametrize('name', [name for name in READY if layouts.cores(name.split('/')[0]) <= 32])
def test_ready_layout_is_lowered_for_tpu(lowered_small, name):
  layout = layouts.load_layout(name)
  lowered, config = lowered_small(name.split('/')[1], layout)
  layouts.check(layout, config, SMALL_BATCH.size)
  check_lowered(lowered, layout, config)


@pytest.mark.slow
@pytest.mark.parametrize('name', STRATEGIES)
def test_strategy_is_lowered_for_tpu_at_the_size_of_switch_base(name):
  mesh_shape, model, _ = STRATEGIES[name]
  layout, batch = strategy(name, mesh_shape), mesh_graph.Batch(256)
  config = mesh_graph.configure([model_file(model)])
  layouts.check(layout, config, batch.size)
  # Forward and backward; the optimizer, which treats each weight alike, is lowered at tiny size above.
  lowered = tpu_harness.lower(mesh_graph.build_model(config, *layout.text()), layout, batch, learning_rate=None)
  check_lowered(lowered, layout, config)


def check_lowered(lowered, layout, config):
  """A core holds its share of the weights, and tokens travel to experts where experts are cut, and only there."""
  assert lowered.parameters == layouts.parameters_per_core(layout, config)
  sparse = len(config.encoder_sparse_layers) + len(config.decoder_sparse_layers)
  # To the experts and back, forward and backward.
  assert lowered.operations['AllToAll'] == (4 * sparse if 'experts' in layout.rules else 0)
  assert lowered.operations['CrossReplicaSum'] > 0
  assert lowered.operations['TPUReplicateMetadata'] == 1


# Noise would differ from slice to slice; 8 slices need 8 experts and heads, and groups no larger than a slice's tokens.
DETERMINISTIC = ["routing.Top1.policy = 'argmax'", 'num_heads = 8', 'num_experts = 8', 'group_size = 32']
BATCH = mesh_graph.Batch(16, {'inputs': 32, 'targets': 16})


@functools.cache
def one_slice(outer_batch_size):
  config = zoo_harness.configure('switch_base_8', DETERMINISTIC)
  return zoo_harness.step(config, layouts.Layout({}, {}, outer_batch_size), BATCH)


@pytest.mark.slow
@pytest.mark.parametrize('name', STRATEGIES)
def test_eight_slices_give_the_result_of_one(name):
  layout = strategy(name, STRATEGIES[name][2])
  assert layout.num_slices == 8
  config = zoo_harness.configure('switch_base_8', DETERMINISTIC)
  expected = one_slice(layout.outer_batch_size)
  got = zoo_harness.step(config, layout, BATCH, expected.weights)
  assert got.loss == pytest.approx(expected.loss, rel=1e-5)
  assert got.gradients.keys() == expected.gradients.keys() == config.variables.keys()
  for variable, gradient in expected.gradients.items():
    np.testing.assert_allclose(got.gradients[variable], gradient, rtol=1e-3, atol=1e-5, err_msg=variable)
