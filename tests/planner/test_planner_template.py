"""One graph of a model with placeholders serves every batch and layout: it is the graph that is built for each."""

import dataclasses
import functools

import pytest

from switch_zoo import load_config
from switch_zoo.planner import lives, lowering, memory, search, sizes, slicing, step
from switch_zoo.planner.hardware import slice_named
from switch_zoo.spec import layouts

MODELS = ('t5_base', 'switch_base_8', 'switch_xxl_128', 'gshard_12b5')
EXPERTS = 'batch:batch;experts:batch'
MODEL = ';d_ff:model;heads:model;vocab:model;expert_hidden:model;d_model_split:model'
# (mesh, rules, replicas), sequences, lengths: also ones whose sizes coincide, so that reshapes change other cuts.
CASES = (
  (('batch:8', EXPERTS, 1), 64, (512, 114)),
  (('batch:4;model:2', EXPERTS + MODEL, 1), 64, (512, 114)),
  (('outer:2;batch:4', f'outer_batch:outer;{EXPERTS}', 2), 64, (32, 32)),
  (('batch:2;model:4', f'batch:batch{MODEL}'.replace(';d_model_split:model', ''), 1), 8, (64, 64)),
  (('model:8', MODEL[1:], 1), 1, (8, 4)),
)


def short(model):
  """The model with two blocks in each stack."""
  config = load_config(model)
  layers = 2 * config.num_encoder_layers // config.num_encoder_blocks
  return dataclasses.replace(config, num_encoder_layers=layers, num_decoder_layers=layers)


@functools.cache
def concrete(model, sequences, lengths, replicas, parts):
  return step.build(short(model), sequences, dict(zip(step.LENGTHS, lengths, strict=True)), replicas, parts).compiled()


@pytest.fixture(params=MODELS)
def model(request):
  return request.param


@pytest.fixture(params=CASES, ids=lambda case: case[0][0])
def both(model, request):
  """(the step built for a layout, its slicing), (the template, its slicing), layout"""
  texts, sequences, lengths = request.param
  layout, config = layouts.parse(*texts), short(model)
  replicas, parts = layout.outer_batch_size, layout.parts('batch')
  actual = sizes.of_step(config, sequences, dict(zip(step.LENGTHS, lengths, strict=True)), replicas, parts)
  built = concrete(model, sequences, lengths, replicas, parts)
  placed = slicing.Slicing(layout, sizes.placed(config, actual))
  return (built, slicing.Slicing(layout)), (step.template(config), placed), layout


def test_the_graph_has_the_same_operations_and_sizes(both):
  (built, _), (template, placed), _ = both
  actual = lambda axes: tuple((name, placed.actual(size)) for name, size in axes)
  number = {o: i for i, o in enumerate(built.graph.operations)}
  template_number = {o: i for i, o in enumerate(template.graph.operations)}
  assert len(number) == len(template_number)
  for ours, theirs in zip(template.graph.operations, built.graph.operations, strict=True):
    described = ours.kind, actual(ours.output.axes), ours.output.dtype, ours.section, ours.backward, ours.is_product
    x = theirs.output
    assert described == (theirs.kind, x.axes, x.dtype, theirs.section, theirs.backward, theirs.is_product)
    assert [template_number[x.operation] for x in ours.inputs] == [number[x.operation] for x in theirs.inputs]


def test_it_computes_sends_and_keeps_the_same(both):
  (built, slices), (template, placed), layout = both
  expected = lowering.lower(built.graph, layout, built.gradients.values())
  assert lowering.lower_step(template, placed) == expected
  assert lives.fullest(template, placed) == lives.fullest(built, slices)
  assert memory.traffic(template, placed) == memory.traffic(built, slices)


@pytest.mark.parametrize('microbatches', [1, 2])
def test_memory_of_a_core_is_the_same(both, model, microbatches):
  (built, _), (template, placed), layout = both
  config = short(model)
  expected = memory.of_step(config, layout, built, microbatches)
  assert memory.of_step(config, layout, template, microbatches, placed) == expected


def test_layouts_that_cut_alike_are_followed_once(monkeypatch):
  followed = []
  released = lowering._Lowering
  monkeypatch.setattr(lowering, '_Lowering', lambda *given: followed.append(given) or released(*given))
  step.template.cache_clear()
  judge = search.Judge(short('t5_small'), slice_named('v3-32'), 64, {'inputs': 32, 'targets': 16})
  for mesh in ('batch:16;model:2', 'batch:8;model:4', 'batch:4;model:8'):
    judged = judge.judge(layouts.parse(mesh, 'batch:batch;d_ff:model;heads:model;vocab:model'))
    assert isinstance(judged, search.Plan)
  assert len(followed) == 1
