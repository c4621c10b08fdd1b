"""The planner's counts against Mesh-TensorFlow's lowering: at full size, and in microbatches."""

import inspect

import mesh_tensorflow as mtf
import pytest
import tpu_harness
import zoo_harness
from test_planner_lowering import BATCH, CUT_TO_SIZE, STRATEGIES, check_counts, counted, strategy

from switch_zoo.mesh import graph as mesh_graph
from switch_zoo.planner import lowering
from switch_zoo.spec import layouts

# Model, parameters, layout, sequences, with optimizer.
FULL_SIZE = {
  'the whole of switch_base_128 on 32 cores': (
    'switch_base_128', [], 'v3-32/switch_base_128', 64, 1e-3),
  'one block of switch_c_2048 on 2048 cores': (
    'switch_c_2048', ['num_encoder_layers = 1', 'num_decoder_layers = 1'], 'v3-2048/switch_c_2048', 2048, None),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize('case', FULL_SIZE)
def test_counts_at_full_size_are_those_of_the_lowering(case):
  """Lengths 512 and 114. Mesh-TensorFlow makes a variable for each core: 2,048 leave out the optimizer's."""
  model, parameters, name, sequences, learning_rate = FULL_SIZE[case]
  config = mesh_graph.configure([f'models/{model}.gin'], parameters)
  layout = layouts.load_layout(name)
  batch = mesh_graph.Batch(sequences)
  theirs = tpu_harness.lower(mesh_graph.build_model(config, *layout.text()), layout, batch, learning_rate)
  check_counts(counted(config, layout, batch, with_optimizer=learning_rate is not None), theirs, layout)


@pytest.mark.slow
@pytest.mark.parametrize('name', STRATEGIES)
def test_what_each_microbatch_sends_and_what_waits_for_all_of_them(name, monkeypatch):
  """mesh_tensorflow.serialize_training_step: a loop, and sums over cores that follow it."""
  # The released one, also after a test that ran a training in this process.
  monkeypatch.setattr(mtf, 'serialize_training_step', inspect.unwrap(mtf.serialize_training_step))
  config = zoo_harness.configure('switch_base_8', ["activation_dtype = 'bfloat16'", *CUT_TO_SIZE])
  layout, number = strategy(name), 2
  theirs = tpu_harness.lower(
    mesh_graph.build_model(config, *layout.text()),
    layout,
    BATCH._replace(size=number * BATCH.size),
    microbatches=number,
  )
  ours = counted(config, layout, BATCH)
  sums = {lowering.ALL_REDUCE, lowering.ALL_GATHER, lowering.NOISE_REDUCE}
  sent = lambda kinds, once: sum(c.bytes for c in ours.collectives if c.kind in kinds and c.once == once)
  for kinds, operation in ((sums, 'CrossReplicaSum'), ({lowering.ALL_TO_ALL}, 'AllToAll')):
    assert sent(kinds, once=False) == theirs.repeated[operation]
    assert sent(kinds, once=True) == theirs.sent[operation]
