"""What weights in int8 would cost: one row times a matrix, as in decoding, in three ways side by side.

  python benchmarks/int8_products.py

- bfloat16: as in the export
- widened: the weights are stored in int8 and converted to bfloat16 for each product (only the weights lose precision)
- int8: TensorFlow's quantized product; the row is quantized as well

Median microseconds of one product. 40 matrices take turns, more than the caches hold; two threads.
"""

import argparse
import json
import os
import pathlib
import statistics
import time

os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')
MATRICES, RUNS = 40, 9
SHAPES = (768, 768), (768, 3072), (3072, 768)  # of Switch-Base


def products(rows, columns):
  """Name -> a product of <bfloat16>[1, rows], and its matrices."""
  import tensorflow as tf

  eight_bits = lambda: tf.cast(tf.random.uniform([rows, columns], -127, 127, tf.int32), tf.int8)
  small = [tf.Variable(eight_bits()) for _ in range(MATRICES)]
  # Each in the layout in which it is fastest: bfloat16 is transposed.
  wide = [tf.Variable(tf.cast(tf.random.normal([columns, rows]), tf.bfloat16)) for _ in range(MATRICES)]

  def quantized(x, weight):
    x = tf.cast(x, tf.float32)
    x, least, most = tf.raw_ops.QuantizeV2(
      input=x, min_range=tf.reduce_min(x), max_range=tf.reduce_max(x), T=tf.quint8, mode='MIN_FIRST'
    )
    return tf.raw_ops.QuantizedMatMulWithBias(
      a=x,
      b=tf.bitcast(weight, tf.qint8),
      bias=tf.zeros([columns]),
      min_a=least,
      max_a=most,
      min_b=-1.0,
      max_b=1.0,
      input_quant_mode='MIN_FIRST',
    )[0]

  return {
    'bfloat16': (lambda x, weight: tf.matmul(x, weight, transpose_b=True), wide),
    'widened': (lambda x, weight: tf.matmul(x, tf.cast(weight, tf.bfloat16)), small),
    'int8': (quantized, small),
  }


def chain(product, matrices):
  """A function that computes the products one after the other."""
  import tensorflow as tf

  @tf.function
  def run(x):
    results = []
    for weight in matrices:
      with tf.control_dependencies(results[-1:]):
        results.append(product(x, weight))
    return tf.add_n([tf.cast(y[0, 0], tf.float32) for y in results])

  return run


def measure(rows, columns):
  """Name -> microseconds of a product; the three take turns."""
  import tensorflow as tf

  x = tf.cast(tf.random.normal([1, rows]), tf.bfloat16)
  runs = {name: chain(*product) for name, product in products(rows, columns).items()}
  seconds = {name: [] for name in runs}
  for _ in range(RUNS + 1):  # the first one is a warm-up
    for name, run in runs.items():
      begun = time.perf_counter()
      run(x)
      seconds[name].append(time.perf_counter() - begun)
  return {name: statistics.median(times[1:]) / MATRICES * 1e6 for name, times in seconds.items()}


def main():
  import tensorflow as tf

  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument('--out', help='a JSON file for the results')
  out = parser.parse_args().out
  tf.config.threading.set_intra_op_parallelism_threads(2)
  rows = []
  print('shape          bfloat16   widened      int8')
  for shape in SHAPES:
    rows.append({'shape': shape, **measure(*shape)})
    print(f'{shape!s:13}{rows[-1]["bfloat16"]:10.0f}{rows[-1]["widened"]:10.0f}{rows[-1]["int8"]:10.0f}', flush=True)
  if out:
    pathlib.Path(out).write_text(json.dumps(rows, indent=2))


if __name__ == '__main__':
  main()
