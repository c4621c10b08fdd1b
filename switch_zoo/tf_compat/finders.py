"""How a repair reaches the module that needs it: at its first import, in whatever process that happens.

Two finders stand on `sys.meta_path`. The first comes before all others and changes how a module that exists is loaded;
the last comes after all others, so it is asked only for modules that nobody has, and makes those. Neither imports
anything until a module of its table is imported.
"""

import functools
import importlib.abc
import importlib.machinery
import sys
import types
from collections.abc import Callable, Mapping, Sequence

Load = Callable[[], None]
Change = Callable[[types.ModuleType, Load], None]  # given a new module and what fills it as ever
Make = Callable[[types.ModuleType], None]  # fills a module that exists nowhere


class First(importlib.abc.MetaPathFinder):
  """Loads the modules of a table as the other finders would, through the table's functions."""

  def __init__(self, changes: Mapping[str, Change]):
    self._changes = changes

  def find_spec(
    self, fullname: str, path: Sequence[str] | None, target: types.ModuleType | None = None
  ) -> importlib.machinery.ModuleSpec | None:
    """The spec of another finder, with a loader that applies the change; None for every other module."""
    change = self._changes.get(fullname)
    spec = self._found_by_others(fullname, path, target) if change else None
    if change and spec and spec.loader:
      spec.loader = _ChangedLoader(spec.loader, change)
    return spec

  def _found_by_others(self, fullname, path, target):
    for finder in sys.meta_path:
      spec = None if finder is self else finder.find_spec(fullname, path, target)
      if spec:
        return spec
    return None


class Last(importlib.abc.MetaPathFinder):
  """Makes the modules of a table that no other finder has."""

  def __init__(self, made: Mapping[str, Make]):
    self._made = made

  def find_spec(
    self, fullname: str, path: Sequence[str] | None, target: types.ModuleType | None = None
  ) -> importlib.machinery.ModuleSpec | None:
    """A spec whose loader makes the module; None for a module that is not in the table."""
    make = self._made.get(fullname)
    return importlib.machinery.ModuleSpec(fullname, _Maker(make)) if make else None


class _ChangedLoader(importlib.abc.Loader):
  """Another loader with a change of the loading. Once the module is being filled it has its own loader again."""

  def __init__(self, original, change: Change):
    self._original = original
    self._change = change

  def create_module(self, spec):
    return self._original.create_module(spec)

  def exec_module(self, module):
    for owner, name in ((module.__spec__, 'loader'), (module, '__loader__')):
      setattr(owner, name, self._original)
    self._change(module, functools.partial(self._original.exec_module, module))

  def __getattr__(self, name):
    # get_code, get_data, get_resource_reader and whatever else is asked of a loader before the module is loaded.
    return getattr(self._original, name)


class _Maker(importlib.abc.Loader):
  """Fills an empty module."""

  def __init__(self, make: Make):
    self._make = make

  def create_module(self, spec):
    return None

  def exec_module(self, module):
    self._make(module)
