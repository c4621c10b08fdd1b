"""A program of one core, run by XLA on eight devices, does what PlacementMeshImpl does on one slice."""

import functools
import re

import mesh_tensorflow as mtf
import numpy as np
import one_core_harness
import pytest
import tensorflow.compat.v1 as tf
import zoo_harness

from switch_zoo.errors import UserError
from switch_zoo.launcher import updates
from switch_zoo.mesh import graph as mesh_graph
from switch_zoo.mesh.one_core import lowering
from switch_zoo.mesh.one_core.steps import Optimization, StepSettings
from switch_zoo.spec import layouts

pytest.importorskip('jax')
# Strategy -> its mesh of eight cores.
STRATEGIES = {
  'data': 'batch:8',
  'model': 'model:8',
  'model_data': 'batch:4;model:2',
  'expert_data': 'batch:8',
  'expert_model_data': 'batch:4;model:2',
  'expert_replication': 'outer:2;batch:4',
}
# Without noise, which differs from core to core. Eight cores need eight experts and heads, and groups that fit a core.
SIZES = ['num_heads = 8', 'num_experts = 8', 'group_size = 32', 'num_encoder_layers = 2', 'num_decoder_layers = 2']
ROUTERS = {
  'top1': ["routing.Top1.policy = 'argmax'"],
  'top2': ['router = @routing.Top2()', "routing.Top2.second_policy = 'all'"],
  'top_n': ['router = @routing.TopN()', "routing.TopN.second_policy = 'all'"],
  'no_token_left_behind': ['router = @routing.NoTokenLeftBehind()', 'routing.NoTokenLeftBehind.jitter = 0.0'],
  'noisy_top_k': ['router = @routing.NoisyTopK()'],
  'expert_choice': [
    "routing.Top1.policy = 'argmax'",
    'encoder/experts.SwitchFeedForward.router = @routing.ExpertChoice()',
  ],
}
BATCH = mesh_graph.Batch(16, {'inputs': 32, 'targets': 16})
STEP = 3
RATE = 0.05


@pytest.fixture(autouse=True)
def without_normal_noise(monkeypatch):
  """The noise of NoisyTopK cannot be switched off."""
  zeros = lambda mesh, shape, dtype=tf.float32, **_: mtf.zeros(mesh, shape, dtype=dtype)
  monkeypatch.setattr(mtf, 'random_normal', zeros)


def configure(router='top1', more=()):
  return zoo_harness.configure('switch_base_8', [*SIZES, *ROUTERS[router], *more])


def strategy(name):
  replicas = re.search(r'outer:(\d+)', STRATEGIES[name])
  parameters = [f"mesh_shape = '{STRATEGIES[name]}'"] + ([f'expert_replicas = {replicas[1]}'] if replicas else [])
  return layouts.load_layout(name, tuple(parameters))


def settings_of(config, layout, batch=BATCH):
  return StepSettings((config.vocab_size, config.target_vocab_size), batch, layout)


@functools.cache
def on_one_slice(router, outer_batch_size):
  """(variables before, variables after, loss) of one step by Mesh-TensorFlow's implementation for CPUs."""
  config = configure(router)
  with tf.Graph().as_default():
    tf.set_random_seed(0)
    step = tf.train.get_or_create_global_step()
    values = {name: tf.constant(value) for name, value in zoo_harness.example(config, BATCH).items()}
    model = mesh_graph.build_model(config)
    training = mesh_graph.build_training(model, BATCH, values, outer_batch_size, RATE)
    with zoo_harness.lowered(training.graph, training.mesh, zoo_harness.ONE_SLICE) as (lowered, session):
      loss = lowered.export_to_tf_tensor(training.loss)
      change = tf.group([lowered.lowered_operation(operation) for operation in training.updates])
      updates.come_last(change)
      masters = {variable.name: variable.get_master() for variable in training.graph.all_variables}
      session.run(tf.global_variables_initializer())
      step.load(STEP, session)
      session.run(lowered.copy_masters_to_slices())
      before = session.run(masters)
      loss = session.run([loss, change])[0]
      session.run(lowered.copy_slices_to_masters())
      return before, session.run(masters), float(loss)


def run_step(config, layout, before, optimization=None, batch=BATCH, **scalars):
  """Result -> the whole array, of one step as a program."""
  program = lowering.lower_training_step(
    settings_of(config, layout, batch), optimization or Optimization(learning_rate=RATE)
  )
  parts = one_core_harness.run(program, before, zoo_harness.example(config, batch), **{'step': STEP, **scalars})
  return {name: one_core_harness.whole(program, name, value) for name, value in parts.items()}


def assert_same_step(got, router, outer_batch_size=1):
  before, after, loss = on_one_slice(router, outer_batch_size)
  assert got['loss'] == pytest.approx(loss, rel=1e-5)
  for name, value in after.items():
    np.testing.assert_allclose(got[name], value, rtol=1e-3, atol=1e-5, err_msg=name)
  assert sum(not np.array_equal(before[name], after[name]) for name in after) > 0.9 * len(after)


@pytest.mark.slow
@pytest.mark.parametrize('name', STRATEGIES)
def test_eight_cores_do_the_step_of_one_slice(name):
  layout = strategy(name)
  replicas = layout.outer_batch_size
  got = run_step(configure(), layout, on_one_slice('top1', replicas)[0])
  assert_same_step(got, 'top1', replicas)


@pytest.mark.slow
@pytest.mark.parametrize('router', [name for name in ROUTERS if name != 'top1'])
def test_every_router_does_the_step_of_one_slice(router):
  got = run_step(configure(router), strategy('expert_model_data'), on_one_slice(router, 1)[0])
  assert_same_step(got, router)
