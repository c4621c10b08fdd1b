"""What --json prints."""

import json
import math
from typing import Any


def as_json(document: Any, indent: int | None = 2) -> str:
  """A document as JSON. A number that JSON has none for (NaN, infinity) is null."""
  return json.dumps(_with_nulls(document), indent=indent, ensure_ascii=False, allow_nan=False)


def _with_nulls(value: Any) -> Any:
  if isinstance(value, dict):
    return {key: _with_nulls(item) for key, item in value.items()}
  if isinstance(value, (list, tuple)):
    return [_with_nulls(item) for item in value]
  return None if isinstance(value, float) and not math.isfinite(value) else value
