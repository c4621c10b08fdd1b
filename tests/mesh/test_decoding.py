"""Whole models with experts decode what teacher forcing predicts, greedily and with beam search."""

from collections.abc import Callable

import mesh_harness
import mesh_tensorflow as mtf
import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from mesh_tensorflow.transformer import transformer, transformer_layers

from switch_zoo.mesh import attention, exchange, experts, loss, stacks
from switch_zoo.mesh.routing import routers
from switch_zoo.mesh.routing.router_base import Router

VOCAB, LENGTH, BATCH = 128, 6, 3


def stack(decoder: bool, router: Router) -> transformer.Unitransformer:
  sizes = {'num_heads': 2, 'key_value_size': 8, 'relative_attention_type': 'bias_shared'}
  routed = exchange.Exchange(num_experts=4, router=routers.Top1(), group_size=64, capacity_factor_eval=4.0)
  layers = [
    transformer_layers.SelfAttention(**sizes),
    *([transformer_layers.EncDecAttention(num_heads=2, key_value_size=8)] if decoder else []),
    experts.SwitchFeedForward(
      num_experts=4, hidden_size=16, router=router, group_size=64, capacity_factor_eval=4.0, init_scale=5.0
    ),
    attention.SwitchSelfAttention(routed, **sizes),
  ]
  for i, layer in enumerate(layers):
    layer.set_name(f'layer_{i:03d}')
  per_layer = [transformer.sublayer_rms_norm, stacks.sublayer_call_layer, transformer.sublayer_residual]
  return transformer.Unitransformer(
    transformer.LayerStack(layers, [], per_layer, [transformer.sublayer_rms_norm]),
    d_model=16,
    input_vocab_size=VOCAB,
    output_vocab_size=VOCAB if decoder else None,
    autoregressive=decoder,
    max_length=LENGTH,
    name='decoder' if decoder else 'encoder',
    layout='',
    mesh_shape='',
    positional_embedding=False,
    loss_fn=loss.cross_entropy,
  )


def model(router: Router) -> transformer.Bitransformer:
  return transformer.Bitransformer(stack(False, router), stack(True, router), shared_embedding=True)


def run(build: Callable[[mtf.Mesh], mtf.Tensor], path: str, save: bool = False) -> np.ndarray:
  """Evaluates build(mesh) in its own graph; the weights are saved to `path`, or restored from there."""
  with tf.Graph().as_default():
    tf.set_random_seed(0)
    graph = mtf.Graph()
    output = build(mtf.Mesh(graph, 'mesh'))
    implementation = mesh_harness.Mesh().implementation()
    lowering = mtf.Lowering(graph, {output.mesh: implementation}, autostack=False)
    fetched = lowering.export_to_tf_tensor(output)
    with mesh_harness.session() as session:
      session.run(tf.global_variables_initializer())
      saver = tf.train.Saver([v.get_master() for v in graph.all_variables])
      if save:
        saver.save(session, path)
      else:
        saver.restore(session, path)
      session.run(lowering.copy_masters_to_slices())
      return session.run(fetched)


INPUTS = np.random.default_rng(0).integers(2, VOCAB, (BATCH, LENGTH))


def imported(mesh: mtf.Mesh, ids: np.ndarray) -> mtf.Tensor:
  shape = mtf.Shape([mtf.Dimension('batch', BATCH), mtf.Dimension('length', ids.shape[1])])
  return mtf.import_tf_tensor(mesh, tf.constant(ids, tf.int32), shape)


@pytest.mark.parametrize(
  'router', [pytest.param(routers.Top1(), id='top1'), pytest.param(routers.Top2(), id='top2', marks=pytest.mark.slow)]
)
def test_greedy_decoding_is_the_argmax_of_teacher_forcing(router, tmp_path):
  path = str(tmp_path / 'model.ckpt')

  def decode(mesh, beam_size=1):
    return model(router).decode(imported(mesh, INPUTS), beam_size=beam_size, max_decode_length=LENGTH)

  decoded = run(decode, path, save=True)
  assert decoded.shape == (BATCH, LENGTH)

  def teacher_forced(mesh):
    inputs = imported(mesh, INPUTS)
    logits, _ = model(router).call_simple(
      inputs,
      imported(mesh, decoded),
      compute_loss=False,
      mode=mesh_harness.EVAL,
      encoder_sequence_id=mtf.ones_like(inputs),
      decoder_sequence_id=mtf.ones_like(inputs),
    )
    return logits

  predicted = run(teacher_forced, path).argmax(-1)
  for predicted_row, row in zip(predicted, decoded, strict=True):
    length = list(row).index(1) + 1 if 1 in row else LENGTH
    np.testing.assert_array_equal(predicted_row[:length], row[:length])
  beams = run(lambda mesh: decode(mesh, beam_size=3), path)
  assert beams.shape == (BATCH, LENGTH)
