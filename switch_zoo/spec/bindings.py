"""Looks up bindings in gin files by configurable and parameter, checks their kinds, and records their places."""

from typing import Any

from switch_zoo.errors import UserError, shown
from switch_zoo.spec import gin_files


class BindingReader:
  """Finds bindings no matter which module a file writes before a configurable's name, and records their places.

  places: field -> 'file, line 3', for every field read so far
  """

  def __init__(self, files: gin_files.GinFiles, path: str) -> None:
    """
    Args:
      files: the bindings
      path: the model file, for messages
    """
    self.files = files
    self.path = path
    self.places: dict[str, str] = {}
    self._keys: dict[tuple[str, str, str], str] = {}
    for key in files.bindings:
      scope, _, name = key.rpartition('/')
      if '.' in name:
        *_, configurable, parameter = name.split('.')
        self._keys[scope, configurable, parameter] = key

  def key(self, configurable: str, parameter: str, scope: str = '') -> str | None:
    """The key of the binding that applies inside `scope`: the scope's own, else the general one, else None."""
    scoped = self._keys.get((scope, configurable, parameter))
    return scoped or self._keys.get(('', configurable, parameter))

  def raw(self, configurable: str, parameter: str, scope: str = '') -> tuple[Any, str]:
    """The value of a parameter that must be bound, with macros resolved, and its place.

    Raises:
      UserError: nothing binds it
    """
    key = self.key(configurable, parameter, scope)
    if key is None:
      raise UserError(f'{self.path} is not a model: neither it nor its includes set {configurable}.{parameter}.')
    return self.files.value(key), self.place(key)

  def place(self, key: str) -> str:
    """The place of the value at the end of a chain of macros."""
    binding, seen = self.files.bindings[key], set()
    while isinstance(binding.value, gin_files.Macro) and binding.value.name not in seen:
      seen.add(binding.value.name)
      binding = self.files.bindings[binding.value.name]
    return binding.place

  def get(self, field: str, kind: type, configurable: str, parameter: str, scope: str = '', default: Any = None) -> Any:
    """The value of a parameter as `kind`; records its place as that of `field`.

    Raises:
      UserError: nothing binds it and there is no default, or it is of another kind
    """
    if default is not None and self.key(configurable, parameter, scope) is None:
      return default
    value, self.places[field] = self.raw(configurable, parameter, scope)
    return as_kind(kind, value, f'{configurable}.{parameter}', self.places[field])

  def macro(self, name: str, kind: type) -> Any:
    """The value of a macro that has the same name as a field.

    Raises:
      UserError: no file defines it, or it is of another kind
    """
    if name not in self.files.bindings:
      raise UserError(f'{self.path} is not a model: neither it nor its includes set {name}.')
    self.places[name] = self.place(name)
    return as_kind(kind, self.files.value(name), name, self.places[name])


def as_kind(kind: type, value: Any, name: str, place: str) -> Any:
  """`value` as `kind`; a whole number must be positive, and an activation may be one name or several.

  Raises:
    UserError: the value is of another kind
  """
  if kind is tuple and isinstance(value, str):
    value = [value]
  types, is_valid, words = _KINDS[kind]
  if not isinstance(value, types) or not is_valid(value):
    raise UserError(f'{place}: {name} is {shown(value)}; it must be {words}.')
  return value if kind is list else kind(value)


# Kind -> the types a value of that kind may have, what else must hold, and what a message calls it.
_KINDS = {
  int: (int, lambda value: value is not True and value > 0, 'a whole number above 0'),
  float: ((int, float), lambda value: not isinstance(value, bool), 'a number'),
  bool: (bool, lambda value: True, 'True or False'),
  str: (str, lambda value: True, 'text in quotes'),
  list: (list, lambda value: True, 'a list of layers'),
  tuple: (
    (list, tuple),
    lambda value: value and all(isinstance(item, str) for item in value),
    'the name of an activation, or a list of them',
  ),
}
