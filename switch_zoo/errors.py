"""The one exception for a user's mistake, and how its message is worded."""

import difflib
import errno
import os
import re
from collections.abc import Iterable
from typing import Any

# All but a new line and a tab: C0 and C1, line separators, marks that reorder a line, half surrogates.
_UNPRINTABLE = re.compile('[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]')

# Characters of a value or a text in a message.
_LONGEST = 200


class UserError(Exception):
  """A mistake of the user: one paragraph with the value, the rule and the remedy.

  The commands print it without a traceback and exit with code 2. Names from a stranger's file are part of many
  messages, so control characters are written as escapes.
  """

  # Not in __init__: TensorFlow makes an exception of a traced function again only if its class has none.
  def __str__(self) -> str:
    return printable(super().__str__())


def printable(text: str) -> str:
  """A text whose control characters, half surrogates and changes of direction are written as Python's escapes.

  >>> printable('a\\x1b[31m\\nb')
  'a\\\\x1b[31m\\nb'
  """
  return _UNPRINTABLE.sub(lambda match: match[0].encode('unicode_escape', 'surrogatepass').decode(), str(text))


def shown(value: Any) -> str:
  """A value as Python writes it, for a message; the middle of a long one is left out.

  >>> shown('x' * 5000)[-20:]
  "...xxxxxxxxxxxxxxxx'"
  """
  try:
    return shortened(repr(value))
  except ValueError:  # Python writes no whole number of more than 4,300 digits
    return 'a number of thousands of digits'


def shortened(text: str) -> str:
  """A text for a message, without its middle if it is long."""
  return text if len(text) <= _LONGEST else f'{text[: _LONGEST - 20]}...{text[-17:]}'


def paragraph(error: Exception) -> str:
  """An exception's message on one line, without the calls that gin appends to it."""
  message = str(error).split('\n  In call to configurable')[0]
  return ' '.join(message.split())


def from_tensorflow(text: str) -> str | None:
  """The message of a UserError that was raised while TensorFlow read a dataset; None if it was not a UserError.

  TensorFlow raises another error, whose message contains the original exception and its traceback.

  >>> from_tensorflow('{{node Next}} UserError: cb.jsonl, line 2: not JSON.\\nTraceback (most recent call last):')
  'cb.jsonl, line 2: not JSON.'
  """
  match = re.search(r'\bUserError: (.*?)\nTraceback \(most recent call last\)', text, re.DOTALL)
  return ' '.join(match[1].split()) if match else None


def full_disk(error: Exception) -> str | None:
  """What kept a file from being written, where that is its size; None for any other error.

  TensorFlow has errors of its own, whose text ends with the system's.

  >>> full_disk(OSError(28, 'No space left on device'))
  'No space is left'
  """
  text = str(error)
  numbers = [error.errno] if isinstance(error, OSError) else [n for n in _FULL if f'; {os.strerror(n)}' in text]
  return next((_FULL[number] for number in numbers if number in _FULL), None)


_FULL = {
  errno.ENOSPC: 'No space is left',
  errno.EDQUOT: 'The disk quota is used up',
  errno.EFBIG: 'A file this large is not allowed (by the file system, or by `ulimit -f`)',
}


def did_you_mean(name: str, valid: Iterable[str], limit: int = 3) -> str:
  """The closest valid names, at most `limit`, as a sentence; '' when none is close.

  >>> did_you_mean('switch_bse_8', ['switch_base_8', 't5_base'])
  ' Did you mean switch_base_8?'
  """
  close = difflib.get_close_matches(name, sorted(set(valid)), n=limit, cutoff=0.6)
  similarity = lambda candidate: difflib.SequenceMatcher(None, candidate, name).ratio()
  close = [candidate for candidate in close if similarity(candidate) > similarity(close[0]) - 0.1]
  return f' Did you mean {" or ".join(close)}?' if close else ''
