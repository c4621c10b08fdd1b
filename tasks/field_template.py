"""Text with the fields of a row in it, as `zoo_file.inputs` and `zoo_file.targets` have it."""

import json
import math
import re
from collections.abc import Mapping
from typing import Any

from switch_zoo.errors import did_you_mean
from switch_zoo.tasks import fields
from switch_zoo.tasks.raw_files import BadField

_PART = re.compile(r'\{\{|\}\}|\{([^{}]*)\}')
_REMEDY = 'Give it one, or leave such rows out with --gin_param="task_data.skip_malformed = True".'
_LOOKS_LIKE_A_NAME = re.compile(r'[^\W\d][\w .-]*')


def text(row: Mapping[str, Any], setting: str, template: str) -> str:
  """The field `template`; or, if it has braces, that text with the fields it names.

  Braces that contain no name, as in '{"a": 1}', are part of the text; so are `{{` and `}}` around a name.

  Args:
    row: fields by name
    setting: what the user calls the template
    template: a field, or text with fields
  Raises:
    BadField: a field is missing, or is neither text nor a finite number
  """
  if template in row or '{' not in template:
    return as_text(template, fields.at(row, template))
  names, is_doubled = list[str](), '{{' in template

  def content(match: re.Match[str]) -> str:
    name = match[1]
    if name is None:
      return match[0][0] if is_doubled else match[0]
    if name not in row and not _LOOKS_LIKE_A_NAME.fullmatch(name):
      return match[0]
    names.append(name)
    return as_text(name, _field(row, setting, name))

  result = _PART.sub(content, template)
  if not names:
    raise BadField(template, f'({setting}) is missing, and no field is named in its braces.{_columns(row, template)}')
  return result


def as_text(name: str, value: Any) -> str:
  """Text or a number as text.

  Raises:
    BadField: it is another kind of value, or a number that stands for a missing one
  """
  if isinstance(value, str):
    return value
  if isinstance(value, float) and not math.isfinite(value):
    raise BadField(name, f'is {json.dumps(value)}, which is not a value. {_REMEDY}')
  if isinstance(value, (bool, int, float)):
    return str(value)
  raise BadField(name, f'is {json.dumps(value)[:80]}, neither text nor a number')


def _field(row: Mapping[str, Any], setting: str, name: str) -> Any:
  try:
    return fields.at(row, name)
  except BadField as error:
    what = f'is named by {setting}. Write {{{{{name}}}}} if the braces are part of the text. It'
    raise BadField(name, f'{what} {error.rule}') from error


def _columns(row: Mapping[str, Any], name: str) -> str:
  return f' The row has: {", ".join(row) or "nothing"}.{did_you_mean(name, row)}'
