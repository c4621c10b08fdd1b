"""The check that pip resolves without searching, on made-up logs in the form of pip 23 to 26."""

import importlib.util
import pathlib
import subprocess
import sys

import pytest

SCRIPT = pathlib.Path(__file__).resolve().parent.parent / 'benchmarks' / 'downloads.py'

pytestmark = pytest.mark.skipif(not SCRIPT.is_file(), reason='not in a checkout')

ONE_PASS = """\
Processing ./switch_zoo
  Installing build dependencies: started
  Installing build dependencies: finished with status 'done'
Collecting tensorflow==2.15.1 (from switch-zoo==0.1.0)
  Downloading tensorflow-2.15.1-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl (475.3 MB)
Collecting ml_dtypes<0.4,>=0.3.1 (from switch-zoo==0.1.0)
  Using cached ml_dtypes-0.3.2-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl (2.2 MB)
Collecting tfds-nightly==4.9.2.dev202308090034 (from switch-zoo==0.1.0)
  Downloading tfds_nightly-4.9.2.dev202308090034-py3-none-any.whl (5.0 MB)
Collecting promise (from tensorflow-datasets==4.9.3->switch-zoo==0.1.0)
  Downloading promise-2.3.tar.gz (19 kB)
Requirement already satisfied: pip in ./venv/lib/python3.11/site-packages (23.2)
Would install ml-dtypes-0.3.2 promise-2.3 tensorflow-2.15.1 tfds-nightly-4.9.2.dev202308090034
"""
SEARCH = """\
Collecting tf_keras (from tensorflow-hub->switch-zoo==0.1.0)
  Downloading tf_keras-2.17.0-py3-none-any.whl (1.7 MB)
INFO: pip is looking at multiple versions of tf-keras to determine which version is compatible with other requirements.
  Using cached tf.keras-2.16.0-py3-none-any.whl (1.7 MB)
  Downloading tf_keras-2.15.1-py3-none-any.whl (1.7 MB)
"""
METADATA = """\
Collecting jax<0.4.35 (from switch-zoo==0.1.0)
  Using cached jax-0.4.34-py3-none-any.whl.metadata (22 kB)
Collecting six
  Downloading six-1.17.0-py2.py3-none-any.whl.metadata (1.7 kB)
Using cached jax-0.4.34-py3-none-any.whl (2.1 MB)
Downloading six-1.17.0-py2.py3-none-any.whl (11 kB)
"""
BUILDING = """\
Collecting promise
  Downloading promise-2.3.tar.gz (19 kB)
  Running command pip subprocess to install build dependencies
  Collecting setuptools>=40.8.0
    Downloading setuptools-82.0.1-py3-none-any.whl (1.0 MB)
Collecting setuptools<81
  Downloading setuptools-80.10.2-py3-none-any.whl (1.1 MB)
"""


@pytest.fixture(scope='module')
def downloads():
  """The script as a module."""
  spec = importlib.util.spec_from_file_location('downloads', SCRIPT)
  assert spec and spec.loader
  module = importlib.util.module_from_spec(spec)
  sys.modules[spec.name] = module  # where dataclasses and named tuples look
  spec.loader.exec_module(module)
  return module


@pytest.fixture
def check(tmp_path):
  """Runs the script on a log."""

  def run(log):
    (tmp_path / 'log').write_text(log)
    command = [sys.executable, str(SCRIPT), '--log', str(tmp_path / 'log'), '--out', str(tmp_path / 'out.json')]
    return subprocess.run(command, capture_output=True, text=True, check=False)

  return run


def test_one_version_of_each_package_passes(check):
  done = check(ONE_PASS)
  assert (done.returncode, done.stdout) == (0, '4 files  483 MB\n'), done.stderr


def test_a_search_fails_and_names_the_package_and_its_versions(check, tmp_path):
  done = check(ONE_PASS + SEARCH)
  assert done.returncode == 1
  assert 'tf-keras was downloaded in 3 versions: 2.17.0, 2.16.0, 2.15.1.' in done.stdout
  assert done.stdout.count('was downloaded in') == 1
  assert '"searched": {\n    "tf-keras": [\n      "2.17.0"' in (tmp_path / 'out.json').read_text()


def test_metadata_is_a_file_and_not_another_version(downloads, check):
  assert check(METADATA).stdout == '4 files  2 MB\n'
  jax = downloads.files(METADATA.splitlines())[0]
  assert jax == ('jax', '0.4.34', 22_000)


def test_a_search_among_metadata_fails(check):
  done = check(METADATA + '  Downloading jax-0.4.33-py3-none-any.whl.metadata (22 kB)\n')
  assert done.returncode == 1 and 'jax was downloaded in 2 versions: 0.4.34, 0.4.33.' in done.stdout


def test_environments_for_building_are_resolved_apart(downloads):
  names = [(file.package, file.version) for file in downloads.files(BUILDING.splitlines())]
  assert names == [('promise', '2.3'), ('setuptools', '80.10.2')]


def test_a_log_without_downloads_fails(check):
  done = check('Requirement already satisfied: six\n')
  assert done.returncode == 1 and 'without --quiet' in done.stdout


@pytest.mark.parametrize(
  ('line', 'file'),
  [
    ('  Downloading a_b-1.0.tar.gz (2 bytes)', ('a-b', '1.0', 2)),
    ('  Downloading google.pasta-0.2.0-py3-none-any.whl (57.1 kB)', ('google-pasta', '0.2.0', 57_100)),
    ('  Downloading dm-tree-0.1.10.zip (1.5 GB)', ('dm-tree', '0.1.10', 1.5e9)),
    ('Processing /wheels/torch-2.13.0+cpu-cp311-cp311-manylinux_2_28_x86_64.whl', ('torch', '2.13.0+cpu', 0)),
    ('  Downloading https://example.org/x/certifi-2026.10.19.post1-py3-none-any.whl (134 kB)', None),
  ],
)
def test_lines(downloads, line, file):
  file = file or ('certifi', '2026.10.19.post1', 134_000)
  assert downloads.files([line]) == [file]


@pytest.mark.parametrize('line', ['Processing ./switch-zoo-0', 'Collecting six', '    Downloading six-1.tar.gz (1 kB)'])
def test_lines_that_are_no_download(downloads, line):
  assert downloads.files([line]) == []
