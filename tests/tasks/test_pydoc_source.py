"""The text that comes with every CPython."""

import sys

import pytest

from switch_zoo.errors import UserError
from switch_zoo.tasks import pydoc_source

MODULE = b'''"""Cars.

Not trains."""
import nowhere_to_be_found
raise SystemExit('a docstring was imported')

class Car:
  """Has wheels."""
  def drive(self):
    """Moves
    forward.
    """
  async def stop(self):
    "Stops."

def no_docstring(): pass
'''


def test_docstrings_in_the_order_of_the_source():
  assert pydoc_source.docstrings(MODULE) == ['Cars.\n\nNot trains.', 'Has wheels.', 'Moves\nforward.', 'Stops.']


def test_module_texts_leave_out_tests_and_what_is_not_named(tmp_path):
  for name in ('b.py', 'a/__init__.py', 'a/y.py', 'a/tests/z.py', 'test/q.py', 'stranger.py', 'a/not-a-module/x.py'):
    file = tmp_path / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f'"Text of {name}."')
  (tmp_path / 'a' / 'silent.py').write_text('x = 1')
  texts = list(pydoc_source.module_texts(tmp_path, frozenset({'a', 'b', 'test'})))
  assert texts == [
    ('b', 'Text of b.py.'),
    ('a', 'Text of a/__init__.py.'),
    ('a.y', 'Text of a/y.py.'),
  ]


def test_standard_library_is_read_without_being_imported():
  before = set(sys.modules)
  modules = {text.module: text.text for text in pydoc_source.standard_library()}
  assert 'antigravity' not in sys.modules and 'this' not in sys.modules
  assert not {name for name in set(sys.modules) - before if name.split('.')[0] in modules}
  assert modules['textwrap'].startswith('Text wrapping and filling.')
  assert not [name for name in modules if {'test', 'tests', 'idlelib'} & set(name.split('.'))]
  assert sum(map(len, modules.values())) > 1_000_000


def test_same_text_again():
  first = pydoc_source.standard_library()
  pydoc_source.standard_library.cache_clear()
  assert pydoc_source.standard_library() == first


def test_topics_are_those_of_help():
  topics = pydoc_source.topics()
  assert list(topics) == sorted(topics)
  assert pydoc_source.paragraphs(topics['pass'])[2] == (
    '"pass" is a null operation — when it is executed, nothing happens. It is useful as a placeholder when a '
    'statement is required syntactically, but no code needs to be executed, for example:'
  )


def test_an_interpreter_without_topics(monkeypatch):
  monkeypatch.setitem(sys.modules, 'pydoc_data', None)
  with pytest.raises(UserError, match='has no module pydoc_data.*Use an interpreter that has it'):
    pydoc_source.topics()
