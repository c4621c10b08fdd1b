"""How a failed run is reported. Some mistakes of a user only surface in the run itself."""

import re

from switch_zoo import tf_compat
from switch_zoo.errors import from_tensorflow, full_disk, paragraph

# Errors of Mesh-TensorFlow and gin that are caused by a wrong setting.
_SETTINGS = (
  re.compile(r'Required bindings for'),
  re.compile(r'not divisible'),
)


def explain(error: Exception) -> tuple[str, int]:
  """One paragraph, and the exit code: 2 if a setting or a file of the user is wrong, else 1."""
  mistake = from_tensorflow(str(error))
  if mistake:
    return mistake, 2
  text = paragraph(error)
  full = full_disk(error)
  if full:
    return f'{full}: {text[:300]} Free some space, and repeat the command.', 2
  if any(pattern.search(text) for pattern in _SETTINGS):
    return text, 2
  if 'ResourceExhausted' in type(error).__name__:
    return f'out of memory: {text[:300]} Use a smaller BATCH_SIZE or a shorter INPUTS_LENGTH.', 1
  where = '' if tf_compat.debugging() else ' (--debug shows where.)'
  return f'{type(error).__name__}: {text[:1000]}{where}', 1
