"""The walls between the folders of switch_zoo, read from every import statement: no circles, no climbs, no leaks.

docs/architecture.md draws them. Imports inside functions and under TYPE_CHECKING count like all others.
"""

import ast
import collections
import os
import pathlib
import re
import subprocess
import sys

import pytest

PACKAGE = pathlib.Path(__file__).resolve().parent.parent / 'switch_zoo'
# From the lowest floor to the highest. A folder imports itself and lower floors; those on one floor do not know each
# other. `switch_zoo` is what the package itself offers its users: nothing inside imports it.
FLOORS = (
  ('errors', 'garbage', 'interrupts', 'number_format', 'work_progress'),
  ('tf_compat', 'machine', 'whole_package', 'lfs_pointer'),
  ('spec',),
  ('checkpoints', 'planner', 'vocabulary'),
  ('onnx_runner',),
  ('keras', 'mesh', 'serving', 'tasks', 'tpu'),
  ('launcher', 'onnx_export'),
  ('demo', 'pjrt'),
  ('report',),
  ('commands',),
  ('cli', 'switch_zoo', 't5_mesh_transformer'),
)
TRAINING = {'mesh_tensorflow', 't5', 'seqio', 'switch_zoo.mesh'}
# Folder -> what it must not import, directly or through anything it imports.
WALLS = {
  'spec': TRAINING | {'tensorflow', 'tensorflow_text', 'numpy', 'jax', 'torch'},
  'planner': TRAINING | {'tensorflow', 'tensorflow_text', 'numpy', 'jax', 'torch'},
  'checkpoints': TRAINING | {'switch_zoo.serving', 'switch_zoo.keras', 'torch', 'transformers'},
  'vocabulary': TRAINING | {'switch_zoo.serving', 'switch_zoo.keras', 'jax', 'torch', 'transformers', 'tokenizers'},
  'keras': TRAINING | {'jax', 'torch'},
  'serving': TRAINING | {'switch_zoo.keras', 'jax', 'torch'},
  'mesh': {'switch_zoo.keras'},
  'tpu': TRAINING | {'switch_zoo.keras', 'tensorflow', 'numpy', 'jax', 'torch'},
  'onnx_export': TRAINING | {'jax', 'torch'},
  'onnx_runner': TRAINING | {'tensorflow', 'tensorflow_text', 'onnx', 'jax', 'torch'},
}


def modules_below(package):
  """Module -> its file; switch_zoo/tasks is a link, and so found once."""
  paths = [pathlib.Path(folder, file) for folder, _, files in os.walk(package, followlinks=True) for file in files]
  modules = {}
  for path in paths:
    if path.suffix == '.py':
      parts = path.relative_to(package.parent).with_suffix('').parts
      modules['.'.join(parts[:-1] if parts[-1] == '__init__' else parts)] = path
  return modules


def imports_of(name, path, modules):
  """Full names of what a module imports, anywhere in it: a module where there is one of that name."""
  package = name if path.name == '__init__.py' else name.rpartition('.')[0]
  for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
    if isinstance(node, ast.Import):
      yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
      above = package.rsplit('.', node.level - 1)[0] if node.level > 1 else package
      start = '.'.join(filter(None, (above if node.level else '', node.module)))
      yield from (f'{start}.{a.name}' if f'{start}.{a.name}' in modules else start for a in node.names)
    elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(('import_module', '__import__')):
      yield from (argument.value for argument in node.args[:1] if isinstance(argument, ast.Constant))


def graph_of(package):
  """Module -> sorted names of what it imports."""
  modules = modules_below(package)
  return {name: sorted(set(imports_of(name, path, modules)) - {name}) for name, path in modules.items()}


def shortest_chain(graph, start, is_end):
  """The modules from `start` to the first import that `is_end`, or None."""
  chains = collections.deque([[start]])
  seen = {start}
  while chains:
    chain = chains.popleft()
    for imported in graph.get(chain[-1], ()):
      if is_end(imported):
        return [*chain, imported]
      if imported not in seen:
        seen.add(imported)
        chains.append([*chain, imported])
  return None


def circles_in(graph):
  """A shortest circle through each module that is in one, every circle once, from its first module."""
  chains = [shortest_chain(graph, name, lambda imported, name=name: imported == name) for name in sorted(graph)]
  circles = {}
  for chain in filter(None, chains):
    circles.setdefault(frozenset(chain), ' -> '.join(chain))
  return list(circles.values())


def folder_of(module):
  """switch_zoo.mesh.routing.gates -> mesh; '' for what is not ours."""
  parts = module.split('.')
  return '' if parts[0] != 'switch_zoo' else parts[1] if len(parts) > 1 else parts[0]


def climbs_in(graph):
  """Imports from a folder to one that is not below it."""
  floor = {folder: number for number, folders in enumerate(FLOORS) for folder in folders}
  edges = [(name, imported) for name in sorted(graph) for imported in graph[name] if folder_of(imported)]
  outside = [(a, b) for a, b in edges if folder_of(a) != folder_of(b)]
  return [f'{a} -> {b}' for a, b in outside if floor[folder_of(a)] <= floor[folder_of(b)]]


def leaks_in(graph, folder, forbidden):
  """The shortest chain from each module of a folder to something forbidden."""
  is_forbidden = lambda name: any(name == module or name.startswith(f'{module}.') for module in forbidden)
  chains = (shortest_chain(graph, name, is_forbidden) for name in sorted(graph) if folder_of(name) == folder)
  return [' -> '.join(chain) for chain in chains if chain]


@pytest.fixture(scope='module')
def graph():
  return graph_of(PACKAGE)


def test_every_folder_has_a_floor(graph):
  assert {folder_of(name) for name in graph} == {folder for folders in FLOORS for folder in folders}


def test_no_module_imports_itself_through_others(graph):
  assert circles_in(graph) == []


def test_nothing_imports_what_is_above_it(graph):
  assert climbs_in(graph) == []


@pytest.mark.parametrize('folder', WALLS)
def test_nothing_comes_through_a_wall(graph, folder):
  assert leaks_in(graph, folder, WALLS[folder]) == []


@pytest.mark.parametrize(
  'folder',
  ['spec', 'planner', 'vocabulary', 'serving', 'commands', 'demo', 'pjrt', 'report', 'onnx_runner', 'onnx_export'],
)
def test_a_map_lists_every_file_in_the_order_of_imports(graph, folder):
  document = ast.get_docstring(ast.parse((PACKAGE / folder / '__init__.py').read_text(encoding='utf-8')))
  assert 'Each file imports only files above it.' in document
  names = [f'switch_zoo.{folder}.{name}' for name in re.findall(r'^  (\w+) {2,}\S', document, re.MULTILINE)]
  assert sorted(names) == sorted(name for name in graph if name.startswith(f'switch_zoo.{folder}.'))
  place = {name: number for number, name in enumerate(names)}
  below = [(a, b) for a in names for b in graph[a] if b in place and place[b] > place[a]]
  assert below == []


def test_the_reader_of_imports_sees_every_kind_and_names_the_chain(tmp_path):
  """Circles, climbs and leaks in a package made up for it: each hidden in another way."""
  package = tmp_path / 'switch_zoo'
  for name, text in {
    'spec/__init__': 'from .. import errors',
    'spec/a': 'def late():\n  from . import b',
    'spec/b': 'from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n  from switch_zoo.spec.a import A',
    'errors': 'import importlib\nimportlib.import_module("switch_zoo.launcher.run")',
    'launcher/run': 'import tensorflow.compat.v1 as tf',
  }.items():
    (package / name).parent.mkdir(parents=True, exist_ok=True)
    (package / f'{name}.py').write_text(text)
  (tmp_path / 'tasks').mkdir()
  (tmp_path / 'tasks' / 'one.py').write_text('from switch_zoo.spec import a')
  (package / 'tasks').symlink_to('../tasks')
  graph = graph_of(package)
  assert graph['switch_zoo.tasks.one'] == ['switch_zoo.spec.a'] and len(graph) == 6
  assert circles_in(graph) == ['switch_zoo.spec.a -> switch_zoo.spec.b -> switch_zoo.spec.a']
  assert climbs_in(graph) == ['switch_zoo.errors -> switch_zoo.launcher.run']
  assert leaks_in(graph, 'spec', {'tensorflow'}) == [
    'switch_zoo.spec -> switch_zoo.errors -> switch_zoo.launcher.run -> tensorflow.compat.v1'
  ]


# Imports with something missing, as it would be with another installation. Finding a package is allowed, because gin
# files are looked for in the folders of t5 and mesh_tensorflow: it is its code that must not run.
BLOCK = """
import importlib.machinery, sys

class Blocker:
  def find_spec(self, name, path=None, target=None):
    if name.partition('.')[0] not in {blocked!r}:
      return None
    spec = importlib.machinery.PathFinder.find_spec(name, path)
    if spec:
      spec.loader = self
    return spec

  def create_module(self, spec):
    raise ImportError(f'{{spec.name}} is blocked')

  def exec_module(self, module):
    raise AssertionError

sys.meta_path.insert(0, Blocker())
"""
WITHOUT_TENSORFLOW = """
import importlib, pkgutil
import switch_zoo.spec
for module in pkgutil.iter_modules(switch_zoo.spec.__path__, 'switch_zoo.spec.'):
  importlib.import_module(module.name)
from switch_zoo.spec import layouts
config = switch_zoo.load_config('switch_base_8')
layouts.check(layouts.load_layout('v3-8/switch_base_8'), config)
print(config.num_parameters)
"""
WITHOUT_TRAINING = """
import importlib, pkgutil
from switch_zoo import tf_compat
tf_compat.quiet()
import switch_zoo.checkpoints, switch_zoo.keras, switch_zoo.serving, switch_zoo.vocabulary
for package in (switch_zoo.checkpoints, switch_zoo.keras, switch_zoo.serving, switch_zoo.vocabulary):
  for module in pkgutil.iter_modules(package.__path__, package.__name__ + '.'):
    importlib.import_module(module.name)
print(switch_zoo.load('tiny_switch_8').generate([[5, 1]], max_new_tokens=1).ids.shape)
"""


@pytest.mark.parametrize(
  ('blocked', 'program', 'printed'),
  [
    ({'tensorflow', 'numpy', 'mesh_tensorflow', 't5', 'seqio', 'jax'}, WITHOUT_TENSORFLOW, '619339008\n'),
    ({'mesh_tensorflow', 't5', 'seqio', 'jax'}, WITHOUT_TRAINING, '(1, 1)\n'),
  ],
  ids=['spec without TensorFlow', 'checkpoints, keras and serving without the packages that train'],
)
def test_it_works_where_the_other_side_is_missing(blocked, program, printed):
  code = BLOCK.format(blocked=blocked) + program
  done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
  assert (done.returncode, done.stdout) == (0, printed), done.stderr
