"""What text to ids and back needs to know of a vocabulary, however it was stored."""

import dataclasses
import re
from collections.abc import Iterable

SPACE = '▁'  # what sentencepiece writes for a blank
# White_Space of Unicode, as tokenizers reads it; a class of characters for both Python's and Google's expressions.
WHITESPACE = '[\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]'
_SENTINEL = re.compile(f'{SPACE}?(<extra_id_([0-9]+)>)')


@dataclasses.dataclass(frozen=True)
class AddedToken:
  """A text that is one token wherever it occurs.

  content: the text
  id: its id
  special: whether it is left out of decoded text
  normalized: whether it is searched for in normalized text
  strips: whether blanks next to it belong to it
  """

  content: str
  id: int
  special: bool = False
  normalized: bool = False
  strips: bool = False


@dataclasses.dataclass(frozen=True)
class Rule:
  """A replacement in text. `pattern` means the same to RE2 and to Python, except `$`, which is the end of the text."""

  pattern: str
  replacement: str


@dataclasses.dataclass(frozen=True)
class Table:
  """A vocabulary.

  Text is split at the added tokens that are not normalized; the rest is normalized and split at those that are; what
  is between those is given to the model.

  path: of the file
  model: sentencepiece ModelProto, with a piece for every id
  size: number of ids
  added: added tokens, sentinels among them
  normalizer: the model of `normalization`; None if no step before `model` needs normalized text
  normal_rules: applied to normalized text
  word_rules: applied to what is between added tokens
  text_rules: applied to decoded text
  hidden: ids that are left out of decoded text
  """

  path: str
  model: bytes
  size: int
  added: tuple[AddedToken, ...]
  normalizer: bytes | None = None
  normal_rules: tuple[Rule, ...] = ()
  word_rules: tuple[Rule, ...] = ()
  text_rules: tuple[Rule, ...] = ()
  hidden: frozenset[int] = frozenset()

  def tokens(self, normalized: bool) -> dict[str, int]:
    """Content of the added tokens that are searched for in normalized or in other text -> id; longest first."""
    chosen = [token for token in self.added if token.normalized == normalized and token.content]
    return {token.content: token.id for token in sorted(chosen, key=lambda token: -len(token.content))}

  @property
  def first_sentinel(self) -> int | None:
    """The id of `<extra_id_0>`; None if there is none."""
    return next((token.id for token in self.added if token.content == '<extra_id_0>'), None)


def sentinel(piece: str) -> str | None:
  """The text of a sentinel whose piece, with or without a blank before it, this is; None for other pieces.

  >>> sentinel('▁<extra_id_7>')
  '<extra_id_7>'
  """
  match = _SENTINEL.fullmatch(piece)
  return match[1] if match else None


def pattern(contents: Iterable[str]) -> str:
  """A regular expression, for Python and RE2, with a group that is any of these texts; earlier ones are preferred."""
  escaped = (
    ''.join(char if char.isalnum() or char > '\x7f' else f'\\x{ord(char):02x}' for char in text) for text in contents
  )
  return f'({"|".join(escaped)})'
