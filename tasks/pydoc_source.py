"""English prose that comes with every CPython: the topics of `help()` and the docstrings of its standard library.

Nothing is downloaded, and no module of the standard library is imported for its docstrings: importing some has
effects (`antigravity` opens a browser, `this` prints), so their source is parsed instead. The result depends only on
the interpreter's version.
"""

import ast
import functools
import os
import pathlib
import re
import sys
import sysconfig
import warnings
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from switch_zoo.errors import UserError

# Not documentation of a library: test suites, applications, grammars and copies of other packages.
_LEFT_OUT = frozenset(('test', 'tests', 'idlelib', 'lib2to3', 'turtledemo', 'ensurepip', 'pydoc_data', '__pycache__'))


class ModuleText(NamedTuple):
  """The docstrings of one module of the standard library.

  module: its dotted name, such as 'email.message'
  text: docstrings in the order of the source, separated by a blank line
  """

  module: str
  text: str


def topics() -> Mapping[str, str]:
  """Topic -> text of the language reference, as `help('TOPIC')` shows it; 79 topics, 465 kB on CPython 3.11."""
  try:
    from pydoc_data import topics as pydoc_topics
  except ImportError as error:
    raise UserError(
      f'{sys.executable} has no module pydoc_data, which contains the text of the demo. It is part of CPython; some '
      'Linux distributions package it separately. Use an interpreter that has it.'
    ) from error
  return dict(sorted(pydoc_topics.topics.items()))


@functools.lru_cache(maxsize=1)
def standard_library() -> tuple[ModuleText, ...]:
  """The docstrings of every module of the running interpreter's standard library, ordered by file name."""
  return tuple(module_texts(pathlib.Path(sysconfig.get_path('stdlib')), sys.stdlib_module_names))


def module_texts(folder: pathlib.Path, names: frozenset[str]) -> Iterator[ModuleText]:
  """Yields the docstrings of the modules and packages `names` below a folder, without those that have none."""
  for path in _source_files(folder):
    module = '.'.join(path.relative_to(folder).with_suffix('').parts).removesuffix('.__init__')
    if module.split('.')[0] not in names:
      continue
    text = '\n\n'.join(docstrings(path.read_bytes()))
    if text:
      yield ModuleText(module, text)


def docstrings(source: bytes) -> list[str]:
  """The docstrings of a module, its classes and functions, in the order of its source, with indentation removed.

  >>> docstrings(b'"Adds." ')
  ['Adds.']
  """
  with warnings.catch_warnings():
    # Old modules hold escapes that newer compilers warn about; the warning is for their authors.
    warnings.simplefilter('ignore')
    tree = ast.parse(source)
  kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
  nodes = [node for node in ast.walk(tree) if isinstance(node, kinds)]
  nodes.sort(key=lambda node: getattr(node, 'lineno', 0))
  return [text for text in map(ast.get_docstring, nodes) if text]


def paragraphs(text: str) -> list[str]:
  """The paragraphs of a text, each on one line with single spaces.

  >>> paragraphs('A short\\n   paragraph.\\n\\n\\nAnother.\\n')
  ['A short paragraph.', 'Another.']
  """
  lines = (' '.join(block.split()) for block in re.split(r'\n\s*\n', text))
  return [line for line in lines if line]


def _source_files(folder: pathlib.Path) -> Iterator[pathlib.Path]:
  for parent, children, files in os.walk(folder):
    children[:] = sorted(name for name in children if name.isidentifier() and name not in _LEFT_OUT)
    for name in sorted(files):
      if name.endswith('.py'):
        yield pathlib.Path(parent, name)
