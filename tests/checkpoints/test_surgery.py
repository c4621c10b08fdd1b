"""Some of the experts, experts from dense layers, and a dense twin from experts."""

import mesh_tensorflow as mtf
import numpy as np
import oracles
import pytest
import random_models
import tensorflow.compat.v1 as tf

from switch_zoo import load_config
from switch_zoo.checkpoints import conversion
from switch_zoo.checkpoints.request_checks import Request, Surgery
from switch_zoo.keras.experts import expert_stddev
from switch_zoo.mesh import exchange

ROUTER, WI, WO = (f'encoder/block_000/layer_003/MoE1D/{name}/kernel' for name in ('switch_gating', 'wi', 'wo'))
# The same layer in a dense model, whose blocks hold one.
DENSE_WI = 'encoder/block_001/layer_001/DenseReluDense/wi/kernel'


@pytest.fixture(scope='module')
def checkpoints(tmp_path_factory):
  """model -> (values, folder) of a Mesh-TensorFlow checkpoint."""
  folder = tmp_path_factory.mktemp('surgery')
  made = {}
  for model in ('switch_base_8', 't5_base', 'switch_c_2048', 'mt5_base'):
    values = random_models.values(random_models.tiny(model, experts=4))
    made[model] = values, random_models.save_mesh(folder / model, values, slots=False)
  return made


def operate(source, destination, to='mesh', **surgery):
  """The result of a conversion with surgery: variables by name, and the model."""
  conversion.convert(Request(source, str(destination), to, surgery=Surgery(**surgery)))
  config = load_config(f'{destination}/model.gin')
  found = random_models.restored(str(destination))
  del found['global_step']
  assert {name: list(value.shape) for name, value in found.items()} == {
    name: list(axes.values()) for name, axes in config.variables.items()
  }
  return found, config


def test_some_experts(checkpoints, tmp_path):
  values, folder = checkpoints['switch_base_8']
  found, config = operate(folder, tmp_path / 'new', experts=(3, 0))
  assert config.num_experts == 2
  for name, value in values.items():
    expected = value
    if '/MoE1D/' in name:
      expected = value[:, [3, 0]] if 'switch_gating' in name else value[[3, 0]]
    np.testing.assert_array_equal(found[name], expected, err_msg=name)


def test_with_one_expert_left_the_layer_is_that_expert(tmp_path):
  """The gate of a single expert is 1: the logits are those of a dense layer."""
  model = oracles.t5('1.1')
  source = oracles.save(model, tmp_path / 'hf')
  conversion.convert(Request(source, str(tmp_path / 'four'), 'keras', surgery=Surgery(upcycle=4)))
  conversion.convert(Request(str(tmp_path / 'four'), str(tmp_path / 'one'), 'mesh', surgery=Surgery(experts=(2,))))
  inputs, targets = oracles.batch(128)
  actual = oracles.mesh_logits(str(tmp_path / 'one'), inputs, targets, ['capacity_factor_eval = 100.0'])
  np.testing.assert_allclose(actual, oracles.torch_logits(model, inputs, targets), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize('model', ['t5_base', 'mt5_base'])
def test_upcycling_copies_the_dense_layers(checkpoints, tmp_path, model):
  values, folder = checkpoints[model]
  found, config = operate(folder, tmp_path / 'new', upcycle=3)
  assert (config.num_experts, config.encoder_sparse_layers, config.router) == (3, (1,), 'top1')
  kernels = ('wi_0', 'wi_1', 'wo') if config.gated else ('wi', 'wo')
  for stack, place, dense in (('encoder', 'layer_003', 'layer_001'), ('decoder', 'layer_005', 'layer_002')):
    for kernel in kernels:
      experts = found[f'{stack}/block_000/{place}/MoE1D/{kernel}/kernel']
      source = values[f'{stack}/block_001/{dense}/DenseReluDense/{kernel}/kernel']
      np.testing.assert_array_equal(experts, np.stack([source] * 3))
  # Layer 1 of the dense model is the second half of the first block here.
  np.testing.assert_array_equal(
    found['decoder/block_000/layer_004/EncDecAttention/k'], values['decoder/block_001/layer_001/EncDecAttention/k']
  )
  np.testing.assert_array_equal(
    found['encoder/block_000/layer_003/rms_norm/scale'], values['encoder/block_001/layer_001/rms_norm/scale']
  )


def test_new_routers_are_seeded_and_different(checkpoints, tmp_path):
  _, folder = checkpoints['t5_base']
  first, _ = operate(folder, tmp_path / 'a', upcycle=64)
  again, _ = operate(folder, tmp_path / 'b', upcycle=64)
  other = conversion.convert(
    Request(folder, str(tmp_path / 'c'), 'mesh', surgery=Surgery(upcycle=64, seed=1))
  ) and random_models.restored(str(tmp_path / 'c'))
  decoder = 'decoder/block_000/layer_005/MoE1D/switch_gating/kernel'
  np.testing.assert_array_equal(first[ROUTER], again[ROUTER])
  assert not np.array_equal(first[ROUTER], other[ROUTER]) and not np.array_equal(first[ROUTER], first[decoder])


def test_new_routers_start_as_those_of_our_layers(checkpoints, tmp_path):
  """Against draws of the initializer that Mesh-TensorFlow's layer uses; Keras' layer has the same deviation."""
  _, folder = checkpoints['t5_base']
  request = Request(folder, str(tmp_path / 'new'), 'mesh', surgery=Surgery(upcycle=64))
  notes = conversion.convert(request).notes
  assert any('truncated normal, variance 0.1 / d_model before the cut, seed 0' in note for note in notes)
  router = random_models.restored(str(tmp_path / 'new'))[ROUTER]
  d_model, experts = mtf.Dimension('d_model', 8), mtf.Dimension('expert_unsplit', 64)
  assert router.shape == (d_model.size, experts.size)
  with tf.Graph().as_default(), tf.Session() as session:
    tf.set_random_seed(0)
    initializer = exchange.Exchange(num_experts=64).initializer([d_model], [experts])
    draws = session.run(initializer([1000, 64]))
  stddev = expert_stddev(d_model.size)
  np.testing.assert_allclose(initializer.stddev, stddev)
  # Both are cut at two deviations, and both reach almost so far.
  assert 1.9 < np.abs(router).max() / stddev < 2 + 1e-6 and 1.9 < np.abs(draws).max() / stddev < 2 + 1e-6
  # 512 draws against 64,000: the mean within 4 and the deviation within 5 standard errors.
  assert abs(router.mean()) < 4 * draws.std() / 512**0.5
  assert abs(router.std() / draws.std() - 1) < 5 / 1024**0.5
  for quantile in (0.1, 0.25, 0.75, 0.9):
    assert abs((router < np.quantile(draws, quantile)).mean() - quantile) < 4 * (quantile * (1 - quantile) / 512) ** 0.5


@pytest.mark.parametrize('model', ['switch_base_8', 'switch_c_2048'])
def test_the_dense_twin_has_all_weights_outside_experts(checkpoints, tmp_path, model):
  values, folder = checkpoints[model]
  found, config = operate(folder, tmp_path / 'mean', dense_from='mean')
  twin = random_models.tiny('t5_base')
  assert not config.num_experts and config.num_encoder_layers == twin.num_encoder_layers
  np.testing.assert_array_equal(found['shared/embedding'], values['shared/embedding'])
  if model == 'switch_base_8':
    np.testing.assert_array_equal(
      found['encoder/block_001/layer_000/SelfAttention/q'], values['encoder/block_000/layer_002/SelfAttention/q']
    )
    np.testing.assert_array_equal(
      found['encoder/block_000/layer_001/DenseReluDense/wi/kernel'],
      values['encoder/block_000/layer_001/DenseReluDense/wi/kernel'],
    )
    np.testing.assert_allclose(found[DENSE_WI], values[WI].astype(np.float64).mean(0), rtol=1e-6)


def test_the_dense_twin_s_fresh_layers_are_as_t5_starts_them(checkpoints, tmp_path):
  """Truncated normal, scale 1 over the fan-in: 12 x 8 draws of deviation 0.88 / sqrt(8), none beyond 2 / sqrt(8)."""
  values, folder = checkpoints['switch_base_8']
  found, _ = operate(folder, tmp_path / 'fresh', dense_from='fresh')
  again, _ = operate(folder, tmp_path / 'again', dense_from='fresh')
  np.testing.assert_array_equal(found[DENSE_WI], again[DENSE_WI])
  assert np.abs(found[DENSE_WI]).max() <= 2 * 8**-0.5
  assert 0.7 < found[DENSE_WI].std() / (0.88 * 8**-0.5) < 1.3
  assert not any(np.array_equal(found[DENSE_WI], expert) for expert in values[WI])


def test_upcycling_and_the_mean_of_experts_give_the_dense_model_back(checkpoints, tmp_path):
  values, folder = checkpoints['t5_base']
  conversion.convert(Request(folder, str(tmp_path / 'sparse'), 'hf', surgery=Surgery(upcycle=4)))
  found, _ = operate(str(tmp_path / 'sparse'), tmp_path / 'dense', dense_from='mean')
  random_models.assert_same(found, values)
