"""Tests of the server: without TensorFlow's graphs, most without TensorFlow."""

import json
import sys

import pytest
from serving_processes import FAKE, running


@pytest.fixture(autouse=True)
def fresh_state():
  """There is no TensorFlow graph to reset."""
  yield


@pytest.fixture
def serving():
  """Starts the fake server with some limits."""
  return lambda **limits: running([sys.executable, FAKE, json.dumps(limits)])
