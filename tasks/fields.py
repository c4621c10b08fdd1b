"""Fields of a row, checked as they are read: a field that is not what it must be raises `raw_files.BadField`."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

from switch_zoo.errors import did_you_mean
from switch_zoo.tasks.raw_files import BadField, separator_hint

_Kind = TypeVar('_Kind')


def value(row: Mapping[str, Any], name: str) -> Any:
  """A field, whatever it contains.

  Raises:
    BadField: it is missing
  """
  if name not in row:
    raise _missing(row, name, row)
  return row[name]


def at(row: Mapping[str, Any], path: str) -> Any:
  """A field, or one inside it: 'answers.text' is row['answers.text'], else row['answers']['text'].

  What a list contains is looked up in each of its items: the texts of [{"text": "a"}, {"text": "b"}] are ["a", "b"].

  Raises:
    BadField: it is missing
  """
  result = _at(row, path)
  if result is _ABSENT:
    raise _missing(row, path, paths(row))
  return result


def paths(row: Mapping[str, Any]) -> list[str]:
  """Every path that `at` knows in a row: 'answers', 'answers.text'."""
  result = []
  for name, content in row.items():
    result.append(name)
    inner = next((item for item in content if item), None) if isinstance(content, list) else content
    if isinstance(inner, dict):
      result += [f'{name}.{path}' for path in paths(inner)]
  return result


_ABSENT = object()


def _at(content: Any, path: str) -> Any:
  if isinstance(content, list):
    items = [_at(item, path) for item in content]
    return _ABSENT if any(item is _ABSENT for item in items) else items
  if not isinstance(content, Mapping):
    return _ABSENT
  if path in content:
    return content[path]
  parts = path.split('.')
  for count in range(len(parts) - 1, 0, -1):
    name = '.'.join(parts[:count])
    result = _at(content[name], '.'.join(parts[count:])) if name in content else _ABSENT
    if result is not _ABSENT:
      return result
  return _ABSENT


def _missing(row: Mapping[str, Any], name: str, valid: Iterable[str]) -> BadField:
  hint = separator_hint(row) or did_you_mean(name, valid)
  return BadField(name, f'is missing; the row has: {", ".join(row) or "nothing"}.{hint}')


def text(row: Mapping[str, Any], name: str) -> str:
  """A field that contains text."""
  return _typed(row, name, str, 'text')


def integer(row: Mapping[str, Any], name: str) -> int:
  """A field that contains a whole number; neither text nor a truth value."""
  return _typed(row, name, int, 'a whole number')


def objects(row: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
  """A field that contains a list of JSON objects."""
  items = _typed(row, name, list, 'a list')
  for item in items:
    if not isinstance(item, dict):
      raise BadField(name, f'contains {item!r}, which is not a JSON object')
  return items


def nested(row: Mapping[str, Any], name: str) -> dict[str, Any]:
  """A field that contains a JSON object."""
  return _typed(row, name, dict, 'a JSON object')


def texts(row: Mapping[str, Any], name: str) -> list[str]:
  """A field that contains a list of texts."""
  items = _typed(row, name, list, 'a list')
  for item in items:
    if not isinstance(item, str):
      raise BadField(name, f'contains {item!r}, which is not text')
  return items


def one_of(row: Mapping[str, Any], name: str, allowed: Sequence[Any]) -> Any:
  """A field that contains one of some values, of the same type (1 is not True).

  Raises:
    BadField: with the value and the allowed ones
  """
  content = value(row, name)
  if not any(content == option and type(content) is type(option) for option in allowed):
    raise BadField(name, f'is {content!r}; it must be one of: {", ".join(map(str, allowed))}')
  return content


def _typed(row: Mapping[str, Any], name: str, kind: type[_Kind], description: str) -> _Kind:
  content = value(row, name)
  if not isinstance(content, kind) or (kind is int and isinstance(content, bool)):
    raise BadField(name, f'is {content!r}, not {description}')
  return content
