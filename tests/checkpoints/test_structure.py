"""The folder as its map describes it: every file, each importing only those above it, and nothing beyond the wall."""

import ast
import pathlib
import re

import pytest

from switch_zoo import checkpoints

FOLDER = pathlib.Path(checkpoints.__file__).parent
MAP = re.findall(r'^  (\w+)  ', checkpoints.__doc__ or '', re.MULTILINE)
# What a checkpoint must be readable without, and the folders of switch_zoo that need it or use this one.
FORBIDDEN = ('tensorflow', 'mesh_tensorflow', 't5', 'seqio', 'torch', 'keras')
ALLOWED_OF_SWITCH_ZOO = ('checkpoints', 'spec', 'errors', 'interrupts', 'lfs_pointer')


def imports(name):
  """Dotted names a file imports, at its top or in a function."""
  for node in ast.walk(ast.parse((FOLDER / f'{name}.py').read_text())):
    if isinstance(node, ast.Import):
      yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
      yield from (f'{node.module}.{alias.name}' for alias in node.names)


def test_the_map_has_every_file():
  assert sorted(MAP) == sorted(path.stem for path in FOLDER.glob('*.py') if path.stem != '__init__')


@pytest.mark.parametrize('name', MAP)
def test_files_import_only_files_above_them(name):
  found = {module.split('.')[2] for module in imports(name) if module.startswith('switch_zoo.checkpoints.')}
  assert found <= set(MAP[: MAP.index(name)])


@pytest.mark.parametrize('name', MAP)
def test_nothing_beyond_the_wall_is_imported(name):
  for module in imports(name):
    package, _, rest = module.partition('.')
    assert package not in FORBIDDEN, module
    assert package != 'switch_zoo' or rest.split('.')[0] in ALLOWED_OF_SWITCH_ZOO, module
