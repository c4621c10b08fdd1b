import io

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
import zoo_harness

from switch_zoo.errors import UserError
from switch_zoo.launcher import progress
from switch_zoo.mesh import graph as mesh_graph
from switch_zoo.mesh import observe

LAYER = 'encoder/block_000/layer_003/MoE1D'


def record(**changes):
  values = {
    'step': 20,
    'last_step': 1000,
    'loss': 6.36,
    'cross_entropy': 6.32,
    'balance_loss': 0.04,
    'tokens_per_second': 8210.4,
    'seconds_left': 65.0,
    'exported': {},
  }
  return progress.StepReport(**{**values, **changes})


def test_a_line():
  assert progress.line(record()) == (
    'step 20/1,000  loss 6.3600  cross-entropy 6.3200  balance 0.0400  8,210 tokens/s  01:05 left'
  )


def test_a_line_of_what_is_known():
  text = progress.line(record(cross_entropy=None, balance_loss=None, tokens_per_second=None, seconds_left=None))
  assert text == 'step 20/1,000  loss 6.3600'


@pytest.mark.parametrize(
  ('seconds', 'text'),
  [(0, '00:00'), (65, '01:05'), (3600, '1:00:00'), (7265, '2:01:05'), (3 * 86400 + 7265, '3d 02:01:05')],
)
def test_duration(seconds, text):
  assert progress.duration(seconds) == text


def test_lines_say_where_a_resumed_run_begins():
  out = io.StringIO()
  progress.Lines(out).start(30, 60)
  assert out.getvalue() == 'Resuming after step 30 of 60.\n'


class Collected:
  """A reporter that keeps what it is told."""

  def __init__(self):
    self.records, self.calls = [], []

  def start(self, first_step, last_step):
    self.calls.append(('start', first_step, last_step))

  def step(self, record):
    self.records.append(record)

  def finish(self):
    self.calls.append(('finish',))


def train(steps, exported=True, every=10, ends_after=None):
  """Runs a graph whose loss is the step's number with the hook; returns what was reported."""
  reporter = Collected()
  step = tf.train.get_or_create_global_step()
  train_op = tf.assign_add(step, 1)
  loss = tf.cast(train_op, tf.float32)
  values = {
    'loss/cross_entropy': loss - 0.5,
    'loss/logits_z': tf.constant(0.1),
    'tokens': tf.constant(64.0),
    f'{LAYER}/loss/balance': tf.constant(0.25),
    f'{LAYER}/loss/router_z': tf.constant(0.0625),
    f'{LAYER}/dropped': tf.constant(0.5),
  }
  hook = progress.Hook(loss, values if exported else {}, reporter, steps)
  hook._settings.every = every
  with tf.train.MonitoredSession(hooks=[hook]) as session:
    for _ in range(ends_after or steps):
      session.run(train_op)
  return reporter


def test_the_first_every_tenth_and_the_last_step_are_reported():
  reporter = train(23)
  assert [r.step for r in reporter.records] == [1, 10, 20, 23]
  assert reporter.calls == [('start', 0, 23), ('finish',)]


def test_the_balance_loss_is_the_sum_of_what_layers_export():
  last = train(10).records[-1]
  # The loss is 10; of what is not cross-entropy, 0.25 + 0.0625 are of experts.
  np.testing.assert_allclose([last.loss, last.cross_entropy, last.balance_loss], [10.0, 9.5, 0.3125], rtol=1e-6)


def step_of_a_model(smoothing, weights=None):
  """(loss, exported values, weights) of a training step of tiny_switch_8, from given weights or its own first ones."""
  quiet = ["routing.Top1.policy = 'argmax'", 'router_z_loss_coef = 0.001']
  config = zoo_harness.configure('tiny_switch_8', [*quiet, f'decoder/Unitransformer.label_smoothing = {smoothing}'])
  with tf.Graph().as_default():
    # Smoothing changes the loss of random weights by a random amount, which may be next to nothing.
    tf.set_random_seed(0)
    values = {name: tf.constant(value) for name, value in zoo_harness.example(config).items()}
    model = mesh_graph.build_model(config)
    training = mesh_graph.build_training(model, zoo_harness.BATCH, values, learning_rate=None)
    with zoo_harness.lowered(training.graph, training.mesh, zoo_harness.ONE_SLICE) as (lowering, session):
      fetched = lowering.export_to_tf_tensor(training.loss), observe.exported()
      session.run(tf.global_variables_initializer())
      for variable, value in zip(tf.global_variables(), weights or (), strict=bool(weights)):
        variable.load(value, session)
      session.run(lowering.copy_masters_to_slices())
      return (*session.run(fetched), session.run(tf.global_variables()))


def test_label_smoothing_is_not_shown_as_the_experts_loss():
  loss, exported, weights = step_of_a_model(smoothing=0.0)
  smooth_loss, smooth_exported, _ = step_of_a_model(smoothing=0.2, weights=weights)
  balance = progress.experts_loss(exported)
  # Without smoothing the experts' losses are what is left of the loss; smoothing changes the loss and not them.
  assert balance == pytest.approx(loss - exported['loss/cross_entropy'] - exported['loss/logits_z'], rel=1e-3)
  assert abs(smooth_loss - loss) > balance / 10
  assert progress.experts_loss(smooth_exported) == pytest.approx(balance, rel=1e-6)
  layers = {name for name in exported if '/loss/' in name}
  assert {name.rpartition('/')[2] for name in layers} == {'balance', 'router_z'} and len(layers) == 4


def test_a_model_that_exports_nothing_has_a_loss_only():
  last = train(10, exported=False).records[-1]
  assert last.loss == 10.0
  assert last.cross_entropy is last.balance_loss is last.tokens_per_second is None


def test_speed_is_not_told_from_the_first_step():
  records = train(20).records
  assert records[0].seconds_left is None
  assert records[-1].tokens_per_second > 0 and records[-1].seconds_left == 0


def test_training_that_ends_early_is_an_error():
  with pytest.raises(UserError, match='training data ended after step 2 of 5: the task gives no more examples'):
    train(5, ends_after=2)
