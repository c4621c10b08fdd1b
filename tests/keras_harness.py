"""What tests of the Keras model share: batches in its form, and the logits of the same weights in Mesh-TensorFlow."""

import mesh_tensorflow as mtf
import numpy as np
import tensorflow.compat.v1 as tf
import zoo_harness
from mesh_tensorflow.transformer import utils

from switch_zoo.mesh import graph as mesh_graph

FLOAT32 = "activation_dtype = 'float32'"
NOBODY_DROPPED = 'capacity_factor_eval = 1000.0'


def as_inputs(batch) -> dict[str, np.ndarray]:
  """A batch of the zoo harness as the Keras model takes it: targets moved by one place behind a 0."""
  shifted = np.pad(batch['targets'], [(0, 0), (1, 0)])[:, :-1]
  return {'encoder_input_tokens': batch['inputs'], 'decoder_input_tokens': shifted}


def configure(model, parameters=()):
  """gin and the ModelConfig of a zoo model at tiny size, in float32, with room for every token outside training."""
  config = zoo_harness.configure(model, [FLOAT32, *parameters])
  return zoo_harness.configure(model, [FLOAT32, NOBODY_DROPPED, *parameters]) if config.num_experts else config


def weights(model) -> dict[str, np.ndarray]:
  """Mesh-TensorFlow's name -> value."""
  return {name: weight.numpy() for name, weight in model.named_weights.items()}


def without_chance(model):
  """Takes out what is drawn in training; it would not be the same numbers in two frameworks."""
  for stack in (model.encoder, model.decoder):
    for sublayer in stack.sublayers:
      if sublayer.scope == 'MoE1D':
        sublayer.layer.choice = sublayer.layer.choice._replace(by_chance=False)
        getattr(sublayer.layer, sublayer.layer.router_kernel).jitter = 0.0
  return model


def mesh_logits(config, values, batch) -> np.ndarray:
  """Logits of the Mesh-TensorFlow model that gin describes, for given weights. -> <float32>[B, T, V]"""
  with tf.Graph().as_default():
    graph = mtf.Graph()
    mesh = mtf.Mesh(graph, 'mesh')
    features = {name: _imported(mesh, ids) for name, ids in batch.items()}
    logits, _ = mesh_graph.build_model(config).call_simple(
      **features,
      compute_loss=False,
      mode=tf.estimator.ModeKeys.EVAL,
      variable_dtype=utils.get_variable_dtype(),
    )
    logits = mtf.anonymize(logits)
    with zoo_harness.lowered(graph, mesh, zoo_harness.ONE_SLICE) as (lowering, session):
      for variable in graph.trainable_variables:
        variable.get_master().load(values[variable.name], session)
      session.run(lowering.copy_masters_to_slices())
      return session.run(lowering.export_to_tf_tensor(logits))


def _imported(mesh, ids):
  dims = [mtf.Dimension('batch', ids.shape[0]), mtf.Dimension('length', ids.shape[1])]
  return mtf.import_tf_tensor(mesh, tf.constant(ids), mtf.Shape(dims))
