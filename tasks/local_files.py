"""The files of this machine that contain text, always in the same order: Python, documentation, catalogues, manuals."""

import os
import re
import sysconfig
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from switch_zoo.tasks import local_texts

SHARE = '/usr/share'
PYTHON, DOCS, CATALOGUE, MAN, OWN = 'python', 'docs', 'catalogue', 'man', 'own'
# What the text of a file is in, where it is in no language of people or nobody says in which.
_CODE, _UNKNOWN = 'python', 'unknown'
_DOCUMENTS = ('.md', '.rst', '.txt')
_MESSAGES = 'LC_MESSAGES'
_MANUALS = re.compile(r'man\d\w*$')


class LocalFile(NamedTuple):
  """A file with text.

  path: of the file
  domain: 'python', 'docs', 'catalogue', 'man' or 'own'
  language: of its text: a code such as 'pt_BR', 'python' or 'unknown'
  read: from its bytes to its text, or None
  """

  path: str
  domain: str
  language: str
  read: Callable[[bytes], str | None]


def of_machine(share: str = SHARE, python: Mapping[str, str] | None = None) -> Iterator[LocalFile]:
  """The text that the running interpreter and the system come with.

  Args:
    share: the folder of documentation, catalogues and manual pages
    python: folders of the interpreter, as `sysconfig.get_paths` gives them
  """
  outer = _outermost(python or sysconfig.get_paths())
  for folder in outer:
    yield from _python(folder)
  yield from _documentation(os.path.join(share, 'doc'))
  for folder in (os.path.join(share, 'locale'), *outer):
    yield from catalogues(folder)
  yield from _manuals(os.path.join(share, 'man'))


def catalogues_of_machine(share: str = SHARE, python: Mapping[str, str] | None = None) -> Iterator[LocalFile]:
  """The gettext catalogues among `of_machine`; arguments as there."""
  for folder in (os.path.join(share, 'locale'), *_outermost(python or sysconfig.get_paths())):
    yield from catalogues(folder)


def of_folder(folder: str) -> Iterator[LocalFile]:
  """Every file of a folder of the user's; those that are no text are found out when they are read."""
  for path in _files(folder):
    yield LocalFile(path, OWN, _UNKNOWN, local_texts.plain)


def language(code: str) -> str:
  """A locale as a language: 'pt_BR.UTF-8' -> 'pt_BR'; 'sr@latin' stays what it is."""
  return re.sub(r'\.[\w-]+', '', code)


def _outermost(python: Mapping[str, str]) -> list[str]:
  """The folders of an interpreter; one inside another is reached from there."""
  places = {os.path.realpath(python[name]) for name in ('stdlib', 'platstdlib', 'purelib', 'platlib')}
  return [place for place in sorted(places) if not any(place.startswith(f'{other}{os.sep}') for other in places)]


def _python(folder: str) -> Iterator[LocalFile]:
  for path in _files(folder):
    if path.endswith(('.py', '.pyi')):
      yield LocalFile(path, PYTHON, _CODE, local_texts.plain)
    elif path.endswith(_DOCUMENTS):
      yield LocalFile(path, DOCS, 'en', local_texts.plain)


def _documentation(folder: str) -> Iterator[LocalFile]:
  for path in _files(folder):
    name = os.path.basename(path).removesuffix('.gz')
    if name.endswith(_DOCUMENTS) or '.' not in name:
      yield LocalFile(path, DOCS, 'en', local_texts.plain)


def catalogues(folder: str) -> Iterator[LocalFile]:
  """The gettext catalogues below a folder: LANGUAGE/LC_MESSAGES/*.mo."""
  for path in _files(folder):
    above, parent = os.path.split(os.path.dirname(path))
    if path.endswith('.mo') and parent == _MESSAGES:
      yield LocalFile(path, CATALOGUE, language(os.path.basename(above)), local_texts.catalogue)


def _manuals(folder: str) -> Iterator[LocalFile]:
  for path in _files(folder):
    above, section = os.path.split(os.path.dirname(path))
    if _MANUALS.match(section):
      code = 'en' if os.path.samefile(above, folder) else language(os.path.basename(above))
      yield LocalFile(path, MAN, code, local_texts.manual_page)


def _files(folder: str) -> Iterator[str]:
  """All files below a folder, by name; links are not followed."""
  for parent, children, names in os.walk(folder):
    children.sort()
    for name in sorted(names):
      path = os.path.join(parent, name)
      if not os.path.islink(path):
        yield path
