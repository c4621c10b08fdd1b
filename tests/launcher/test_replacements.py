"""The table of what is replaced in released code: complete, explained, and made once."""

import ast
import functools
import inspect
import pathlib
import sys
import types

import pytest

from switch_zoo.launcher import replacements

PACKAGE = pathlib.Path(inspect.getfile(replacements)).parent.parent
# Repairs that have to be made before released code can be imported.
REPAIRS = PACKAGE / 'tf_compat.py'


@pytest.fixture
def module():
  """A module with one function, in place of a released one."""
  made = types.ModuleType('made_up')
  made.greet = lambda: 'released'
  return made


def louder(released):
  @functools.wraps(released)
  def greet():
    return released().upper()

  return greet


def test_a_function_is_replaced_once(module):
  replacements.replace(module, 'greet', louder)
  ours = module.greet
  replacements.replace(module, 'greet', louder)
  assert module.greet is ours and module.greet() == 'RELEASED'


def test_inside_the_wrapper_of_another_it_stays(module):
  replacements.replace(module, 'greet', louder)
  inner = module.greet
  module.greet = functools.wraps(inner)(lambda: inner() + '!')
  outer = module.greet
  replacements.replace(module, 'greet', louder)
  assert module.greet is outer and module.greet() == 'RELEASED!'


def test_a_function_that_was_put_back_is_replaced_again(module):
  released = module.greet
  replacements.replace(module, 'greet', louder)
  module.greet = released
  replacements.replace(module, 'greet', louder)
  assert module.greet() == 'RELEASED'


def test_a_name_that_the_module_lacks_is_given_to_it(module):
  replacements.replace(module, 'hash', lambda released: lambda text: 7)
  assert module.hash('x') == 7


def test_installing_twice_changes_nothing():
  replacements.install()
  before = [getattr(entry.module, entry.name) for entry in replacements.TABLE]
  replacements.install()
  assert [getattr(entry.module, entry.name) for entry in replacements.TABLE] == before


def test_every_entry_says_why_and_until_when():
  names = [(entry.module.__name__, entry.name) for entry in replacements.TABLE]
  assert len(set(names)) == len(names)
  assert all(len(entry.why.split()) > 3 and len(entry.until.split()) > 3 for entry in replacements.TABLE)


def files():
  """Every Python file of the package, the tasks behind their link included."""
  return sorted({path.resolve() for folder in (PACKAGE, PACKAGE / 'tasks') for path in folder.rglob('*.py')})


def module_assignments(tree):
  """Lines on which an attribute of an imported module or class is assigned; those of Python itself are not released."""
  names = set()
  for node in ast.walk(tree):
    if isinstance(node, (ast.Import, ast.ImportFrom)):
      sources = (
        [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module] * len(node.names)
      )
      for source, alias in zip(sources, node.names, strict=True):
        if source.split('.')[0] not in sys.stdlib_module_names:
          names.add(alias.asname or alias.name.split('.')[0])
  for node in ast.walk(tree):
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, 'target', None)]
    for target in targets:
      if isinstance(target, ast.Attribute) and isinstance(target.value, ast.Name) and target.value.id in names:
        yield node.lineno


def test_nothing_is_replaced_outside_the_table():
  places = {
    f'{path.name}:{line}'
    for path in files()
    if path != REPAIRS
    for line in module_assignments(ast.parse(path.read_text(encoding='utf-8')))
  }
  assert places == set()


def test_an_assignment_to_a_module_would_be_found():
  assert list(module_assignments(ast.parse('import a.b as m\nm.x = 3\ny = 4\nself.z = 5'))) == [2]
