"""JSON from a stranger: an object, of a bounded size and depth."""

import json
import os
from typing import Any

from switch_zoo.checkpoints import file_checks
from switch_zoo.errors import UserError

MAX_BYTES = 100_000_000  # as for the header of safetensors


def read(path: str, unique: bool = False) -> dict[str, Any]:
  """The object in a file; `unique`: whether a name that occurs twice in an object is an error.

  Raises:
    UserError: it is not a file, or not such JSON
  """
  file_checks.check_weights(path)
  if os.path.getsize(path) > MAX_BYTES:
    raise UserError(f'{path} has more than {MAX_BYTES:,} bytes of JSON, too many for such a file. Copy it again.')
  with open(path, 'rb') as file:
    return parse(file.read(), path, unique)


def parse(text: bytes, source: str, unique: bool = False) -> dict[str, Any]:
  """The object that a text is; `source`: what it is called in messages.

  Raises:
    UserError: it is not such JSON
  """
  try:
    content = json.loads(text.decode('utf-8-sig'), object_pairs_hook=_unique if unique else None)
  except (ValueError, RecursionError) as error:
    reason = 'it is nested too deeply' if isinstance(error, RecursionError) else str(error)
    raise UserError(f'{source} is not JSON: {reason}. Copy it again.') from error
  if not isinstance(content, dict):
    raise UserError(f'{source} holds no JSON object. Copy it again.')
  return content


def is_size(value: Any) -> bool:
  """Whether a value is a whole number that can be a size or an offset; 1.0 and true are not."""
  return type(value) is int and 0 <= value < 1 << 63


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
  result = dict(pairs)
  if len(result) < len(pairs):
    seen: set[str] = set()
    repeated = next(name for name, _ in pairs if name in seen or seen.add(name))
    raise ValueError(f'{repeated} occurs twice in one object')
  return result
