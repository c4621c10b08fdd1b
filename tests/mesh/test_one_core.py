"""A program of one core, run by XLA on eight devices, does what PlacementMeshImpl does on one slice."""

import functools
import re
from typing import NamedTuple

import mesh_tensorflow as mtf
import numpy as np
import one_core_harness
import pytest
import tensorflow.compat.v1 as tf
import zoo_harness
from one_core_harness import STRATEGIES

from switch_zoo.errors import UserError
from switch_zoo.launcher import updates
from switch_zoo.mesh import graph as mesh_graph
from switch_zoo.mesh.one_core import lowering, steps
from switch_zoo.mesh.one_core.steps import Optimization, StepSettings
from switch_zoo.spec import layouts

pytest.importorskip('jax')
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


# Strategies and routers that answers are compared under.
PAIRS = {
  'data': 'top1',
  'model': 'top2',
  'model_data': 'top_n',
  'expert_data': 'no_token_left_behind',
  'expert_model_data': 'noisy_top_k',
}


def strategy(name):
  replicas = re.search(r'outer:(\d+)', STRATEGIES[name])
  parameters = [f"mesh_shape = '{STRATEGIES[name]}'"] + ([f'expert_replicas = {replicas[1]}'] if replicas else [])
  return layouts.load_layout(name, tuple(parameters))


def settings_of(config, layout, batch=BATCH):
  return StepSettings((config.vocab_size, config.target_vocab_size), batch, layout)


@functools.cache
def on_one_slice(router, outer_batch_size, more=()):
  """(variables before, variables after, loss) of one step by Mesh-TensorFlow's implementation for CPUs."""
  config, generator = configure(router, more), np.random.default_rng(0)
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
      # As in the middle of a training: from zeros, Adafactor's first update is the sign of the gradient, which rounding
      # decides where the gradient is zero.
      for name, master in masters.items():
        if '_slot_' in name:
          master.load(generator.uniform(0.01, 0.02, master.shape.as_list()).astype('float32'), session)
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
    np.testing.assert_allclose(got[name], value, rtol=1e-5, atol=1e-5, err_msg=name)
  assert sum(not np.array_equal(before[name], after[name]) for name in after) > 0.9 * len(after)


@pytest.mark.slow
@pytest.mark.parametrize('router', ROUTERS)
@pytest.mark.parametrize('name', STRATEGIES)
def test_eight_cores_do_the_step_of_one_slice(name, router):
  layout = strategy(name)
  replicas = layout.outer_batch_size
  got = run_step(configure(router), layout, on_one_slice(router, replicas)[0])
  assert_same_step(got, router, replicas)


@pytest.mark.slow
@pytest.mark.parametrize('name', ['model_data', 'expert_data'])
def test_with_bfloat16_activations_only_roundings_differ(name):
  """Eight cores round other partial sums than one slice does: as often, and by as much.

  So both are equally far from the step in float32, and no farther from each other than twice that; measured: 0.93 and
  0.78 times, which is 0.1% of the update. The loss is a mean over 256 targets, each with roundings of its own, of at
  most 2^-8: 2^-8 / sqrt(256) is 2.4e-4; measured: 9e-6 and 8e-5.
  """
  more = ("activation_dtype = 'bfloat16'",)
  before, after, loss = on_one_slice('top1', 1, more)
  got = run_step(configure(more=more), strategy(name), before)
  exact = on_one_slice('top1', 1)[1]
  joined = lambda values: np.concatenate([(values[key] - before[key]).ravel() for key in sorted(after)])
  distance = lambda one, other: np.linalg.norm(joined(one) - joined(other))
  rounding = distance(after, exact)
  assert 1e-4 < rounding / np.linalg.norm(joined(exact)) < 2**-8
  assert distance(got, after) < 2 * rounding and distance(got, exact) < 2 * rounding
  assert got['loss'] == pytest.approx(loss, rel=2**-8 / 256**0.5)


def on_placement(config, build, batch, before, replicas=True):
  """Result -> value, of a graph on one slice of Mesh-TensorFlow's implementation for CPUs, from given weights."""
  settings = settings_of(config, zoo_harness.ONE_SLICE, batch)
  with tf.Graph().as_default():
    graph = mtf.Graph()
    mesh = mtf.Mesh(graph, 'mesh')
    example = zoo_harness.example(config, batch)
    features = {
      name: mtf.import_fully_replicated(mesh, tf.reshape(example[name], shape.to_integer_list), shape, name)
      for name, shape in settings.feature_shapes(replicas).items()
    }
    step = tf.train.get_or_create_global_step()
    results = {name: mtf.anonymize(x) for name, x in build(settings, features, tf.cast(step, tf.int32)).items()}
    with zoo_harness.lowered(graph, mesh, zoo_harness.ONE_SLICE) as (lowered, session):
      session.run(tf.global_variables_initializer())
      for variable in graph.all_variables:
        variable.get_master().load(before[variable.name], session)
      session.run(lowered.copy_masters_to_slices())
      return session.run({name: lowered.export_to_tf_tensor(x) for name, x in results.items()})


@pytest.mark.slow
@pytest.mark.parametrize('name', ['expert_model_data', 'expert_replication'])
def test_evaluation_is_that_of_one_slice(name):
  layout, config = strategy(name), configure()
  before = on_one_slice('top1', 1)[0]
  expected = on_placement(config, lambda settings, features, _: steps.evaluation(settings, features), BATCH, before)
  program = lowering.lower_evaluation(settings_of(config, layout))
  assert not program.updates and program.donated == {}
  got = one_core_harness.run(program, before, zoo_harness.example(config, BATCH))
  for key, value in expected.items():
    whole = one_core_harness.whole(program, key, got[key])
    np.testing.assert_allclose(whole.reshape(value.shape), value, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(('name', 'router'), PAIRS.items())
def test_answers_are_those_of_one_slice(name, router):
  """Greedy ones, and of one pair those with beams."""
  before, beam_size = on_one_slice(router, 1)[0], 2 if name == 'expert_model_data' else 1
  decode = 'Bitransformer.decode'
  config = configure(router, [f'{decode}.beam_size = {beam_size}', f'{decode}.max_decode_length = 5'])
  decode = lambda settings, features, _: steps.decoding(settings, features)
  expected = on_placement(config, decode, BATCH, before, replicas=False)['outputs']
  program = lowering.lower_decoding(settings_of(config, strategy(name)))
  assert [slot.name for slot in program.inputs] == ['inputs']
  got = one_core_harness.run(program, before, zoo_harness.example(config, BATCH))
  np.testing.assert_array_equal(one_core_harness.whole(program, 'outputs', got['outputs']), expected)
  assert len(np.unique(expected)) > 1


@pytest.mark.slow
def test_microbatches_give_the_loss_of_microbatches_on_one_slice():
  """Two microbatches of a sequence a core; on one slice, two of eight sequences."""
  tokens = 'utils.serialize_num_microbatches.tokens_per_microbatch_per_replica'
  before = on_one_slice('top1', 1)[0]
  config = configure(more=['group_size = 16', f'{tokens} = 256'])
  rate = Optimization(learning_rate=RATE)
  loss = lambda settings, features, step: {'loss': steps.training(settings, features, step, rate).loss}
  expected = on_placement(config, loss, BATCH, before)['loss']
  config, layout = configure(more=['group_size = 16', f'{tokens} = 32']), strategy('expert_data')
  assert settings_of(config, layout).microbatches() == 2
  got = run_step(config, layout, before)
  assert got['loss'] == pytest.approx(expected, rel=1e-5)
  assert got['encoder/block_000/layer_003/MoE1D/dropped'].shape == ()


class Noise(NamedTuple):
  """The parts of random numbers that eight cores have: cut over the batch, over both axes, and over none."""

  batch: list[np.ndarray]
  both: list[np.ndarray]
  none: list[np.ndarray]


def draw(step=0, seed=0):
  """What random operations draw on a mesh of 4 x 2 cores."""
  settings = StepSettings((8, 8), mesh_graph.Batch(8, {'inputs': 4}), strategy('expert_model_data'))

  def build(features, _):
    mesh, batch = features['inputs'].mesh, features['inputs'].shape.dims[1]
    shapes = {'batch': [batch], 'both': [batch, mtf.Dimension('d_ff', 4)], 'none': [mtf.Dimension('d_model', 4)]}
    drawn = {name: mtf.random_uniform(mesh, mtf.Shape(dims)) for name, dims in shapes.items()}
    return {name: mtf.reshape(x, [mtf.Dimension('part', x.shape.size)]) for name, x in drawn.items()}, []

  program = lowering.lower(settings, build, replicas=True)
  parts = one_core_harness.run(program, {}, {'inputs': np.zeros([1, 8, 4])}, step=step, seed=seed)
  return Noise(*(parts[name] for name in Noise._fields))


@pytest.mark.slow
def test_noise_differs_where_parts_differ_and_agrees_where_they_agree():
  noise = draw()
  for parts in noise:
    for part in parts[1:]:
      np.testing.assert_array_equal(part, parts[0])  # joined, they are one tensor
  batch, both, none = (parts[0] for parts in noise)
  assert len(set(batch)) == 8 and len(set(both)) == 32 and len(set(none)) == 4
  assert not set(batch) & set(both)
  np.testing.assert_array_equal(draw().both[0], both)
  assert not set(draw(step=1).both[0]) & set(both)
  assert not set(draw(seed=1).both[0]) & set(both)


@pytest.mark.slow
def test_dropout_follows_the_seed_and_keeps_copies_of_a_weight_equal():
  """`one_core_harness.whole` compares the copies."""
  before = on_one_slice('top1', 1)[0]
  config = configure(more=['dropout_rate = 0.3'])
  losses = [float(run_step(config, strategy('model_data'), before, seed=seed)['loss']) for seed in (0, 0, 1)]
  assert losses[0] == losses[1] != losses[2]


def test_the_layer_that_cannot_be_lowered_is_named():
  settings = StepSettings((8, 8), mesh_graph.Batch(8, {'inputs': 4}), zoo_harness.ONE_SLICE)

  def build(features, _):
    with tf.variable_scope('decoder/block_000/layer_002/OwnLayer'):
      text = mtf.cwise(lambda x: tf.strings.to_number(tf.as_string(x)), [features['inputs']], output_dtype=tf.float32)
    return {'text': text}, []

  with pytest.raises(
    UserError, match='^decoder/block_000/layer_002/OwnLayer/cwise/AsString cannot be compiled by XLA: '
  ):
    lowering.lower(settings, build, replicas=True)


def test_a_distribution_without_counters_is_refused():
  settings = StepSettings((8, 8), mesh_graph.Batch(8, {'inputs': 4}), zoo_harness.ONE_SLICE)

  def build(features, _):
    operation = mtf.RandomOperation(features['inputs'].mesh, mtf.Shape([]), tf.random.poisson)
    return {'x': operation.outputs[0]}, []

  with pytest.raises(UserError, match='random.* draws random numbers with random_poisson'):
    lowering.lower(settings, build, replicas=True)


@pytest.mark.slow
@pytest.mark.parametrize('name', STRATEGIES)
def test_bytes_of_collectives_are_mesh_tensorflows_counters(name):
  layout = strategy(name)
  counters = []
  released = mtf.Lowering.add_counter
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(mtf.Lowering, 'add_counter', lambda self, *args: (counters.append(args), released(self, *args)))
    program = lowering.lower_training_step(settings_of(configure(), layout))
  for kind, prefix in (('all-to-all', 'alltoall'), ('all-reduce', 'allreduce')):
    numbers = sum(size for key, size in counters if key.startswith(prefix))
    assert program.collectives.get(kind, (0, 0))[1] == 4 * numbers / program.num_cores, kind
