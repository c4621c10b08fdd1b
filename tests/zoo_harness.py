"""Runs the models of the zoo at tiny size: training steps, decoding and checkpoints, on any number of CPU slices."""

import contextlib
from typing import NamedTuple

import gin
import mesh_tensorflow as mtf
import numpy as np
import tensorflow.compat.v1 as tf
from mesh_tensorflow import placement_mesh_impl
from mesh_tensorflow.transformer import utils

from switch_zoo import garbage, load_config
from switch_zoo.mesh import graph as mesh_graph
from switch_zoo.spec import layouts
from switch_zoo.spec.config import ModelConfig
from switch_zoo.spec.zoo import model_file

OVERLAY = 'runs/tiny.gin'
BATCH = mesh_graph.Batch(8, {'inputs': 32, 'targets': 16})
ONE_SLICE = layouts.Layout({}, {})
DECODED = 6


class Step(NamedTuple):
  """What one training step gave: loss, gradients by variable name, and the weights it started from."""

  loss: float
  gradients: dict[str, np.ndarray]
  weights: dict[str, np.ndarray]


def vocabulary(model: str) -> list[str]:
  """Parameters for a small vocabulary; two of them where the model has two."""
  config = load_config(model)
  target = 256 if config.vocab_size == config.target_vocab_size else 128
  return ['vocab_size = 256', f'target_vocab_size = {target}']


def configure(model: str, parameters=()) -> ModelConfig:
  """Gives gin a model under the tiny overlay."""
  return mesh_graph.configure([model_file(model), OVERLAY], [*vocabulary(model), *parameters])


def configuration(model: str) -> str:
  """All gin binds for a model at tiny size: models with the same text are the same model there."""
  configure(model)
  return gin.config_str()


def example(config: ModelConfig, batch=BATCH) -> dict[str, np.ndarray]:
  """A batch to learn by heart: ids from 2 on, targets the first of the inputs, with an end and padding."""
  generator = np.random.default_rng(0)
  smaller = min(config.vocab_size, config.target_vocab_size)
  inputs = generator.integers(2, smaller, [batch.size, batch.lengths['inputs']], np.int32)
  targets = inputs[:, : batch.lengths['targets']].copy()
  targets[:, -3:] = [1, 0, 0]
  return {'inputs': inputs, 'targets': targets}


def implementation(layout: layouts.Layout):
  """A mesh of CPU slices."""
  mesh, rules = layout.text()
  shape = mtf.convert_to_shape(mesh)
  return placement_mesh_impl.PlacementMeshImpl(shape, mtf.convert_to_layout_rules(rules), [''] * shape.size)


@contextlib.contextmanager
def lowered(graph, mesh, layout):
  """A Lowering and a session in which its variables have their first values."""
  with garbage.without_collections():
    lowering = mtf.Lowering(graph, {mesh: implementation(layout)}, autostack=False)
  # A graph that runs a few times only is not worth optimizing, which takes most of the time.
  settings = tf.ConfigProto()
  settings.graph_options.rewrite_options.disable_meta_optimizer = True
  with tf.Session(config=settings) as session:
    yield lowering, session


def train(config: ModelConfig, steps: int, checkpoint: str, learning_rate=0.05) -> list[float]:
  """Trains on one batch and saves the weights; gives the loss before each step."""
  with tf.Graph().as_default():
    tf.set_random_seed(0)
    tf.train.get_or_create_global_step()
    values = {name: tf.constant(value) for name, value in example(config).items()}
    training = mesh_graph.build_training(mesh_graph.build_model(config), BATCH, values, learning_rate=learning_rate)
    with lowered(training.graph, training.mesh, ONE_SLICE) as (lowering, session):
      loss = lowering.export_to_tf_tensor(training.loss)
      updates = [lowering.lowered_operation(operation) for operation in training.updates]
      with tf.control_dependencies([loss]):
        step = tf.group(updates)
      session.run(tf.global_variables_initializer())
      session.run(lowering.copy_masters_to_slices())
      losses = [session.run([loss, step])[0] for _ in range(steps)]
      session.run(lowering.copy_slices_to_masters())
      tf.train.Saver(tf.global_variables()).save(session, checkpoint)
  return [float(value) for value in losses]


def decode(config: ModelConfig, checkpoint: str) -> np.ndarray:
  """Greedy answers of a saved model. -> <int32>[batch, DECODED]"""
  with tf.Graph().as_default():
    graph = mtf.Graph()
    mesh = mtf.Mesh(graph, 'mesh')
    inputs = example(config)['inputs']
    dims = [mtf.Dimension('batch', inputs.shape[0]), mtf.Dimension('length', inputs.shape[1])]
    ids = mtf.import_tf_tensor(mesh, tf.constant(inputs), mtf.Shape(dims))
    model = mesh_graph.build_model(config)
    outputs = mtf.anonymize(model.decode(ids, variable_dtype=utils.get_variable_dtype(), max_decode_length=DECODED))
    with lowered(graph, mesh, ONE_SLICE) as (lowering, session):
      answers = lowering.export_to_tf_tensor(outputs)
      tf.train.Saver(tf.global_variables()).restore(session, checkpoint)
      session.run(lowering.copy_masters_to_slices())
      return session.run(answers)


def step(config: ModelConfig, layout: layouts.Layout, batch=BATCH, weights=None) -> Step:
  """One step under a layout, from given weights or from its own first ones."""
  with tf.Graph().as_default():
    tf.set_random_seed(0)
    values = {name: tf.constant(value) for name, value in example(config, batch).items()}
    model = mesh_graph.build_model(config, *layout.text())
    training = mesh_graph.build_training(model, batch, values, layout.outer_batch_size, learning_rate=None)
    variables = {variable.name: variable for variable in training.graph.trainable_variables}
    gradients = dict(zip(variables, map(mtf.anonymize, training.gradients), strict=True))
    loss = mtf.anonymize(training.loss)
    with lowered(training.graph, training.mesh, layout) as (lowering, session):
      fetches = {name: lowering.export_to_tf_tensor(gradient) for name, gradient in gradients.items()}
      session.run(tf.global_variables_initializer())
      for name, value in (weights or {}).items():
        variables[name].get_master().load(value, session)
      session.run(lowering.copy_masters_to_slices())
      values = session.run([lowering.export_to_tf_tensor(loss), fetches])
      return Step(*values, session.run({name: variable.get_master() for name, variable in variables.items()}))
