"""What is shipped: the wheel, unpacked outside the checkout and used from there, and the source distribution."""

import pathlib
import subprocess
import sys
import zipfile

import pytest

CHECKOUT = pathlib.Path(__file__).resolve().parent.parent
# Folder of the repository -> what it is called in the package, where links lead to it.
SHIPPED = {'switch_zoo': 'switch_zoo', 'tasks': 'switch_zoo/tasks', 'gin': 'switch_zoo/configs'}

pytestmark = [
  pytest.mark.slow,
  pytest.mark.skipif(not (CHECKOUT / 'setup.py').is_file(), reason='not in a checkout: there is nothing to build'),
]


def tracked(folder):
  """Names of the files of a folder that git knows, relative to it."""
  command = ['git', 'ls-files', '--', folder]
  listed = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=True).stdout.splitlines()
  return [name.removeprefix(f'{folder}/') for name in listed]


def build_wheel(source, folder):
  """The names of the files that a wheel, built from a folder or a source distribution, installs; and its path."""
  build = [sys.executable, '-m', 'pip', 'wheel', '--quiet', '--no-deps', '--no-build-isolation', '-w', str(folder)]
  subprocess.run([*build, str(source)], check=True)
  (wheel,) = folder.glob('*.whl')
  with zipfile.ZipFile(wheel) as archive:
    return {name for name in archive.namelist() if '.dist-info/' not in name}, wheel


@pytest.fixture(scope='module')
def clone(tmp_path_factory):
  """A clone of the checkout, so that nothing is built that git does not know, and no build folder is left here."""
  folder = tmp_path_factory.mktemp('clone') / 'source'
  subprocess.run(['git', 'clone', '--quiet', str(CHECKOUT), str(folder)], check=True)
  return folder


@pytest.fixture(scope='module')
def built(clone, tmp_path_factory):
  """Names of the files in the wheel, and its path."""
  return build_wheel(clone, tmp_path_factory.mktemp('wheel'))


@pytest.fixture(scope='module')
def unpacked(built):
  """A folder that holds what the wheel installs."""
  _, wheel = built
  with zipfile.ZipFile(wheel) as archive:
    archive.extractall(wheel.parent / 'site')
  return wheel.parent / 'site'


def python(code, unpacked):
  """Runs code with the unpacked wheel before everything else on the path, in its folder's parent."""
  code = f'import sys; sys.path.insert(0, {str(unpacked)!r})\n{code}'
  done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, cwd=unpacked.parent)
  assert done.returncode == 0, done.stderr
  return done.stdout


def test_it_holds_every_module_and_gin_file_and_nothing_else(built):
  names, _ = built
  expected = {f'{inside}/{name}' for folder, inside in SHIPPED.items() for name in tracked(folder)}
  assert sorted(names) == sorted(name for name in expected if name.endswith(('.py', '.gin')))
  assert {name.split('/')[0] for name in names} == {'switch_zoo'}, 'no tests, no benchmarks'


def test_a_source_distribution_makes_the_same_wheel(clone, built, tmp_path):
  code = f'from setuptools import build_meta; print(build_meta.build_sdist({str(tmp_path)!r}))'
  done = subprocess.run([sys.executable, '-c', code], cwd=clone, capture_output=True, text=True)
  assert done.returncode == 0, done.stderr
  assert build_wheel(tmp_path / done.stdout.splitlines()[-1], tmp_path)[0] == built[0]


def test_every_module_of_it_can_be_imported(built, unpacked):
  names, _ = built
  out = python(
    """
from switch_zoo import tf_compat
tf_compat.quiet()
import importlib, pkgutil, switch_zoo
for module in pkgutil.walk_packages(switch_zoo.__path__, 'switch_zoo.'):
  importlib.import_module(module.name)
  print('imported', module.name)
for name, module in sys.modules.items():
  if name.partition('.')[0] == 'switch_zoo':
    assert (module.__file__ or '').startswith(sys.path[0]), module  # not from another installation
""",
    unpacked,
  )
  modules = {name.removesuffix('.py').removesuffix('/__init__') for name in names if name.endswith('.py')}
  imported = {line.split()[1].replace('.', '/') for line in out.splitlines() if line.startswith('imported ')}
  assert imported == modules - {'switch_zoo'}


def test_every_gin_file_of_the_repository_opens(unpacked):
  names = python(
    """
from switch_zoo.spec import gin_files
folder = gin_files.configs_folder()
assert str(folder).startswith(sys.path[0]), folder
for name in gin_files.available([folder]):
  gin_files.read([name])
  print(name)
""",
    unpacked,
  ).split()
  assert sorted(names) == sorted(tracked('gin'))


def test_the_gin_library_is_not_hidden(unpacked):
  assert python('import gin; print(hasattr(gin, "configurable"))', unpacked) == 'True\n'
  assert not list(unpacked.glob('switch_zoo/configs/**/__init__.py'))


def test_importing_the_tasks_registers_them(unpacked):
  out = python(
    """
from switch_zoo import tf_compat
tf_compat.quiet()
import seqio, switch_zoo.tasks
print(switch_zoo.tasks.__file__.startswith(sys.path[0]), 'zoo_demo_span' in seqio.TaskRegistry.names())
""",
    unpacked,
  )
  assert out == 'True True\n'


def test_both_commands_are_entry_points(unpacked):
  text = next(unpacked.glob('*.dist-info/entry_points.txt')).read_text()
  assert 'switch_zoo = switch_zoo.cli:main' in text
  assert 't5_mesh_transformer = switch_zoo.t5_mesh_transformer:console_entry_point' in text
