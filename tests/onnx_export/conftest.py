"""These tests run eagerly, as those of Keras do."""

import gin
import pytest


@pytest.fixture(autouse=True)
def fresh_state():
  """No gin binding left over from another test, and no graph around the test."""
  gin.clear_config()
  yield
  gin.clear_config()
