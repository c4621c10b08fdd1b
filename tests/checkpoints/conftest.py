"""What all tests of checkpoints share."""

import os

import pytest


@pytest.fixture(autouse=True)
def no_sync(monkeypatch):
  """No test is about a loss of power, and waiting for the disk hundreds of times would take most of the time."""
  monkeypatch.setattr(os, 'fsync', lambda descriptor: None)
