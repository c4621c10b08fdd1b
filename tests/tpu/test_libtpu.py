"""libtpu compiles a small model for every layout strategy, without a TPU."""

import importlib.metadata
import pathlib

import pytest
import zoo_harness
from one_core_harness import STRATEGIES

from switch_zoo.commands import compiling
from switch_zoo.errors import UserError
from switch_zoo.tpu import compiler, slices


def present() -> bool:
  try:
    return importlib.metadata.version('libtpu') == compiler.VERSION
  except importlib.metadata.PackageNotFoundError:
    return False


needs_libtpu = pytest.mark.skipif(not present(), reason=f'needs libtpu {compiler.VERSION}, the extra [tpu]')
SIZES = ['num_heads = 8', 'num_experts = 8', 'vocab_size = 256', 'target_vocab_size = 256']


@pytest.fixture(scope='module')
def small_model(tmp_path_factory):
  """A model file: the tiny overlay as a model of its own, with one sparse layer in each stack."""
  path = tmp_path_factory.mktemp('model') / 'small.gin'
  lines = ["include 'models/switch_base_8.gin'", f"include '{zoo_harness.OVERLAY}'", *SIZES]
  path.write_text('\n'.join(lines) + '\n')
  return str(path)


@needs_libtpu
@pytest.mark.slow
@pytest.mark.parametrize('name', STRATEGIES)
def test_a_strategy_is_compiled(name, small_model):
  request = compiling.checked_request(small_model, 'v3-8', name, STRATEGIES[name], 16, 0, None)
  report = compiling.compile_step(request, lambda phase: None)
  memory = report.memory
  assert min(memory.arguments, memory.temporaries, memory.code) > 0 and report.fits
  assert report.limit == pytest.approx(15.48 * 2**30, rel=1e-3)
  assert report.collectives['all-reduce'][0] > 0
  # To the experts and back, forward and backward, in one layer of each stack.
  cut = name.startswith('expert')
  assert report.collectives.get('all-to-all', (0, 0))[0] == (8 if cut else 0)


@needs_libtpu
@pytest.mark.parametrize(('name', 'devices'), [('v2-8', 8), ('v4-8', 8), ('v5e-4', 4), ('v5p-8', 4), ('v6e-8', 8)])
def test_places_of_a_slice(name, devices):
  libtpu, tpu = compiler.Compiler(), slices.find(name)
  places = libtpu.places(libtpu.topology(tpu.topology))
  assert len(places) == devices == tpu.devices
  assert (
    sorted(number for number, _ in places) == list(range(devices)) and len({place for _, place in places}) == devices
  )


def test_libtpu_that_is_missing_or_another(monkeypatch):
  monkeypatch.setattr(compiler.importlib.util, 'find_spec', lambda name: None)
  with pytest.raises(
    UserError, match=r"libtpu, .* is not installed. Install it with pip install libtpu==\d.*'\.\[tpu\]'"
  ):
    compiler.library_path()
  spec = type('Spec', (), {'origin': '/somewhere/libtpu/__init__.py'})
  monkeypatch.setattr(compiler.importlib.util, 'find_spec', lambda name: spec)
  monkeypatch.setattr(compiler.importlib.metadata, 'version', lambda name: '0.0.1')
  with pytest.raises(UserError, match=r'libtpu 0.0.1 is installed, and the figures hold for libtpu \d'):
    compiler.library_path()


def test_the_extra_pins_the_same_release():
  setup = pathlib.Path(__file__).parents[2] / 'setup.py'
  assert f"'libtpu=={compiler.VERSION}'" in setup.read_text()
