"""How long it takes to build the Mesh-TensorFlow graph of one Switch-C training step, and how many operations it has.

  python benchmarks/training_graph.py --out graph.json

gin/models/switch_c_2048.gin on a batch of 2,048 x 512 and a mesh of 2,048 slices; forward and backward, not lowered
(lowering is done on the machine that has the slices). `--dispatch stock` replaces our layer by the released MoE1D.
"""

import argparse
import collections
import json
import time

MODEL = 'switch_c_2048'
MESH_SHAPE = 'all:2048'
LAYOUT = 'batch:all;experts:all'
LENGTH = 512
# The bindings that each choice adds to the model file.
CHOICES = {
  'einsum': ['experts.SwitchFeedForward.dispatch = @dispatch.Einsum()'],
  'gather': ['experts.SwitchFeedForward.dispatch = @dispatch.Gather()'],
  'stock': [
    'encoder/transformer.make_layer_stack.layers = [@transformer_layers.SelfAttention, @moe.MoE1D]',
    'decoder/transformer.make_layer_stack.layers = '
    '[@transformer_layers.SelfAttention, @transformer_layers.EncDecAttention, @moe.MoE1D]',
    "moe.MoE1D.moe_gating = 'switch'",
    'moe.MoE1D.num_experts = %num_experts',
    'moe.MoE1D.hidden_size = %d_ff',
    'moe.MoE1D.group_size = %group_size',
    'moe.MoE1D.capacity_factor_train = %capacity_factor_train',
    'moe.MoE1D.min_expert_capacity = %min_expert_capacity',
  ],
}


def build(parameters):
  """The mtf.Graph of a training step without an optimizer, with the gradients of all variables."""
  from mesh_tensorflow.transformer import moe  # noqa: F401 - registers the released layer with gin

  from switch_zoo import load_config
  from switch_zoo.mesh import dispatch, gin_setup  # noqa: F401 - registers both kinds of dispatch with gin
  from switch_zoo.mesh import graph as mesh_graph
  from switch_zoo.spec import gin_files
  from switch_zoo.spec.zoo import model_file

  gin_setup.configure(gin_files.read([model_file(MODEL)], parameters))
  model = mesh_graph.build_model(load_config(MODEL), MESH_SHAPE, LAYOUT)
  batch = mesh_graph.Batch(2048, {'inputs': LENGTH, 'targets': LENGTH})
  training = mesh_graph.build_training(model, batch, learning_rate=None)
  if None in training.gradients:
    raise AssertionError('a variable has no gradient')
  return training.graph


def main():
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument('--dispatch', default='einsum', choices=CHOICES)
  parser.add_argument('--out', help='a JSON file for the result')
  arguments = parser.parse_args()
  from switch_zoo import tf_compat

  tf_compat.repair()
  import tensorflow.compat.v1 as tf

  tf.disable_v2_behavior()  # as in the launcher: resource variables take twice as long to create
  with tf.Graph().as_default():
    start, cpu = time.perf_counter(), time.process_time()
    graph = build(CHOICES[arguments.dispatch])
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu
  kinds = collections.Counter(type(op).__name__ for op in graph.operations).most_common(8)
  result = {
    'dispatch': arguments.dispatch,
    'seconds': seconds,
    'cpu_seconds': cpu_seconds,
    'operations': len(graph.operations),
    'variables': len(graph.trainable_variables),
    'kinds': dict(kinds),
  }
  print(json.dumps(result))
  if arguments.out:
    with open(arguments.out, 'w', encoding='utf-8') as f:
      json.dump(result, f, indent=2)


if __name__ == '__main__':
  main()
