"""What the two distributions, the whole `switch-zoo` and `switch-zoo-serve`, say that they require."""

import pathlib
import runpy
import sys

import pytest
import setuptools
from packaging.requirements import Requirement

if sys.version_info >= (3, 11):
  import tomllib
else:
  import tomli as tomllib  # pytest requires it

CHECKOUT = pathlib.Path(__file__).resolve().parent.parent
PYTHONS = ('3.10', '3.11', '3.12', '3.13')
TRAINING = {'mesh-tensorflow', 't5', 'seqio-nightly', 'jax', 'jaxlib', 'flax', 'tensorflow-datasets', 'tfds-nightly'}
TRAINING |= {'tensorflow-estimator', 'tensorstore', 'scikit-learn', 'babel', 'matplotlib'}

pytestmark = pytest.mark.skipif(not (CHECKOUT / 'setup.py').is_file(), reason='not in a checkout')


@pytest.fixture
def whole(monkeypatch):
  """The arguments of setup.py."""
  arguments = {}
  monkeypatch.setattr(setuptools, 'setup', lambda **given: arguments.update(given))
  monkeypatch.chdir(CHECKOUT)
  runpy.run_path('setup.py')
  return arguments


@pytest.fixture
def serving():
  """The table [project] of serve/pyproject.toml."""
  return tomllib.loads((CHECKOUT / 'serve' / 'pyproject.toml').read_text(encoding='utf-8'))['project']


def required(requirements, python):
  """Name -> versions of what an interpreter installs."""
  parsed = map(Requirement, requirements)
  environment = {'python_version': python, 'python_full_version': f'{python}.0'}
  return {r.name: str(r.specifier) for r in parsed if not r.marker or r.marker.evaluate(environment)}


@pytest.mark.parametrize('python', PYTHONS)
def test_each_interpreter_gets_one_stack(whole, python):
  old = python in ('3.10', '3.11')
  packages = required(whole['install_requires'], python)
  assert packages['tensorflow'] == ('==2.15.1' if old else '<2.22,>=2.21')
  assert packages['tensorflow-estimator'] == '==2.15.0'
  assert ('jax' in packages) == old


def test_no_requirement_is_stated_twice_for_an_interpreter(whole):
  for python in PYTHONS:
    environment = {'python_version': python, 'python_full_version': f'{python}.0'}
    parsed = [Requirement(line) for line in whole['install_requires']]
    names = [r.name for r in parsed if not r.marker or r.marker.evaluate(environment)]
    assert len(names) == len(set(names)), python


@pytest.mark.parametrize('python', PYTHONS)
def test_serving_requires_the_same_versions_and_no_training(whole, serving, python):
  packages = required(serving['dependencies'], python)
  assert packages.items() <= required(whole['install_requires'], python).items()
  assert not packages.keys() & TRAINING


@pytest.mark.parametrize('python', PYTHONS)
def test_onnx_is_the_same_extra_of_both(whole, serving, python):
  extra = required(serving['optional-dependencies']['onnx'], python)
  assert extra == required(whole['extras_require']['onnx'], python)
  assert list(extra) == ['onnx', 'onnxruntime']


@pytest.mark.parametrize('python', PYTHONS)
def test_t5x_is_an_extra_of_serving(whole, serving, python):
  extra = required(serving['optional-dependencies']['t5x'], python)
  assert list(extra) == ['tensorstore']
  assert extra.items() <= required(whole['install_requires'], python).items()


def test_both_have_one_version_one_range_of_interpreters_and_the_same_commands(whole, serving):
  assert (whole['version'], whole['python_requires']) == (serving['version'], serving['requires-python'])
  commands = [f'{name} = {target}' for name, target in serving['scripts'].items()]
  assert whole['entry_points']['console_scripts'] == commands


def test_serving_says_not_to_install_both(serving):
  assert 'not to be installed alongside switch-zoo' in serving['description']
