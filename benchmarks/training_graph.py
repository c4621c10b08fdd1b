"""How long the Mesh-TensorFlow graph of one Switch-C training step takes to build, and how many operations it has.

  python benchmarks/training_graph.py --out graph.json

15 + 15 layers with 2,048 experts each, batch 2,048 x 512 on a mesh of 2,048 slices; forward and backward, not lowered
(lowering is the work of the machine that has the slices). Sizes are those of the released Switch-C.
"""
import argparse
import collections
import json
import time

LAYOUT = 'batch:all;experts:all'


def sparse_layer(dispatch):
  """A sparse layer with the released settings of Switch-C; dispatch is 'einsum', 'gather' or 'stock'."""
  from mesh_tensorflow.transformer import moe

  from switch_zoo import dispatch as ways
  from switch_zoo import experts
  shared = {
      'num_experts': 2048, 'hidden_size': 6144, 'group_size': 2048, 'capacity_factor_train': 1.0,
      'min_expert_capacity': 2}
  if dispatch == 'stock':
    return moe.MoE1D(moe_gating='switch', **shared)
  return experts.SwitchFeedForward(dispatch={'einsum': ways.Einsum, 'gather': ways.Gather}[dispatch](), **shared)


def stack(decoder, dispatch, slices):
  """The encoder or the decoder."""
  from mesh_tensorflow.transformer import transformer, transformer_layers

  from switch_zoo import loss, stacks
  attention = {'num_heads': 30, 'key_value_size': 64}
  layers = []
  for _ in range(15):
    layers.append(transformer_layers.SelfAttention(relative_attention_type='bias_shared', **attention))
    layers += [transformer_layers.EncDecAttention(relative_attention_type=None, **attention)] if decoder else []
    layers.append(sparse_layer(dispatch))
  for i, layer in enumerate(layers):
    layer.set_name(f'layer_{i:03d}')
  per_layer = [transformer.sublayer_rms_norm, stacks.sublayer_call_layer, transformer.sublayer_residual]
  return transformer.Unitransformer(
      transformer.LayerStack(layers, [], per_layer, [transformer.sublayer_rms_norm]),
      d_model=2080, input_vocab_size=32128, output_vocab_size=32128 if decoder else None, autoregressive=decoder,
      max_length=512, name='decoder' if decoder else 'encoder', layout=LAYOUT, mesh_shape=f'all:{slices}',
      positional_embedding=False, loss_fn=loss.cross_entropy)


def build(dispatch, slices=2048):
  """The graph of a training step, with gradients of all variables."""
  import mesh_tensorflow as mtf
  import tensorflow.compat.v1 as tf
  from mesh_tensorflow.transformer import transformer
  graph = mtf.Graph()
  mesh = mtf.Mesh(graph, 'mesh')
  shape = mtf.Shape([mtf.Dimension('batch', 2048), mtf.Dimension('length', 512)])
  ids = mtf.import_tf_tensor(mesh, tf.placeholder(tf.int32, shape.to_integer_list), shape)
  model = transformer.Bitransformer(
      stack(False, dispatch, slices), stack(True, dispatch, slices), shared_embedding=True)
  _, loss = model.call_simple(
      ids, ids, compute_loss=True, variable_dtype=mtf.VariableDType(activation_dtype=tf.bfloat16),
      encoder_sequence_id=ids, decoder_sequence_id=ids)
  gradients = mtf.gradients([loss], [v.outputs[0] for v in graph.trainable_variables])
  if None in gradients:
    raise AssertionError('a variable has no gradient')
  return graph


def main():
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument('--dispatch', default='einsum', choices=['einsum', 'gather', 'stock'])
  parser.add_argument('--out', help='a JSON file for the result')
  arguments = parser.parse_args()
  from switch_zoo import tf_compat
  tf_compat.repair()
  import tensorflow.compat.v1 as tf
  with tf.Graph().as_default():
    start, cpu = time.perf_counter(), time.process_time()
    graph = build(arguments.dispatch)
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu
  kinds = collections.Counter(type(op).__name__ for op in graph.operations).most_common(8)
  result = {
      'dispatch': arguments.dispatch, 'seconds': seconds, 'cpu_seconds': cpu_seconds,
      'operations': len(graph.operations), 'variables': len(graph.trainable_variables), 'kinds': dict(kinds)}
  print(json.dumps(result))
  if arguments.out:
    with open(arguments.out, 'w', encoding='utf-8') as f:
      json.dump(result, f, indent=2)


if __name__ == '__main__':
  main()
