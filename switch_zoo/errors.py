"""The one exception for a user's mistake, and the words it is told in."""

import difflib
import re
from collections.abc import Iterable


class UserError(Exception):
  """A mistake of the user: one paragraph with the value, the rule and the remedy.

  The commands print it without a traceback and exit with code 2.
  """


def paragraph(error: Exception) -> str:
  """What an exception says, on one line and without the calls gin appends to the message."""
  said = str(error).split('\n  In call to configurable')[0]
  return ' '.join(said.split())


def from_tensorflow(text: str) -> str | None:
  """What a UserError said that was raised while TensorFlow read a dataset; None if the message is of another kind.

  TensorFlow gives out the text of an exception and its traceback as the message of an error of its own.

  >>> from_tensorflow('{{node Next}} UserError: cb.jsonl, line 2: no JSON.\\nTraceback (most recent call last):')
  'cb.jsonl, line 2: no JSON.'
  """
  found = re.search(r'\bUserError: (.*?)\nTraceback \(most recent call last\)', text, re.DOTALL)
  return ' '.join(found[1].split()) if found else None


def did_you_mean(name: str, valid: Iterable[str], most: int = 3) -> str:
  """The closest valid names as a sentence, or '' when nothing is close.

  >>> did_you_mean('switch_bse_8', ['switch_base_8', 't5_base'])
  ' Did you mean switch_base_8?'
  """
  close = difflib.get_close_matches(name, sorted(set(valid)), n=most, cutoff=0.6)
  likeness = lambda candidate: difflib.SequenceMatcher(None, candidate, name).ratio()
  close = [candidate for candidate in close if likeness(candidate) > likeness(close[0]) - 0.1]
  return f' Did you mean {" or ".join(close)}?' if close else ''
