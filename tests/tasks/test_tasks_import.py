"""Importing the tasks is light, and works from a checkout and from a wheel; each in a fresh process."""
import subprocess
import sys


def run(program):
  return subprocess.run([sys.executable, '-c', program], capture_output=True, text=True, check=True).stdout.split()


def test_nothing_is_read_at_import():
  program = (
      'import sys, switch_zoo.tasks\n'
      'from switch_zoo.tasks import demo, pydoc_source, pydoc_topics\n'
      'assert "pydoc_data.topics" not in sys.modules\n'
      'assert demo._VOCABULARY._model is None\n'
      'print(pydoc_source.standard_library.cache_info().currsize, pydoc_topics._all_rows.cache_info().currsize)'
  )
  assert run(program) == ['0', '0']


def test_import_registers_the_tasks():
  program = 'import seqio, switch_zoo.tasks\nprint(*sorted(n for n in seqio.TaskRegistry.names() if "zoo_demo" in n))'
  assert run(program) == ['zoo_demo_span', 'zoo_demo_topics']


def test_the_package_itself_stays_light():
  heavy = ('tensorflow', 'seqio', 'switch_zoo.tasks')
  program = f'import sys, switch_zoo\nprint(*[name for name in {heavy} if name in sys.modules])'
  assert run(program) == []


def test_one_identity():
  program = (
      'import sys, switch_zoo.tasks.demo\n'
      'names = [name for name in sys.modules if name.split(".")[-2:] == ["tasks", "demo"]]\n'
      'print(*names, switch_zoo.tasks is sys.modules["switch_zoo.tasks"])'
  )
  assert run(program) == ['switch_zoo.tasks.demo', 'True']


def test_installed_place_wins(tmp_path):
  package = tmp_path / 'switch_zoo'
  (package / 'tasks').mkdir(parents=True)
  (package / 'tasks' / '__init__.py').write_text('PLACE = "installed"')
  insert = f'switch_zoo.__path__.insert(0, {str(package)!r})'
  program = f'import switch_zoo\n{insert}\nimport switch_zoo.tasks\nprint(switch_zoo.tasks.PLACE)'
  assert run(program) == ['installed']
