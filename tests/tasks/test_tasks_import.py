"""Importing the tasks is light, and works from a checkout and from a wheel; each in a new process."""

import subprocess
import sys


def run(program):
  return subprocess.run([sys.executable, '-c', program], capture_output=True, text=True, check=True).stdout.split()


def test_import_registers_the_tasks_once_and_reads_nothing():
  program = (
    'import sys, seqio, switch_zoo.tasks\n'
    'from switch_zoo.tasks import demo, pydoc_source, pydoc_topics, vocabularies\n'
    'print(*sorted(name for name in seqio.TaskRegistry.names() if "zoo_demo" in name))\n'
    'print(*[name for name in sys.modules if name.split(".")[-2:] == ["tasks", "demo"]])\n'
    'print(switch_zoo.tasks is sys.modules["switch_zoo.tasks"])\n'
    'print("pydoc_data.topics" in sys.modules, demo._VOCABULARY._model)\n'
    'print(vocabularies.DEFAULT._pieces._model, vocabularies.MT5._pieces._model)\n'
    'print(pydoc_source.standard_library.cache_info().currsize, pydoc_topics._all_rows.cache_info().currsize)'
  )
  assert run(program) == [
    *('zoo_demo_span', 'zoo_demo_topics'),
    'switch_zoo.tasks.demo',
    'True',
    *('False', 'None'),
    *('None', 'None'),
    *('0', '0'),
  ]


def test_the_package_itself_stays_light():
  heavy = ('tensorflow', 'seqio', 'switch_zoo.tasks')
  program = f'import sys, switch_zoo\nprint(*[name for name in {heavy} if name in sys.modules])'
  assert run(program) == []


def test_installed_place_wins(tmp_path):
  package = tmp_path / 'switch_zoo'
  (package / 'tasks').mkdir(parents=True)
  (package / 'tasks' / '__init__.py').write_text('PLACE = "installed"')
  insert = f'switch_zoo.__path__.insert(0, {str(package)!r})'
  program = f'import switch_zoo\n{insert}\nimport switch_zoo.tasks\nprint(switch_zoo.tasks.PLACE)'
  assert run(program) == ['installed']
