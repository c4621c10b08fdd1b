"""What stands in for modules that are gone or cannot be imported: names to import, which raise when they are used."""

import importlib
import sys
import types
from collections.abc import Callable, Iterable


def alias_of(target: str) -> Callable[[types.ModuleType], None]:
  """Makes a module another name of the module `target`, which is imported."""

  def make(module: types.ModuleType) -> None:
    # The import system returns what it finds here after the loading.
    sys.modules[module.__name__] = importlib.import_module(target)

  return make


def names_that_raise(names: Iterable[str], error: type[Exception], message: str) -> Callable[[types.ModuleType], None]:
  """Fills a module with classes that serve for `isinstance` and as base classes, and raise when they are called.

  Args:
    names: of the classes
    error: of this type
    message: follows the class's full name
  """

  def make(module: types.ModuleType) -> None:
    for name in names:
      setattr(module, name, _class_that_raises(module.__name__, name, error, message))

  return make


def _class_that_raises(module_name, name, error, message):
  def refuse(self, *unused_args, **unused_kwargs):
    raise error(f'{module_name}.{name} {message}')

  return type(name, (), {'__init__': refuse, '__module__': module_name})
