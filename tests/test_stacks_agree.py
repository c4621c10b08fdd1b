"""The two stacks, CPython 3.10/3.11 with TensorFlow 2.15 and later ones with 2.21, say the same and read each other.

Runs where SWITCH_ZOO_OTHER_PYTHON is the interpreter of an environment with the other stack:

SWITCH_ZOO_OTHER_PYTHON=/path/to/environment/bin/python python -m pytest tests/test_stacks_agree.py
"""

import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from switch_zoo.tasks import pydoc_topics, vocabularies

TESTS = pathlib.Path(__file__).parent
OTHER = os.environ.get('SWITCH_ZOO_OTHER_PYTHON')
INTERPRETERS = {'this': sys.executable, 'other': OTHER}

pytestmark = [
  pytest.mark.slow,
  pytest.mark.skipif(not OTHER, reason='SWITCH_ZOO_OTHER_PYTHON is not set: there is no second stack to compare with'),
]


def probe(interpreter, *arguments):
  """Runs stack_probe.py in one of the interpreters, on this checkout."""
  path = os.pathsep.join([str(TESTS), str(TESTS.parent)])
  command = [INTERPRETERS[interpreter], str(TESTS / 'stack_probe.py'), *map(str, arguments)]
  done = subprocess.run(command, env={**os.environ, 'PYTHONPATH': path}, capture_output=True, text=True)
  assert done.returncode == 0, done.stderr


@pytest.fixture(scope='module')
def folders(tmp_path_factory):
  """For each stack a folder with the checkpoint and the export it made, and what both stacks say of them."""
  top = tmp_path_factory.mktemp('stacks')
  vocabulary = top / 'vocabulary.model'
  vocabularies.train(list(pydoc_topics.documents())[:200], vocabulary, num_pieces=412)
  made = {maker: top / maker for maker in INTERPRETERS}
  for maker, folder in made.items():
    probe(maker, 'make', folder, vocabulary)
  for reader in INTERPRETERS:
    probe(reader, 'ask', reader, *made.values())
  return made


def test_the_other_interpreter_has_another_tensorflow():
  version = 'import importlib.metadata; print(importlib.metadata.version("tensorflow"))'
  versions = {subprocess.check_output([python, '-c', version], text=True) for python in INTERPRETERS.values()}
  assert len(versions) == 2


@pytest.mark.parametrize('maker', INTERPRETERS)
def test_both_say_the_same_of_a_checkpoint_and_of_an_export(folders, maker):
  this, other = (dict(np.load(folders[maker] / f'{reader}.npz')) for reader in INTERPRETERS)
  assert list(this) == list(other)
  assert len(this) > 60
  for name, value in this.items():
    if value.dtype.kind == 'f':
      # Logits and losses have been equal to the bit. Gradients and scores are sums, which TensorFlow's releases add in
      # another order: 1e-6 of the largest entry was seen, and ten times that is allowed.
      np.testing.assert_allclose(other[name], value, rtol=0, atol=1e-5 * np.abs(value).max(), err_msg=name)
    else:
      np.testing.assert_array_equal(other[name], value, err_msg=name)
