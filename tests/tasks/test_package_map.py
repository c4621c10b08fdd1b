"""The map in the docstring of switch_zoo.tasks: it lists every file, and each imports only files above it."""

import ast
import pathlib
import re

import switch_zoo.tasks

PACKAGE = 'switch_zoo.tasks'
FILES = {path.stem: path for path in pathlib.Path(switch_zoo.tasks.__file__).parent.glob('*.py')}
ALLOWED = ('switch_zoo.errors', 'switch_zoo.lfs_pointer', 'switch_zoo.spec', 'switch_zoo.vocabulary')


def listed():
  """The names of files in the order of the map."""
  entries = re.findall(r'^  ([a-z_, ]+?)  ', switch_zoo.tasks.__doc__, re.MULTILINE)
  return [name for entry in entries for name in entry.split(', ')]


def imported(path):
  """Modules of switch_zoo that a file imports, at any depth."""
  for node in ast.walk(ast.parse(path.read_text())):
    if isinstance(node, ast.ImportFrom):
      assert not node.level
      from_package = node.module == PACKAGE
      yield from (f'{PACKAGE}.{alias.name}' for alias in node.names) if from_package else [node.module]
    elif isinstance(node, ast.Import):
      yield from (alias.name for alias in node.names)


def test_every_file_is_listed():
  assert sorted(listed()) == sorted(FILES.keys() - {'__init__'})


def test_files_import_only_those_above():
  above = set()
  for name in listed():
    modules = [module for module in imported(FILES[name]) if module.split('.')[0] == 'switch_zoo']
    for module in modules:
      assert module.startswith(ALLOWED) or module.removeprefix(f'{PACKAGE}.') in above, f'{name} imports {module}'
    above.add(name)
