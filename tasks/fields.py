"""Fields of a row, checked as they are read: a field that is not what it must be raises `readers.BadField`."""

from collections.abc import Sequence
from typing import Any

from switch_zoo.errors import did_you_mean
from switch_zoo.tasks.readers import BadField


def value(row: dict[str, Any], name: str) -> Any:
  """A field, whatever it holds.

  Raises:
    BadField: it is missing
  """
  if name not in row:
    raise BadField(name, f'is missing; the row has: {", ".join(row) or "nothing"}.{did_you_mean(name, row)}')
  return row[name]


def text(row: dict[str, Any], name: str) -> str:
  """A field that holds text."""
  return _typed(row, name, str, 'text')


def integer(row: dict[str, Any], name: str) -> int:
  """A field that holds a whole number; no text, no truth value."""
  return _typed(row, name, int, 'a whole number')


def objects(row: dict[str, Any], name: str) -> list[dict[str, Any]]:
  """A field that holds a list of JSON objects."""
  found = _typed(row, name, list, 'a list')
  for one in found:
    if not isinstance(one, dict):
      raise BadField(name, f'holds {one!r}, which is no JSON object')
  return found


def nested(row: dict[str, Any], name: str) -> dict[str, Any]:
  """A field that holds a JSON object."""
  return _typed(row, name, dict, 'a JSON object')


def texts(row: dict[str, Any], name: str) -> list[str]:
  """A field that holds a list of texts."""
  found = _typed(row, name, list, 'a list')
  for one in found:
    if not isinstance(one, str):
      raise BadField(name, f'holds {one!r}, which is no text')
  return found


def one_of(row: dict[str, Any], name: str, allowed: Sequence[Any]) -> Any:
  """A field that holds one of some values, of the same type (1 is not True).

  Raises:
    BadField: with the value and the allowed ones
  """
  found = value(row, name)
  if not any(found == one and type(found) is type(one) for one in allowed):
    raise BadField(name, f'is {found!r}; it must be one of: {", ".join(map(str, allowed))}')
  return found


def _typed(row, name, kind, what):
  found = value(row, name)
  if not isinstance(found, kind) or (kind is int and isinstance(found, bool)):
    raise BadField(name, f'is {found!r}, not {what}')
  return found
