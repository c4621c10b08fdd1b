"""With the tiny overlay every model trains, saves, restores and answers, and keeps the names of its variables.

Models may have the same gin configuration with the overlay: switch_base_8 and switch_base_256 differ only in a number
that the overlay sets. Each configuration runs once, and every model is checked against its own.
"""

import functools
import json
import pathlib

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
import zoo_harness

from switch_zoo import list_models
from switch_zoo.mesh import graph as mesh_graph

GOLDEN = pathlib.Path(__file__).parent.parent / 'golden'
STEPS = 10


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
  """model -> (config, checkpoint, losses), trained once for each configuration."""
  folder = tmp_path_factory.mktemp('zoo')

  @functools.cache
  def by_text(text, model):
    config = zoo_harness.configure(model)
    checkpoint = str(folder / model / 'model.ckpt')
    return config, checkpoint, zoo_harness.train(config, STEPS, checkpoint)

  first_model = {}

  def train(model):
    text = zoo_harness.configuration(model)
    return by_text(text, first_model.setdefault(text, model))

  return train


@pytest.mark.slow
@pytest.mark.parametrize('model', list_models())
def test_ten_steps_lower_the_loss(trained, model):
  _, _, losses = trained(model)
  assert np.isfinite(losses).all()
  assert np.mean(losses[-3:]) < 0.75 * np.mean(losses[:3])
  assert sum(later < earlier for earlier, later in zip(losses, losses[1:], strict=False)) >= STEPS - 2


@pytest.mark.slow
@pytest.mark.parametrize('model', list_models())
def test_checkpoint_holds_the_variables_of_the_golden_file(trained, model):
  config, checkpoint, _ = trained(model)
  golden = json.loads((GOLDEN / f'{model}.json').read_text())
  saved = {name: shape for name, shape in tf.train.list_variables(checkpoint) if '_slot_' not in name}
  del saved['global_step']
  # The checkpoint and the list agree axis by axis, in the same order.
  assert saved == {name: list(shape.values()) for name, shape in golden.items()}
  assert {name: dict(shape) for name, shape in config.variables.items()} == golden


@pytest.mark.parametrize('model', list_models())
def test_golden_file_is_what_the_gin_file_describes(model):
  golden = json.loads((GOLDEN / f'{model}.json').read_text())
  config = zoo_harness.configure(model)
  assert {name: dict(shape) for name, shape in config.variables.items()} == golden


def test_there_is_a_golden_file_for_each_model_and_no_other():
  assert sorted(path.stem for path in GOLDEN.glob('*.json')) == sorted(list_models())


@pytest.fixture(scope='module')
def answers(trained):
  """model -> greedy answers from its checkpoint, each in its own graph and session."""

  @functools.cache
  def decode(checkpoint, model):
    return zoo_harness.decode(zoo_harness.configure(model), checkpoint)

  return lambda model: decode(trained(model)[1], trained(model)[0].name)


@pytest.mark.slow
@pytest.mark.parametrize('model', list_models())
def test_restored_model_answers(answers, model):
  ids = answers(model)
  target = int(zoo_harness.vocabulary(model)[1].split('= ')[1])
  assert ids.shape == (zoo_harness.BATCH.size, zoo_harness.DECODED)
  assert ids.min() >= 0 and ids.max() < target
  assert (ids[:, 0] > 0).all(), 'an answer is not empty'


@pytest.mark.slow
def test_saved_and_restored_weights_are_the_same(trained):
  """A step from the restored weights is a step from the saved ones: same loss, same gradients."""
  deterministic = ["routing.Top1.policy = 'argmax'"]
  _, checkpoint, _ = trained('switch_base_8')
  config = zoo_harness.configure('switch_base_8', deterministic)
  saved = {name: tf.train.load_variable(checkpoint, name) for name in config.variables}
  first = zoo_harness.step(config, zoo_harness.ONE_SLICE, weights=saved)
  again = zoo_harness.step(config, zoo_harness.ONE_SLICE, weights=first.weights)
  assert first.loss == again.loss
  for name, value in saved.items():
    np.testing.assert_array_equal(first.weights[name], value)
    np.testing.assert_array_equal(first.gradients[name], again.gradients[name])


def test_overlay_can_be_overridden():
  """Parameters override the overlay, and a model with the overlay is small."""
  assert zoo_harness.configure('switch_c_2048', ['num_experts = 8']).num_experts == 8
  assert zoo_harness.configure('switch_c_2048').num_parameters < 200_000
  assert mesh_graph.configure(['models/switch_c_2048.gin', zoo_harness.OVERLAY]).vocab_size == 32128
