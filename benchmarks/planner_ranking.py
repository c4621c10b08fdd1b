"""Layouts of small models on 8 slices of this computer: measured, and in the planner's order.

    OMP_NUM_THREADS=1 python benchmarks/planner_ranking.py

A training step is lowered with Mesh-TensorFlow's implementation for processors and run with one thread. CPU seconds are
measured, so that other programs disturb little; the rates of this computer are measured first, as `switch_zoo plan
--measure 8` does. What one operation takes besides its work (`hardware.OPERATION_SECONDS`) was measured on the first
model; the other one was held out. Prints the figure that fits the first model today.
"""

import dataclasses
import statistics
import sys
import time

SLICES = 8
SEQUENCES = 32
LENGTHS = {'inputs': 64, 'targets': 32}
STEPS = 5
ONE_LAYER = ('num_encoder_layers = 1', 'num_decoder_layers = 1', "activation_dtype = 'float32'")
EXPERTS, REPLICAS = 'batch:batch;experts:batch', 'outer_batch:outer;batch:batch;experts:batch'
MODEL = 'batch:batch;d_ff:model;heads:model;vocab:model;expert_hidden:model'
BOTH = 'batch:batch;experts:batch;d_ff:model;heads:model;vocab:model;expert_hidden:model;d_model_split:model'


@dataclasses.dataclass(frozen=True)
class Case:
  """A model, and layouts of it as mesh, rules and replicas of the experts.

  parameters: of gin, on top of the model's
  """

  name: str
  model: str
  parameters: tuple[str, ...]
  layouts: tuple[tuple[str, str, int], ...]


CASES = (
  Case(
    'a dense model, used for the constant', 't5_small',
    (*ONE_LAYER, 'd_model = 256', 'd_ff = 1024', 'num_heads = 8', 'd_kv = 32', 'vocab_size = 2048'),
    (('batch:8', 'batch:batch', 1), ('batch:2;model:4', MODEL, 1), ('model:8', MODEL, 1)),
  ),
  Case(
    'experts, held out', 'switch_base_8',
    (*ONE_LAYER, 'num_encoder_layers = 2', 'num_decoder_layers = 2', 'd_model = 192', 'd_ff = 768', 'num_heads = 4',
     'd_kv = 48', 'vocab_size = 2048'),
    (('batch:8', EXPERTS, 1), ('outer:4;batch:2', REPLICAS, 4), ('batch:2;model:4', BOTH, 1)),
  ),
)  # fmt: skip


def measured(case, layout):
  """CPU seconds of a training step under a layout, the median of a few."""
  import mesh_tensorflow as mtf
  import numpy as np
  import tensorflow.compat.v1 as tf
  from mesh_tensorflow import placement_mesh_impl

  from switch_zoo import garbage
  from switch_zoo.mesh import graph as mesh_graph
  from switch_zoo.spec.zoo import model_file

  config = mesh_graph.configure([model_file(case.model)], case.parameters)
  batch = mesh_graph.Batch(SEQUENCES, LENGTHS)
  generator = np.random.default_rng(0)
  mesh, rules = layout.text()
  with tf.Graph().as_default(), garbage.without_collections():
    tf.train.get_or_create_global_step()
    values = {
      name: tf.constant(generator.integers(2, config.vocab_size, [SEQUENCES, length]), tf.int32)
      for name, length in LENGTHS.items()
    }
    model = mesh_graph.build_model(config, mesh, rules)
    training = mesh_graph.build_training(model, batch, values, layout.outer_batch_size)
    shape = mtf.convert_to_shape(mesh)
    slices = placement_mesh_impl.PlacementMeshImpl(shape, mtf.convert_to_layout_rules(rules), [''] * shape.size)
    lowering = mtf.Lowering(training.graph, {training.mesh: slices}, autostack=False)
    loss = lowering.export_to_tf_tensor(training.loss)
    step = tf.group([loss, *(lowering.lowered_operation(operation) for operation in training.updates)])
    settings = tf.ConfigProto(intra_op_parallelism_threads=1, inter_op_parallelism_threads=1)
    settings.graph_options.rewrite_options.disable_meta_optimizer = True  # takes longer than the steps
    with tf.Session(config=settings) as session:
      session.run(tf.global_variables_initializer())
      session.run(lowering.copy_masters_to_slices())
      return _median_seconds(lambda: session.run(step))


def _median_seconds(work):
  work()
  work()
  times = []
  for _ in range(STEPS):
    start = time.process_time()
    work()
    times.append(time.process_time() - start)
  return statistics.median(times)


def predicted(case, layout, target):
  """Cause -> seconds of a step."""
  from switch_zoo.planner.search import Judge
  from switch_zoo.spec import gin_files, zoo
  from switch_zoo.spec.zoo import model_file

  config = zoo.config_of_bound(gin_files.read([model_file(case.model)], case.parameters))
  judged = Judge(config, target, SEQUENCES, LENGTHS).judge(layout)
  if getattr(judged, 'microbatches', 0) != 1:
    raise AssertionError(f'{case.name}: {layout.text()} is not one microbatch: {judged}')
  return judged.seconds


def main():
  from switch_zoo import tf_compat

  tf_compat.repair()
  from switch_zoo.commands import plan_measure
  from switch_zoo.planner import cost, hardware
  from switch_zoo.spec import layouts

  target = plan_measure.this_computer(SLICES, time.process_time)
  print(f'{target.chip.flops * SLICES * cost.PRODUCT_SHARE / 1e9:.1f} GFLOP/s in large matrix products, '
        f'{target.chip.bandwidth * SLICES * cost.MEMORY_SHARE / 1e9:.1f} GB/s in copies')  # fmt: skip
  for number, case in enumerate(CASES):
    rows = []
    for mesh, rules, replicas in case.layouts:
      layout = layouts.parse(mesh, rules, replicas)
      rows.append((mesh, measured(case, layout), predicted(case, layout, target)))
      print(f'{mesh}: {rows[-1][1]:.3f} s', file=sys.stderr, flush=True)
    _print(case, rows)
    if not number:
      started = sum(seconds[cost.STARTING] for _, _, seconds in rows) / hardware.OPERATION_SECONDS
      missing = sum(took - sum(seconds.values()) + seconds[cost.STARTING] for _, took, seconds in rows)
      print(
        f'OPERATION_SECONDS that fits: {missing / started * 1e6:.1f} us; in use: {hardware.OPERATION_SECONDS * 1e6:.1f}'
      )


def _print(case, rows):
  order = [mesh for mesh, _, _ in sorted(rows, key=lambda row: row[1])]
  ours = [mesh for mesh, _, _ in sorted(rows, key=lambda row: sum(row[2].values()))]
  print(f'{case.name}: {"the same order" if order == ours else f"measured {order}, predicted {ours}"}')
  for mesh, took, seconds in rows:
    causes = ', '.join(f'{cause} {value:.3f}' for cause, value in seconds.items() if value >= 0.0005)
    print(f'  {mesh:16} measured {took:.3f} s, predicted {sum(seconds.values()):.3f} s: {causes}')


if __name__ == '__main__':
  main()
