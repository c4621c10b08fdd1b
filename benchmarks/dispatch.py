"""One expert layer, forward and backward, on this machine: gather, einsum and the released MoE1D side by side.

  python benchmarks/dispatch.py --out dispatch.json

Every cell runs in a separate process, which gives its peak memory. The time is the best of several steps; on a machine
that is not idle, read the processor time, which is summed over the cores. The column `bound s` is the time at the
smallest size plus the least that more experts can add: the arithmetic is the same for any number of experts, so this is
reading the additional weights twice and writing their gradient once, at the bandwidth of a plain copy.
"""

import argparse
import json
import resource
import subprocess
import sys
import time

METHODS = ('gather', 'einsum', 'stock')


def build_layer(method, sizes):
  """The layer under test, with the same settings for all three."""
  from mesh_tensorflow.transformer import moe

  from switch_zoo.mesh import dispatch, experts
  from switch_zoo.mesh.routing import routers

  shared = {'num_experts': sizes.experts, 'hidden_size': sizes.d_ff, 'group_size': sizes.group_size}
  if method == 'stock':
    return moe.MoE1D(moe_gating='switch', switch_policy_train='argmax', **shared)
  way = {'gather': dispatch.Gather, 'einsum': dispatch.Einsum}[method]()
  return experts.SwitchFeedForward(router=routers.Top1(policy='argmax'), dispatch=way, **shared)


def build_step(method, sizes):
  """The tf.Operations that compute the output and all gradients, and the bytes of the weights."""
  import types

  import mesh_tensorflow as mtf
  import tensorflow.compat.v1 as tf
  from mesh_tensorflow import placement_mesh_impl
  from mesh_tensorflow.transformer import transformer

  graph = mtf.Graph()
  mesh = mtf.Mesh(graph, 'mesh')
  length = min(sizes.tokens, 512)
  dims = [
    mtf.Dimension('batch', sizes.tokens // length),
    mtf.Dimension('length', length),
    mtf.Dimension('d_model', sizes.d_model),
  ]
  values = tf.get_variable('x', [d.size for d in dims], initializer=tf.random_normal_initializer(), trainable=False)
  x = mtf.import_tf_tensor(mesh, values, mtf.Shape(dims))
  ids = mtf.ones(mesh, dims[:2], dtype=tf.int32)
  model = types.SimpleNamespace(
    model_dim=dims[-1], layout='', mesh_shape='', ensemble_dim=None, autoregressive=False, name='encoder'
  )
  context = transformer.Context(model, mesh, dims[:1], dims[1], mtf.VariableDType(), losses=[], sequence_id=ids)
  y = build_layer(method, sizes).call(context, x)
  weights = [v.outputs[0] for v in graph.trainable_variables]
  gradients = mtf.gradients([mtf.reduce_sum(mtf.square(y)) + context.losses[0]], [*weights, x])
  implementation = placement_mesh_impl.PlacementMeshImpl(mtf.Shape([]), mtf.LayoutRules([]), [''])
  lowering = mtf.Lowering(graph, {mesh: implementation}, autostack=False)
  # Fetched one by one: behind a tf.group they would be optimized away, since nothing reads them.
  step = [lowering.export_to_tf_tensor(t).op for t in [y, *gradients]]
  return step, sum(4 * v.shape.size for v in weights)


def measure(method, sizes):
  """Seconds of one step, peak memory and bytes of the weights, in this process."""
  from switch_zoo import tf_compat

  tf_compat.repair()
  import tensorflow.compat.v1 as tf

  with tf.Graph().as_default(), tf.Session() as session:
    step, weight_bytes = build_step(method, sizes)
    session.run(tf.global_variables_initializer())
    session.run(step)
    seconds = [_timed(lambda: session.run(step)) for _ in range(sizes.steps)]
  peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
  wall, cpu = (min(column) for column in zip(*seconds, strict=True))
  return {'seconds': wall, 'cpu_seconds': cpu, 'peak_bytes': peak, 'weight_bytes': weight_bytes}


def copy_bandwidth():
  """Bytes per second of a plain copy, counting reads and writes."""
  import numpy as np

  source = np.ones(2**27, np.float32)
  target = np.empty_like(source)
  best = min(_timed(lambda: np.copyto(target, source))[0] for _ in range(3))
  return 2 * source.nbytes / best


def _timed(action):
  """(seconds on the clock, seconds of processor time of all threads)."""
  start, cpu = time.perf_counter(), time.process_time()
  action()
  return time.perf_counter() - start, time.process_time() - cpu


def in_own_process(method, experts, arguments):
  """Runs `measure` in a fresh process."""
  command = [sys.executable, __file__, '--cell', method, '--experts', str(experts)]
  for name in ('tokens', 'd_model', 'd_ff', 'group_size', 'steps'):
    command += [f'--{name}', str(getattr(arguments, name))]
  done = subprocess.run(command, capture_output=True, text=True, check=False)
  if done.returncode:
    raise RuntimeError(f'{method} with {experts} experts failed:\n{done.stderr[-2000:]}')
  return json.loads(done.stdout.splitlines()[-1])


def table(cells, bandwidth):
  """The results as lines of text."""
  methods = list(next(iter(cells.values())))
  lines = [
    'experts   '
    + ''.join(f'{m + " s (cpu s)":>20}' for m in methods)
    + '   bound s   peak GB:'
    + ''.join(f'{m:>8}' for m in methods)
    + '  weights'
  ]
  first = None
  for experts, row in cells.items():
    gather = row['gather']
    first = first or gather
    bound = first['seconds'] + 3 * (gather['weight_bytes'] - first['weight_bytes']) / bandwidth
    lines.append(
      f'{experts:7d}   '
      + ''.join(f'{c["seconds"]:12.2f} ({c["cpu_seconds"]:5.2f})' for c in row.values())
      + f'{bound:10.2f}           '
      + ''.join(f'{c["peak_bytes"] / 1e9:8.2f}' for c in row.values())
      + f'{gather["weight_bytes"] / 1e9:9.2f}'
    )
  return lines


def parse():
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument('--experts', type=int, nargs='+', default=[8, 16, 32, 64, 128, 256])
  parser.add_argument('--methods', nargs='+', choices=METHODS, default=METHODS)
  parser.add_argument('--tokens', type=int, default=8192)
  parser.add_argument('--d_model', type=int, default=768)
  parser.add_argument('--d_ff', type=int, default=3072)
  parser.add_argument('--group_size', type=int, default=8192, help='8192 is the size of the released Switch-Base')
  parser.add_argument('--steps', type=int, default=3)
  parser.add_argument('--out', help='a JSON file for the results')
  parser.add_argument('--cell', choices=METHODS, help=argparse.SUPPRESS)
  return parser.parse_args()


def main():
  arguments = parse()
  if arguments.cell:
    (arguments.experts,) = arguments.experts
    print(json.dumps(measure(arguments.cell, arguments)))
    return
  cells = {}
  for experts in arguments.experts:
    cells[experts] = {m: in_own_process(m, experts, arguments) for m in arguments.methods}
    print(experts, {m: round(c['seconds'], 3) for m, c in cells[experts].items()}, flush=True)
  bandwidth = copy_bandwidth()
  print('\n'.join(table(cells, bandwidth)))
  print(f'{arguments.tokens} tokens in groups of {arguments.group_size}; a copy moves {bandwidth / 1e9:.1f} GB/s')
  if arguments.out:
    with open(arguments.out, 'w', encoding='utf-8') as f:
      json.dump({'settings': vars(arguments), 'cells': cells, 'copy_bytes_per_second': bandwidth}, f, indent=2)


if __name__ == '__main__':
  main()
