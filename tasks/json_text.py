"""One JSON value: from its text to Python, with a reason for every text that cannot become a row."""

import json
import re
from typing import Any

from switch_zoo.errors import printable

DEEPEST = 100  # levels of lists and objects; Python's parser itself ends near 1,000
_LONGEST_KEY = 100  # characters, in a message
_SURROGATE = re.compile(r'\\u[dD][89a-fA-F]')  # how half of a surrogate pair begins in JSON
# A string, which the end of the text may cut off, or a bracket.
_STRUCTURE = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*(?:"|\\?\Z)|[][{}]', re.DOTALL)


class NotARow(ValueError):  # noqa: N818 - it names what the text is not
  """A JSON text that cannot be used. The caller that knows the file and the line adds them."""


def parsed(text: str) -> Any:
  """The value of a JSON text.

  Args:
    text: of one value
  Raises:
    NotARow: it is not JSON, or contains what no row can contain
  """
  check_nesting(text)
  try:
    value = json.loads(text, object_pairs_hook=unique)
  except NotARow:
    raise
  except json.JSONDecodeError as error:
    if text[error.pos :].strip() == ',':
      raise NotARow('a comma after the object, which lines of JSON do not have: delete it.') from error
    raise NotARow(f'not JSON: {error.msg} at column {error.colno}.') from error
  except ValueError as error:
    raise NotARow(long_number()) from error
  check_surrogates(text, value)
  return value


def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
  """A JSON object from its keys and values, as `object_pairs_hook` of the parser.

  Raises:
    NotARow: a key occurs twice; the parser itself would keep the last value without a word
  """
  value = dict(pairs)
  if len(value) < len(pairs):
    seen: set[str] = set()
    key = next(key for key, _ in pairs if key in seen or seen.add(key))
    raise NotARow(f'the key "{printable(key[:_LONGEST_KEY])}" occurs twice in one object. Keep one of the two.')
  return value


def check_nesting(text: str) -> None:
  """Refuses lists and objects that are nested too deeply for everything that goes through them later.

  Raises:
    NotARow: they are
  """
  if text.count('[') + text.count('{') > DEEPEST and nesting(text) > DEEPEST:
    raise NotARow(f'JSON nested more than {DEEPEST} deep.')


def check_surrogates(text: str, value: Any) -> None:
  """Refuses half of a surrogate pair, which is a character that no file in UTF-8 can contain.

  Args:
    text: the JSON text
    value: what it became
  Raises:
    NotARow: it contains one
  """
  if _SURROGATE.search(text) and not is_utf8(json.dumps(value, ensure_ascii=False)):
    raise NotARow('half of a surrogate pair (such as "\\ud83d" alone), which is not text.')


def reason(error: Exception) -> str:
  """Why a list or an object is not a row, from the error of parsing it."""
  if isinstance(error, json.JSONDecodeError):
    return f'not JSON: {error.msg}.'
  return str(error) if isinstance(error, NotARow) else long_number()


def long_number() -> str:
  """The message about a number that Python refuses to convert, as that takes time that grows with its square."""
  return 'a number with thousands of digits. Write it as text ("...").'


def is_utf8(text: str) -> bool:
  """Whether a text can be encoded in UTF-8: half of a surrogate pair cannot."""
  try:
    text.encode('utf-8')
  except UnicodeEncodeError:
    return False
  return True


def nesting(text: str) -> int:
  """The depth of the lists and objects of a JSON text, from 0.

  >>> nesting('[{"a": "[["}, []]')
  2
  """
  depth = deepest = 0
  for match in _STRUCTURE.finditer(text):
    if match[0] in '[{':
      depth += 1
      deepest = max(deepest, depth)
    elif match[0] in ']}':
      depth -= 1
  return deepest


def end_of_value(text: str, begin: int) -> int | None:
  """Where a list or an object ends: after the bracket that closes the one at `begin`; None if the text ends before.

  Only brackets and quotes are looked at, so that an item with any other mistake can be left out by itself.
  """
  depth = 0
  for match in _STRUCTURE.finditer(text, begin):
    if match[0] in '[{':
      depth += 1
    elif match[0] in ']}':
      depth -= 1
      if depth <= 0:
        return match.end()
  return None
