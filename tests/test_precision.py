"""bfloat16 training with the router in float32 goes the way of float32 training: arXiv:2101.03961, Table 2."""
from pydoc_data import topics

import mesh_harness
import mesh_tensorflow as mtf
import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from mesh_tensorflow import optimize
from mesh_tensorflow.transformer import transformer, transformer_layers

from switch_zoo import experts, loss, observe, stacks
from switch_zoo.routing import routers

VOCAB, LENGTH, BATCH, STEPS = 128, 32, 32, 300


def stack(decoder):
  """The shape of tiny_switch_8, two layers deep: attention, dense, attention, experts."""
  attention = {'num_heads': 4, 'key_value_size': 16}
  own = lambda: transformer_layers.SelfAttention(relative_attention_type='bias_shared', **attention)
  across = lambda: [transformer_layers.EncDecAttention(relative_attention_type=None, **attention)] if decoder else []
  sparse = experts.SwitchFeedForward(num_experts=8, hidden_size=128, router=routers.Top1('argmax'), group_size=1024)
  dense = transformer_layers.DenseReluDense(hidden_size=128)
  layers = [own(), *across(), dense, own(), *across(), sparse]
  for i, layer in enumerate(layers):
    layer.set_name(f'layer_{i:03d}')
  per_layer = [transformer.sublayer_rms_norm, stacks.sublayer_call_layer, transformer.sublayer_residual]
  return transformer.Unitransformer(
      transformer.LayerStack(layers, [], per_layer, [transformer.sublayer_rms_norm]), d_model=64,
      input_vocab_size=VOCAB, output_vocab_size=VOCAB if decoder else None, autoregressive=decoder, max_length=LENGTH,
      name='decoder' if decoder else 'encoder', layout='', mesh_shape='', positional_embedding=False,
      loss_fn=loss.cross_entropy)


def batches():
  """Real text, CPython's own documentation, as characters: from 32 of them the next 32. 0 is padding."""
  text = ' '.join(topics.topics[name] for name in sorted(topics.topics)).encode('ascii', 'replace')
  ids = np.frombuffer(text, np.uint8).astype(np.int32)
  generator = np.random.default_rng(0)
  for _ in range(STEPS):
    starts = generator.integers(0, len(ids) - 2 * LENGTH, BATCH)
    window = ids[starts[:, None] + np.arange(2 * LENGTH)]
    yield window[:, :LENGTH], window[:, LENGTH:]


def losses_of_training(activation_dtype):
  """Trains from the same weights on the same batches; the loss of every step, and the dtype it is computed in."""
  with tf.Graph().as_default(), tf.Session() as session:
    tf.set_random_seed(0)
    graph = mtf.Graph()
    mesh = mtf.Mesh(graph, 'mesh')
    shape = mtf.Shape([mtf.Dimension('batch', BATCH), mtf.Dimension('length', LENGTH)])
    fed = [tf.placeholder(tf.int32, shape.to_integer_list) for _ in range(2)]
    inputs, targets = (mtf.import_tf_tensor(mesh, f, shape) for f in fed)
    model = transformer.Bitransformer(stack(False), stack(True), shared_embedding=True)
    _, total = model.call_simple(
        inputs, targets, compute_loss=True, variable_dtype=mtf.VariableDType(activation_dtype=activation_dtype),
        encoder_sequence_id=inputs, decoder_sequence_id=targets)
    gradients = mtf.gradients([total], [v.outputs[0] for v in graph.trainable_variables])
    updates = optimize.AdafactorOptimizer(learning_rate=0.01).apply_grads(gradients, graph.trainable_variables)
    lowering = mtf.Lowering(graph, {mesh: mesh_harness.Mesh().implementation()}, autostack=False)
    step = [lowering.lowered_operation(u) for u in updates]
    cross_entropy = observe.exported()['loss/cross_entropy']
    session.run(tf.global_variables_initializer())
    session.run(lowering.copy_masters_to_slices())
    values = [session.run([cross_entropy, step], dict(zip(fed, b, strict=True)))[0] for b in batches()]
    return np.array(values), {t.dtype for t in (total, lowering.export_to_tf_tensor(total), cross_entropy)}


@pytest.mark.slow
def test_selective_precision_tracks_float32_for_300_steps():
  (full, _), (selective, dtypes) = (losses_of_training(d) for d in (tf.float32, tf.bfloat16))
  assert dtypes == {tf.float32}
  assert full[-20:].mean() < 0.8 * full[:20].mean()  # it learns
  # A sixth of the run at a time: shorter means differ by the luck of single batches.
  windows = [slice(i, i + 50) for i in range(0, STEPS, 50)]
  np.testing.assert_allclose([selective[w].mean() for w in windows], [full[w].mean() for w in windows], rtol=0.02)
