"""Reads gin files without importing what they configure: in milliseconds, and without TensorFlow.

gin's own parser does the reading, and what the files contain is kept as data: bindings, macros and references. A run
reads its files here once and hands the result on: to the launcher's checks, to `ModelConfig`, to the planner, and to
`mesh.gin_setup`, which lets gin itself configure the run.
"""

import dataclasses
import importlib.util
import itertools
import os
import pathlib
import tokenize
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from gin import config_parser

from switch_zoo.errors import UserError, did_you_mean, shortened

REQUIRED = 'gin.REQUIRED'
MESH_DEFAULTS = 'defaults.gin'
PARAMETER = '--gin_param'
MAX_ENTRIES = 100_000
MAX_CHAIN = 50  # macros that take their value from each other; gin itself fails at about 150

_MAX_REASON = 300  # characters: some of gin's messages repeat the line
# What gin's parser raises; values are read with Python's own parser, which refuses some with errors of its own.
_NOT_GIN = (SyntaxError, tokenize.TokenError, ValueError, TypeError, RecursionError, MemoryError)


@dataclasses.dataclass(frozen=True)
class Macro:
  """%name in a gin file."""

  name: str


@dataclasses.dataclass(frozen=True)
class Reference:
  """@name or @name() in a gin file; the name may carry scopes."""

  name: str
  called: bool


@dataclasses.dataclass(frozen=True)
class Binding:
  """The last value bound to a key, and the place that binds it: 'file, line 3' or '--gin_param'."""

  value: Any
  place: str


class _AsData(config_parser.ParserDelegate):
  """Keeps references and macros as data."""

  def configurable_reference(self, scoped_configurable_name: str, evaluate: bool) -> Reference:
    return Reference(scoped_configurable_name, evaluate)

  def macro(self, macro_name: str) -> Macro:
    return Macro(macro_name)


def configs_folder() -> pathlib.Path:
  """The folder of our gin files: `switch_zoo/configs`, which is a link to `gin/` in a checkout."""
  return pathlib.Path(__file__).resolve().parent.parent / 'configs'


def search_path(prefixes: Iterable[str] = ()) -> list[str]:
  """Folders in which gin files are searched for: the user's prefixes, ours, T5's, Mesh-TensorFlow's."""
  folders = [*prefixes, str(configs_folder())]
  for package, parts in (('t5', ('models', 'gin')), ('mesh_tensorflow', ('transformer', 'gin'))):
    spec = importlib.util.find_spec(package)
    if spec and spec.submodule_search_locations:
      folders.append(os.path.join(spec.submodule_search_locations[0], *parts))
  return folders


class GinFiles:
  """What a list of gin files and parameters binds, later ones over earlier ones.

  folders: where files are searched for
  bindings: key -> Binding, in the order of their binding; a key is a macro's name, or 'scope/configurable.parameter'
  files: paths given to `read_file`, in order
  parameters: texts given to `read_parameter`, in order
  includes: paths of all files read, in order; a file that is included twice is listed twice
  texts: path -> text of each file read; each is opened once
  imports: module -> the place that imports it
  """

  def __init__(self, folders: Sequence[str] | None = None) -> None:
    self.folders = search_path() if folders is None else list(folders)
    self.bindings: dict[str, Binding] = {}
    self.files: list[str] = []
    self.parameters: list[str] = []
    self.includes: list[str] = []
    self.texts: dict[str, str] = {}
    self.imports: dict[str, str] = {}
    self._from_files: set[str] = set()
    self._open: list[str] = []

  def read_file(self, name: str) -> None:
    """Reads a file (a path, or a name below one of the folders) and everything it includes.

    Raises:
      UserError: a file does not exist, or a line is not gin
    """
    self.files.append(self._find(name))
    self._include(self.files[-1])

  def read_defaults(self) -> None:
    """Reads Mesh-TensorFlow's defaults, on which every run builds, if that package is installed."""
    if any(os.path.isfile(os.path.join(folder, MESH_DEFAULTS)) for folder in self.folders):
      self._include(self._find(MESH_DEFAULTS))

  def read_parameter(self, text: str) -> None:
    """Reads one binding as --gin_param takes it: `name = value`.

    Raises:
      UserError: the text is not gin
    """
    self.parameters.append(text)
    self._read(text, '')

  def value(self, key: str, default: Any = None) -> Any:
    """The value of a key with macros replaced by their values, or `default` if nothing binds the key."""
    if key not in self.bindings:
      return default
    binding = self.bindings[key]
    entries = itertools.count(1)
    return self._resolve(binding.value, lambda: self._check_entries(key, binding.place, next(entries)))

  def missing(self, key: str) -> str | None:
    """What to tell the user of a key that a file leaves without a value; None for any other."""
    binding = self.bindings.get(key)
    if binding is None or all(macro.name != REQUIRED for macro in _macros(binding.value)):
      return None
    remedy = f'--gin_param="{key} = ..."'
    return f'{key} has no value: {binding.place} leaves it REQUIRED. Give it one with {remedy} or in a gin file.'

  def check(self) -> None:
    """Checks that every macro is defined, that macros of the command line are used, and that no value is REQUIRED.

    Raises:
      UserError: the first mistake
    """
    self.check_chains()
    used = {macro.name for binding in self.bindings.values() for macro in _macros(binding.value)}
    for key, binding in self.bindings.items():
      if binding.place == PARAMETER and '.' not in key and key not in used | self._from_files:
        raise UserError(f'--gin_param="{key} = ..." sets a macro that no gin file uses.{did_you_mean(key, used)}')
      if missing := self.missing(key):
        raise UserError(missing)
      for macro in _macros(binding.value):
        if '.' not in macro.name and macro.name not in self.bindings:
          known = [k for k in self.bindings if '.' not in k]
          raise UserError(
            f'{binding.place}: {key} uses %{macro.name}, which no gin file or --gin_param defines.'
            f'{did_you_mean(macro.name, known)}'
          )

  def check_chains(self) -> None:
    """Refuses macros that are defined by each other, which have no value, and chains that gin cannot follow.

    Raises:
      UserError: with the place of one of the macros
    """
    lengths: dict[str, int] = {}
    for name in self.bindings:
      self._follow(name, (), lengths)

  def _follow(self, name: str, path: tuple[str, ...], lengths: dict[str, int]) -> int:
    """The length of the longest chain of macros that a key begins; lengths: those that are known."""
    if name in lengths or name not in self.bindings:
      return lengths.get(name, 0)
    if name in path:
      circle = ' = '.join([name, *(f'%{macro}' for macro in (*path[path.index(name) + 1 :], name))])
      raise UserError(f'{self.bindings[name].place}: {circle} is a circle. Give one of these macros a value.')
    self._check_length(name, len(path))
    macros = _macros(self.bindings[name].value)
    lengths[name] = 1 + max((self._follow(macro.name, (*path, name), lengths) for macro in macros), default=0)
    self._check_length(name, lengths[name] - 1)
    return lengths[name]

  def _check_length(self, name: str, macros: int) -> None:
    """Refuses a key at the beginning or the end of a chain of too many macros."""
    if macros > MAX_CHAIN:
      raise UserError(
        f'{self.bindings[name].place}: {shortened(name)} belongs to a chain of more than {MAX_CHAIN} macros, each of '
        'which takes its value from the next. Give one of them its value directly.'
      )

  def _include(self, path: str, place: str = '') -> None:
    real = os.path.realpath(path)
    if real in self._open:
      circle = ' includes '.join([*self._open[self._open.index(real) :], real])
      raise UserError(f'{place}: {circle}: a circle. Remove one of these includes.')
    self.includes.append(path)
    if path not in self.texts:
      self.texts[path] = _text(path)
    self._open.append(real)
    self._read(self.texts[path], path)
    self._open.pop()

  def _find(self, name: str, included_from: str = '') -> str:
    for folder in ['', *self.folders]:
      path = os.path.join(folder, name)
      if os.path.isfile(path):
        return path
    raise UserError(
      f'There is no gin file "{shortened(name)}"{included_from}. It was searched for in the current folder and below '
      f'{", ".join(self.folders)}.{did_you_mean(name, available(self.folders))}'
    )

  def _read(self, text: str, path: str) -> None:
    try:
      for statement in config_parser.ConfigParser(text, _AsData()):
        self._take(statement, path)
    except _NOT_GIN as error:
      reason, line = _reason(error)
      place = (f'{path}, line {line}' if line else path) if path else f'--gin_param="{shortened(text)}"'
      raise UserError(
        f'{place} is not gin: {reason}. A line binds a value, as in: name = 3, name = "text" (with quotes) or '
        'configurable.parameter = %name.'
      ) from error

  def _take(self, statement: Any, path: str) -> None:
    place = f'{path}, line {statement.location.line_num}' if path else PARAMETER
    if isinstance(statement, config_parser.IncludeStatement):
      self._include(self._find(statement.filename, f' (included from {place})'), place)
    elif isinstance(statement, config_parser.ImportStatement):
      self.imports[statement.module] = place
    elif isinstance(statement, config_parser.BindingStatement):
      key = '/'.join(filter(None, (statement.scope, statement.selector)))
      if statement.arg_name:
        key += f'.{statement.arg_name}'
      if _has_large_numbers(statement.value):
        raise UserError(f'{place}: {shortened(key)} has a whole number of more than 64 bits. Use one below 2^63.')
      # A key that is bound again moves to the end: if a name is written in two ways ("b.C.d", "C.d"), the later counts.
      self.bindings.pop(key, None)
      self.bindings[key] = Binding(statement.value, place)
      if path:
        self._from_files.add(key)

  def _resolve(self, value: Any, count: Callable[[], None], seen: tuple[str, ...] = ()) -> Any:
    """A value with macros replaced; `count` is called for each entry of it."""
    count()
    if isinstance(value, Macro):
      if value.name in seen or value.name not in self.bindings:
        return value
      self._check_length(value.name, len(seen))
      return self._resolve(self.bindings[value.name].value, count, (*seen, value.name))
    if isinstance(value, (list, tuple)):
      return type(value)(self._resolve(item, count, seen) for item in value)
    if isinstance(value, dict):
      return {key: self._resolve(item, count, seen) for key, item in value.items()}
    return value

  @staticmethod
  def _check_entries(key: str, place: str, entries: int) -> None:
    """Refuses a value that grows without end: lists of ten macros, each a list of ten, and so on."""
    if entries > MAX_ENTRIES:
      raise UserError(
        f'{place}: {key} has more than {MAX_ENTRIES:,} entries with its macros replaced. Make it shorter.'
      )


def read(files: Iterable[str], parameters: Iterable[str] = (), prefixes: Iterable[str] = ()) -> GinFiles:
  """Reads Mesh-TensorFlow's defaults, then files, then parameters: all that a run is configured with.

  Args:
    files: gin files, paths or names below the search path
    parameters: bindings in gin's syntax
    prefixes: more folders to search
  Raises:
    UserError: a file does not exist, or a line is not gin
  """
  result = GinFiles(search_path(prefixes))
  result.read_defaults()
  for name in files:
    result.read_file(name)
  for text in parameters:
    result.read_parameter(text)
  return result


def available(folders: Iterable[str]) -> list[str]:
  """Names of the gin files below folders, relative to them."""
  names = []
  for folder in folders:
    names += [str(path.relative_to(folder)) for path in pathlib.Path(folder).rglob('*.gin')]
  return names


def _text(path: str) -> str:
  """The text of a file.

  Raises:
    UserError: it cannot be read, or is not text
  """
  try:
    with open(path, encoding='utf-8-sig') as file:
      return file.read()
  except UnicodeDecodeError as error:
    raise UserError(
      f'{path} is not a gin file: byte {error.start:,} is not UTF-8. Save it as text in UTF-8.'
    ) from error
  except OSError as error:
    raise UserError(f'{path} cannot be read: {error.strerror}.') from error


def _reason(error: Exception) -> tuple[str, int | None]:
  """What is wrong in a text that is not gin, and the line if it is known."""
  if isinstance(error, RecursionError):
    return 'a value is nested too deeply', None
  message, line = str(error), None
  if isinstance(error, SyntaxError):
    message, line = error.msg, error.lineno
  elif isinstance(error, tokenize.TokenError):
    message, (line, _) = error.args
  lines = message.strip().splitlines()
  reason = lines[-1].strip().rstrip('.') if lines else type(error).__name__
  return reason[:_MAX_REASON], line


def _macros(value: Any) -> list[Macro]:
  if isinstance(value, Macro):
    return [value]
  if isinstance(value, dict):
    value = list(value.values())
  if isinstance(value, (list, tuple)):
    return [macro for item in value for macro in _macros(item)]
  return []


def _has_large_numbers(value: Any) -> bool:
  """Whether a value has whole numbers that neither TensorFlow nor a message can hold."""
  if isinstance(value, dict):
    value = [*value, *value.values()]
  if isinstance(value, (list, tuple, set)):
    return any(map(_has_large_numbers, value))
  return isinstance(value, int) and not -(1 << 63) <= value < 1 << 63
