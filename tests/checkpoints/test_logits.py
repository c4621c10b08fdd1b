"""The same weights give the same logits here and in PyTorch: float32, encoder and decoder, no token dropped."""

import numpy as np
import oracles
import pytest

from switch_zoo.checkpoints import conversion
from switch_zoo.checkpoints.request_checks import Request, Surgery

ROOM = ['capacity_factor_eval = 100.0']
TOLERANCE = 1e-4


def converted(model, folder, **request):
  """Folder of the Mesh-TensorFlow checkpoint made of a model of transformers."""
  source = oracles.save(model, folder / 'hf')
  conversion.convert(Request(source, str(folder / 'mesh'), 'mesh', **request))
  return str(folder / 'mesh')


def assert_same_logits(model, folder, parameters=()):
  inputs, targets = oracles.batch(oracles.SIZES['vocab_size'])
  expected = oracles.torch_logits(model, inputs, targets)
  actual = oracles.mesh_logits(folder, inputs, targets, parameters)
  assert np.abs(expected).max() > 0.1
  np.testing.assert_allclose(actual, expected, atol=TOLERANCE, rtol=TOLERANCE)


SWITCHES = {
  'heads x d_kv is not d_model, 3 experts, every other layer, tied': {'num_layers': 2, 'sparse': 1},
  '6 experts, every layer, untied': {'num_layers': 2, 'sparse': 2, 'num_experts': 6, 'tied': False},
  '4 layers, 6 experts, every other layer, untied': {'num_layers': 4, 'sparse': 2, 'num_experts': 6, 'tied': False},
  'wide heads, 3 experts, every layer, tied': {'num_layers': 2, 'sparse': 2, 'd_kv': 16},
  'every third of six layers is sparse': {'num_layers': 6, 'sparse': 2},
}


@pytest.mark.parametrize('sizes', SWITCHES.values(), ids=SWITCHES)
def test_switch(sizes, tmp_path):
  model = oracles.switch(**sizes)
  assert_same_logits(model, converted(model, tmp_path), ROOM)


@pytest.mark.parametrize('version', ['1.0', '1.1'])
def test_dense_t5(version, tmp_path):
  model = oracles.t5(version)
  assert_same_logits(model, converted(model, tmp_path))


def test_mt5(tmp_path):
  model = oracles.t5('1.1', kind='MT5')
  assert_same_logits(model, converted(model, tmp_path))


def test_geglu_with_one_expert_is_t5_1_1(tmp_path):
  """transformers has no Switch Transformer with GEGLU; with one expert, whose gate is 1, it is a dense layer."""
  model = oracles.t5('1.1')
  assert_same_logits(model, converted(model, tmp_path, surgery=Surgery(upcycle=1)), ROOM)
