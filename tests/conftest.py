"""Every test starts with a fresh TensorFlow graph, an empty gin configuration, and random numbers of its own seed."""

import importlib
import pathlib
import random
import sys
import zlib

from switch_zoo import tf_compat

tf_compat.repair()

import gin  # noqa: E402
import hypothesis  # noqa: E402
import numpy as np  # noqa: E402
import pytest  # noqa: E402
import tensorflow as tf  # noqa: E402

# Benchmarks are not installed. They come last, so that an installed package is tested and not the checkout.
sys.path.append(str(pathlib.Path(__file__).parents[1]))

_keras_backend = importlib.import_module(f'{tf.keras.Model.__module__.partition(".")[0]}.src.backend')

# A busy machine is not a fault: no example has a time limit.
hypothesis.settings.register_profile(
  'without a time limit', deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile('without a time limit')


@pytest.fixture(autouse=True)
def fresh_state():
  """A new default graph, and no gin binding left over from another test."""
  gin.clear_config()
  with tf.Graph().as_default():
    yield
  gin.clear_config()


@pytest.hookimpl(tryfirst=True)
def pytest_fixture_setup(fixturedef, request):
  """What a fixture draws depends on nothing that ran before it."""
  _seed(f'{request.node.nodeid} {fixturedef.argname}')


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_call(item):
  """Weights that a test does not seed are the same in every run: none fails by chance."""
  _seed(item.nodeid)


def _seed(name):
  number = zlib.crc32(name.encode())
  random.seed(number)
  np.random.seed(number)
  # `tf.keras.utils.set_random_seed` would throw away the tokenizers that TensorFlow keeps. Keras 3 draws from `random`.
  if hasattr(_keras_backend, '_SEED_GENERATOR'):
    _keras_backend._SEED_GENERATOR.generator = random.Random(number)
  if not tf.executing_eagerly():
    tf.compat.v1.set_random_seed(number)
