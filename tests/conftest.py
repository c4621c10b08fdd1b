"""Every test starts with a fresh TensorFlow graph and an empty gin configuration."""

from switch_zoo import tf_compat

tf_compat.repair()

import gin  # noqa: E402
import pytest  # noqa: E402
import tensorflow.compat.v1 as tf  # noqa: E402


@pytest.fixture(autouse=True)
def fresh_state():
  """A new default graph, and no gin binding left over from another test."""
  gin.clear_config()
  with tf.Graph().as_default():
    yield
  gin.clear_config()
