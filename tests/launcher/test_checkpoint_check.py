"""Whether a training can go on from a checkpoint: with its optimizer, and with all of its layers."""

import mesh_tensorflow as mtf
import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from mesh_tensorflow import optimize

from switch_zoo.errors import UserError
from switch_zoo.launcher import checkpoint_check
from switch_zoo.mesh.one_core.steps import Optimization

WEIGHTS = {'layer_0/w': [4, 3], 'layer_1/w': [4, 3]}
MOMENTUM = {f'{name}_momentum_v': shape for name, shape in WEIGHTS.items()}


def save(folder, shapes):
  """The prefix of a checkpoint with variables of these shapes."""
  with tf.Graph().as_default(), tf.Session() as session:
    for name, shape in shapes.items():
      tf.get_variable(name, initializer=np.zeros(shape, np.float32))
    session.run(tf.global_variables_initializer())
    return tf.train.Saver().save(session, str(folder / 'model.ckpt'), global_step=2)


def model(names=tuple(WEIGHTS)):
  with tf.Graph().as_default():
    graph = mtf.Graph()
    mesh = mtf.Mesh(graph, 'mesh')
    for name in names:
      mtf.get_variable(mesh, name, mtf.Shape([mtf.Dimension('d', 4), mtf.Dimension('f', 3)]))
    return graph


def momentum(variable_filter=None):
  make = lambda learning_rate: optimize.MomentumOptimizer(learning_rate, momentum=0.9)
  return Optimization(optimizer=make, variable_filter=variable_filter)


def test_its_own_optimizer(tmp_path):
  checkpoint = save(tmp_path, {**WEIGHTS, **MOMENTUM, 'global_step': []})
  checkpoint_check.resumable(checkpoint, model(), momentum())


def test_another_optimizer(tmp_path):
  checkpoint = save(tmp_path, {**WEIGHTS, **MOMENTUM, 'global_step': []})
  adafactor = Optimization(optimizer=lambda learning_rate: optimize.AdafactorOptimizer(learning_rate=learning_rate))
  with pytest.raises(UserError, match='another optimizer.*layer_0/w_slot_v is missing from the checkpoint'):
    checkpoint_check.resumable(checkpoint, model(), adafactor)


def test_weights_that_are_not_trained_need_nothing(tmp_path):
  checkpoint = save(tmp_path, {**WEIGHTS, 'layer_1/w_momentum_v': [4, 3]})
  checkpoint_check.resumable(checkpoint, model(), momentum('layer_1'))
  with pytest.raises(UserError, match='variable_filter.*layer_0/w_momentum_v is missing from the checkpoint'):
    checkpoint_check.resumable(checkpoint, model(), momentum())


def test_a_model_with_fewer_layers(tmp_path):
  checkpoint = save(tmp_path, {**WEIGHTS, **MOMENTUM})
  with pytest.raises(UserError, match='a model with more layers: layer_1/w is only in the checkpoint'):
    checkpoint_check.resumable(checkpoint, model(['layer_0/w']), momentum())


def test_a_variable_of_the_model_that_nothing_trains(tmp_path):
  """Such as an average that a router of a user's own keeps: it is saved, and no weight of further layers."""
  checkpoint = save(tmp_path, {**WEIGHTS, **MOMENTUM, 'router/average': [3]})
  graph = model()
  with tf.Graph().as_default():
    mesh = graph.all_variables[0].mesh
    mtf.get_variable(mesh, 'router/average', mtf.Shape([mtf.Dimension('e', 3)]), trainable=False)
  checkpoint_check.resumable(checkpoint, graph, momentum())
