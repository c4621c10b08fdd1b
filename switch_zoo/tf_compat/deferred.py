"""Packages that released code imports and most runs never use: they are imported when something of them is used."""

import importlib
import sys
import types
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from switch_zoo.tf_compat.finders import Change, Load


class DeferredModule(types.ModuleType):
  """In the place of a module, which is imported when an attribute is first read."""

  def __init__(self, name: str, called_later: Iterable[str] = ()) -> None:
    """
    Args:
      name: of the module
      called_later: functions of it that are read early, and imported only when they are called
    """
    super().__init__(name)
    self._called_later = frozenset(called_later)

  def __getattr__(self, attribute: str) -> Any:
    if attribute.startswith('__'):  # what the import system asks of a module
      raise AttributeError(attribute)
    if attribute in self._called_later:
      return self._function(attribute)
    return getattr(self._module(), attribute)

  def _module(self) -> types.ModuleType:
    if sys.modules.get(self.__name__) is self:
      del sys.modules[self.__name__]
    return importlib.import_module(self.__name__)

  def _function(self, name: str) -> Callable[..., Any]:
    return lambda *args, **kwargs: getattr(self._module(), name)(*args, **kwargs)


def imports_of(names: Mapping[str, Iterable[str]]) -> Change:
  """A change of a module: what it imports of these, and what is not loaded yet, is deferred.

  Args:
    names: module -> its functions that are read while released code is imported
  """

  def change(unused_module: types.ModuleType, load: Load) -> None:
    deferred = {name: DeferredModule(name, early) for name, early in names.items() if name not in sys.modules}
    for name, module in deferred.items():
      parent, _, own_name = name.rpartition('.')
      if parent in deferred:
        setattr(deferred[parent], own_name, module)
    sys.modules.update(deferred)
    try:
      load()
    finally:
      for name, module in deferred.items():
        if sys.modules.get(name) is module:
          del sys.modules[name]

  return change


def attribute_of(module_name: str, attribute: str) -> Change:
  """A change of a package: an attribute that it imports from a module of its own is imported when it is read.

  Args:
    module_name: the module's full name
    attribute: its name in both
  """

  def change(package: types.ModuleType, load: Load) -> None:
    if module_name in sys.modules:
      load()
      return
    stand_in = types.ModuleType(module_name)
    setattr(stand_in, attribute, None)
    sys.modules[module_name] = stand_in
    try:
      load()
    finally:
      del sys.modules[module_name]
    del vars(package)[attribute]
    vars(package)['__getattr__'] = read

  def read(name: str) -> Any:
    if name != attribute:
      raise AttributeError(f'module {module_name.rpartition(".")[0]!r} has no attribute {name!r}')
    return getattr(importlib.import_module(module_name), attribute)

  return change
