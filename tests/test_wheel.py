"""What is shipped: the wheel, unpacked outside the checkout and used from there."""

import pathlib
import subprocess
import sys
import zipfile

import pytest

CHECKOUT = pathlib.Path(__file__).resolve().parent.parent

pytestmark = [
  pytest.mark.slow,
  pytest.mark.skipif(not (CHECKOUT / 'setup.py').is_file(), reason='not in a checkout: there is nothing to build'),
]


@pytest.fixture(scope='module')
def unpacked(tmp_path_factory):
  """A folder that holds what the wheel installs."""
  folder = tmp_path_factory.mktemp('wheel')
  build = [sys.executable, '-m', 'pip', 'wheel', '--quiet', '--no-deps', '--no-build-isolation', '-w', str(folder)]
  # From a copy, so that a test leaves no build folder in the checkout.
  source = folder / 'source'
  subprocess.run(['git', 'clone', '--quiet', str(CHECKOUT), str(source)], check=True)
  subprocess.run([*build, str(source)], check=True)
  (wheel,) = folder.glob('*.whl')
  with zipfile.ZipFile(wheel) as archive:
    archive.extractall(folder / 'site')
  return folder / 'site'


def python(code, unpacked):
  """Runs code with the unpacked wheel before everything else on the path, in its folder's parent."""
  code = f'import sys; sys.path.insert(0, {str(unpacked)!r})\n{code}'
  done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, cwd=unpacked.parent)
  assert done.returncode == 0, done.stderr
  return done.stdout


def test_every_gin_file_of_the_repository_is_in_it_and_opens(unpacked):
  names = python(
    """
from switch_zoo import gin_files
folder = gin_files.configs_folder()
assert str(folder).startswith(sys.path[0]), folder
for name in gin_files.available([folder]):
  gin_files.read([name])
  print(name)
""",
    unpacked,
  ).split()
  tracked = subprocess.run(['git', 'ls-files', 'gin'], cwd=CHECKOUT, capture_output=True, text=True, check=True)
  assert sorted(names) == sorted(line.removeprefix('gin/') for line in tracked.stdout.split())


def test_the_gin_library_is_not_hidden(unpacked):
  assert python('import gin; print(hasattr(gin, "configurable"))', unpacked) == 'True\n'
  assert not list(unpacked.glob('switch_zoo/configs/**/__init__.py'))


def test_tasks_are_part_of_the_package_and_nothing_else_is_installed(unpacked):
  assert (unpacked / 'switch_zoo' / 'tasks' / 'demo.py').is_file()
  assert {path.name for path in unpacked.iterdir() if not path.name.endswith('.dist-info')} == {'switch_zoo'}
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
