"""The planner's graph is Mesh-TensorFlow's, and its counts are those of Mesh-TensorFlow's lowering for TPUs."""

import collections

import mesh_tensorflow as mtf
import pytest
import tensorflow.compat.v1 as tf
import tpu_harness
import zoo_harness
from tensorflow.python.ops import control_flow_util

from switch_zoo.mesh import graph as mesh_graph
from switch_zoo.planner import lowering, step
from switch_zoo.spec import layouts

BATCH = mesh_graph.Batch(64, {'inputs': 32, 'targets': 16})
BFLOAT16 = "activation_dtype = 'bfloat16'"
# One of each kind: tied and not, ReLU and GEGLU, top-1 and top-2, with dropout, with padding of the vocabulary.
MODELS = {
  'dense': ('t5_base', [BFLOAT16]),
  'float32': ('switch_base_8', []),
  'top1': ('switch_base_8', [BFLOAT16]),
  'gated': ('switch_xxl_128', [BFLOAT16, 'dropout_rate = 0.1', 'expert_dropout_rate = 0.2']),
  'all sparse': ('switch_c_2048', [BFLOAT16]),
  'top2': ('gshard_12b5', [BFLOAT16, 'target_vocab_size = 100']),
}
CUT_TO_SIZE = ['num_heads = 16', 'num_experts = 32']
# Strategy -> mesh, replicas of the experts.
STRATEGIES = {
  'data': ('batch:16', 1),
  'model': ('model:16', 1),
  'model_data': ('batch:4;model:4', 1),
  'expert_data': ('batch:32', 1),
  'expert_model_data': ('batch:8;model:4', 1),
  'expert_replication': ('outer:4;batch:8', 4),
}
KINDS = {
  mtf.AddOperation: 'add',
  mtf.EinsumOperation: 'einsum',
  mtf.ReduceOperation: 'reduce',
  mtf.ReshapeOperation: 'reshape',
}
OUR_KINDS = {'add': 'add', 'einsum': 'einsum', 'sum': 'reduce', 'max': 'reduce', 'reshape': 'reshape'}


def strategy(name):
  mesh, replicas = STRATEGIES[name]
  parameters = [f"mesh_shape = '{mesh}'"] + ([f'expert_replicas = {replicas}'] if replicas > 1 else [])
  return layouts.load_layout(name, tuple(parameters))


def counted(config, layout, batch, with_optimizer=True):
  ours = step.build(
    config, batch.size, batch.lengths, layout.outer_batch_size, layout.parts('batch'), with_optimizer=with_optimizer
  )
  return lowering.lower(ours.graph, layout, ours.gradients.values())


def signature(kind, inputs, output):
  named = lambda tensor: (tensor[0], tuple(('' if name.startswith('_') else name, size) for name, size in tensor[1]))
  return kind, tuple(map(named, inputs)), named(output)


@pytest.mark.parametrize('model', MODELS)
def test_the_graph_is_mesh_tensorflows_operation_by_operation(model, monkeypatch):
  monkeypatch.setattr(control_flow_util, 'GraphOrParentsInXlaContext', lambda graph: True)
  config = zoo_harness.configure(*MODELS[model])
  with tf.Graph().as_default():
    tf.train.get_or_create_global_step()
    # A mesh that cuts nothing, because one slice has faster operations of its own.
    model = mesh_graph.build_model(config, 'unused:2')
    theirs = mesh_graph.build_training(model, BATCH).graph.operations
  described = lambda x: (x.dtype.name, tuple((d.name, d.size) for d in x.shape.dims))
  kind_of = lambda operation: next((KINDS[base] for base in type(operation).__mro__ if base in KINDS), None)
  expected = [signature(kind_of(o), map(described, o.inputs), described(o.outputs[0])) for o in theirs if kind_of(o)]
  ours = step.build(config, BATCH.size, BATCH.lengths).graph.operations
  got = [
    signature(OUR_KINDS[o.kind], [(x.dtype, x.axes) for x in o.inputs], (o.output.dtype, o.output.axes))
    for o in ours
    if o.kind in OUR_KINDS
  ]
  assert got == expected


def check_counts(ours, theirs, layout):
  """Elements by collective and axes, multiplications, and bytes by collective."""
  cores, names = layout.num_slices, list(layout.mesh)
  expected = collections.Counter()
  for key, value in theirs.counters.items():
    kind, _, rest = key.partition('/')
    if kind in ('allreduce', 'alltoall', 'allconcat'):
      axes = rest.partition('/')[0].strip('[]').split(', ')
      assert value % cores == 0
      expected[kind, tuple(names[int(axis)] for axis in axes)] += value // cores
  kinds = {
    lowering.ALL_REDUCE: 'allreduce', lowering.ALL_TO_ALL: 'alltoall', lowering.ALL_GATHER: 'allconcat'}  # fmt: skip
  got = collections.Counter()
  for collective in ours.collectives:
    if collective.kind == lowering.NOISE_REDUCE:
      continue
    got[kinds[collective.kind], collective.axes] += collective.elements
  assert got == expected
  assert ours.multiplications * cores == theirs.counters['einsum']
  size = lambda *kinds: sum(c.bytes for c in ours.collectives if c.kind in kinds)
  # SimdMeshImpl gathers by summing, and sums noise, which no counter mentions.
  assert size(lowering.ALL_REDUCE, lowering.ALL_GATHER, lowering.NOISE_REDUCE) == theirs.sent['CrossReplicaSum']
  assert size(lowering.ALL_TO_ALL) == theirs.sent['AllToAll']


# Every strategy with one model, and every model with the strategy that has all kinds of exchanges.
PAIRS = [('top1', name) for name in STRATEGIES]
PAIRS += [(model, 'expert_model_data') for model in MODELS if model != 'top1']


@pytest.mark.slow
@pytest.mark.parametrize(('model', 'name'), PAIRS)
def test_counts_of_a_step_are_those_of_the_lowering(model, name):
  file, parameters = MODELS[model]
  config = zoo_harness.configure(file, [*parameters, *CUT_TO_SIZE])
  layout = strategy(name)
  theirs = tpu_harness.lower(mesh_graph.build_model(config, *layout.text()), layout, BATCH)
  check_counts(counted(config, layout, BATCH), theirs, layout)
