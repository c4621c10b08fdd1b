"""Which of onnxruntime's operators is fastest: products in float32 and int8, and layers with experts.

  python benchmarks/onnx_operators.py --work products experts --rows 1 8 32 --experts 8 64 128

Random weights of the sizes of Switch-Base, random rows, two threads; median microseconds of one layer. Each layer of a
graph has weights of its own, more of them than the caches hold, and each run has other rows, so other experts.

products: `MatMul` in float32; `MatMulIntegerToFloat` with rows that are quantized by other operators, a scale for each;
`MatMulNBits` with 8 bits, which quantizes rows itself, in blocks.
experts: rows sorted by expert, and a product for each expert; `QMoE` and `MoE`, one operator; weights gathered for each
row.
"""

import argparse
import os
import pathlib
import statistics
import sys
import tempfile
import time

import numpy as np

D_MODEL, D_FF, BLOCK = 768, 3072, 128
SHAPES = (768, 768), (768, 3072), (3072, 768)
RUNS, THREADS = 15, 2


def session(build, sizes, folder):
  """A session of a graph whose rows go through the layers that `build` makes."""
  import onnxruntime

  from switch_zoo.onnx_export.graph import FLOAT, GraphBuilder, model, tensor
  from switch_zoo.onnx_export.weight_file import NAME, WeightFile

  rows, columns = sizes
  with open(os.path.join(folder, NAME), 'wb') as file:
    graph = GraphBuilder(WeightFile(file))
    outputs = build(graph)
    signature = [tensor('rows', FLOAT, ['rows', rows])], [tensor(y, FLOAT, ['rows', columns]) for y in outputs]
    document = model(graph.graph('layers', *signature)).SerializeToString()
  path = os.path.join(folder, 'layers.onnx')
  pathlib.Path(path).write_bytes(document)
  options = onnxruntime.SessionOptions()
  options.intra_op_num_threads, options.log_severity_level = THREADS, 3
  return onnxruntime.InferenceSession(path, options, providers=['CPUExecutionProvider'])


def measure(build, sizes, layers, all_rows):
  """Rows -> median microseconds of a layer."""
  with tempfile.TemporaryDirectory() as folder:
    run = session(build, sizes, folder)
    seconds = {}
    for rows in all_rows:
      times, generator = [], np.random.default_rng(rows)
      for _ in range(RUNS + 2):
        feed = {'rows': generator.standard_normal([rows, sizes[0]], np.float32)}
        start = time.perf_counter()
        run.run(None, feed)
        times.append(time.perf_counter() - start)
      seconds[rows] = statistics.median(times[2:]) / layers * 1e6
  return seconds


def in_blocks(generator, shape):
  """Weights of 8 bits around 128, each row in blocks with scales of their own: values and scales."""
  values = generator.integers(1, 256, shape, dtype=np.uint8)
  return values, np.full([*shape[:-1], shape[-1] // BLOCK], shape[-1] ** -0.5 / 64, np.float32)


def product_layers(shape, layers, kind):
  """A graph of products that all take the same rows."""

  def build(graph):
    from switch_zoo.onnx_export.products import FLOAT32, INT8, Products

    generator = np.random.default_rng(0)
    products = Products(graph, FLOAT32 if kind == 'MatMul' else INT8)
    for layer in range(layers):
      # Each has rows of its own, so that all quantize theirs.
      x = graph.call('Mul', 'rows', graph.constant(1 + layer / 64, np.float32))
      if kind == 'MatMulNBits':
        values, scales = in_blocks(generator, shape[::-1])
        names = graph.weight(f'w{layer}', values.reshape(shape[1], -1, BLOCK)), graph.weight(f's{layer}', scales)
        sizes = {'K': shape[0], 'N': shape[1], 'bits': 8, 'block_size': BLOCK, 'accuracy_level': 4}
        yield graph.fused('MatMulNBits', x, *names, **sizes)
      else:
        weight = generator.standard_normal(shape, np.float32) * shape[0] ** -0.5
        yield products.times(x, products.weight(f'w{layer}', weight))

  return lambda graph: list(build(graph))


def expert_layers(experts, layers, kind):
  """A graph of layers with experts."""

  def build(graph):
    generator = np.random.default_rng(0)
    layer = {'sorted': sorted_rows, 'QMoE': one_operator, 'MoE': one_operator, 'gathered': gathered}
    name, _, dtype = kind.partition(' ')
    return [layer[name](graph, generator, experts, number, dtype) for number in range(layers)]

  return build


def routed(graph, generator, experts, number):
  """Probabilities of experts."""
  router = graph.weight(f'{number}/router', generator.standard_normal([D_MODEL, experts], np.float32) * D_MODEL**-0.5)
  return graph.call('Softmax', graph.call('MatMul', 'rows', router), axis=-1)


def sorted_rows(graph, generator, experts, number, dtype):
  """Rows sorted by expert."""
  from switch_zoo import load_config
  from switch_zoo.onnx_export import feed_forward
  from switch_zoo.onnx_export.products import Products

  config = load_config('switch_base_8', [f'num_experts = {experts}'])

  def read(name):
    sizes = [D_MODEL, experts] if 'router' in name or '/wi/' not in name and '/wo/' not in name else None
    sizes = sizes or ([experts, D_MODEL, D_FF] if '/wi/' in name else [experts, D_FF, D_MODEL])
    return generator.standard_normal(sizes, np.float32) * np.float32(sizes[-2] ** -0.5)

  return feed_forward.sparse(Products(graph, dtype), config, read, f'layer{number}/', 'rows')


def one_operator(graph, generator, experts, number, dtype):
  """`QMoE` with 8 bits, or `MoE`."""
  probabilities = routed(graph, generator, experts, number)
  shapes = [experts, D_FF, D_MODEL], [experts, D_MODEL, D_FF]
  settings = {'k': 1, 'activation_type': 'relu', 'normalize_routing_weights': 0}
  if not dtype:
    inward, outward = (
      graph.weight(f'{number}/{name}', generator.standard_normal(shape, np.float32) * np.float32(shape[-1] ** -0.5))
      for name, shape in zip(('wi', 'wo'), shapes, strict=True)
    )
    return graph.fused('MoE', 'rows', probabilities, inward, '', outward, **settings)
  names = []
  for name, shape in zip(('wi', 'wo'), shapes, strict=True):
    values, scales = in_blocks(generator, shape)
    names += [graph.weight(f'{number}/{name}', values), graph.weight(f'{number}/{name}/scales', scales), '']
  return graph.fused(
    'QMoE', 'rows', probabilities, *names, *[''] * 6, probabilities, expert_weight_bits=8, block_size=BLOCK,
    accuracy_level=4, **settings)  # fmt: skip


def gathered(graph, generator, experts, number, dtype):
  """Weights gathered for each row, in float32."""
  probabilities = routed(graph, generator, experts, number)
  gates, expert = graph.calls('TopK', 2, probabilities, graph.constant([1]))
  expert = graph.call('Squeeze', expert, graph.constant([1]))
  x = graph.call('Unsqueeze', 'rows', graph.constant([1]))
  for name, shape in (('wi', [experts, D_MODEL, D_FF]), ('wo', [experts, D_FF, D_MODEL])):
    weight = generator.standard_normal(shape, np.float32) * np.float32(shape[-2] ** -0.5)
    x = graph.call('MatMul', x, graph.call('Gather', graph.weight(f'{number}/{name}', weight), expert))
    x = graph.call('Relu', x) if name == 'wi' else x
  return graph.call('Mul', graph.call('Squeeze', x, graph.constant([1])), gates)


PRODUCTS = 'MatMul', 'MatMulIntegerToFloat', 'MatMulNBits'
EXPERTS = 'sorted float32', 'MoE', 'gathered', 'sorted int8', 'QMoE int8'


def main():
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument('--work', nargs='+', default=['products', 'experts'], choices=['products', 'experts'])
  parser.add_argument('--rows', type=int, nargs='+', default=[1, 8, 32])
  parser.add_argument('--experts', type=int, nargs='+', default=[8, 64, 128])
  arguments = parser.parse_args()
  sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
  print('layer', *(f'{rows:>7d} rows' for rows in arguments.rows), flush=True)
  show = lambda name, micro: print(f'{name:40}', *(f'{micro[rows]:8.0f}' for rows in arguments.rows), flush=True)
  if 'products' in arguments.work:
    for shape in SHAPES:
      for kind in PRODUCTS:
        show(f'{shape} {kind}', measure(product_layers(shape, 24, kind), shape, 24, arguments.rows))
  if 'experts' in arguments.work:
    for experts in arguments.experts:
      for kind in EXPERTS:
        layers = max(1, 32 // experts)
        build = expert_layers(experts, layers, kind)
        show(f'{experts} experts, {kind}', measure(build, [D_MODEL, D_MODEL], layers, arguments.rows))


if __name__ == '__main__':
  main()
