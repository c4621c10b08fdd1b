"""What a token is, for people: its text and its kind."""

from switch_zoo.spec.token_ids import END, FIRST_PIECE, PADDING, UNKNOWN
from switch_zoo.vocabulary.choosing import BYTES
from switch_zoo.vocabulary.opening import open_table
from switch_zoo.vocabulary.python_text import PythonText
from switch_zoo.vocabulary.table import SPACE, sentinel

SPECIAL, SENTINEL = 'special', 'sentinel'
# What belongs to the format of the text and not to the text.
APART = (SPECIAL, SENTINEL)
_SPECIAL_NAMES = {PADDING: '<start>', END: '</s>', UNKNOWN: '<unk>'}


class Pieces:
  """The pieces of a vocabulary."""

  def __init__(self, path: str) -> None:
    """
    Args:
      path: of a sentencepiece model or a tokenizer.json, or 'bytes'
    """
    self._added: dict[int, str] = {}
    self._processor = None
    if path != BYTES:
      table = open_table(path)
      self._added = {token.id: token.content for token in table.added}
      self._processor = PythonText(table).processor

  def text(self, token: int) -> str:
    """The piece of an id, with a visible blank: '▁the'."""
    if token in _SPECIAL_NAMES or token in self._added:
      return _SPECIAL_NAMES.get(token) or self._added[token]
    if self._processor is None:
      return _byte(token - FIRST_PIECE)
    return self._processor.IdToPiece(token) if token < self._processor.GetPieceSize() else f'<{token}>'

  def kind(self, token: int) -> str:
    """The kind of an id: special, sentinel, blank, number, punctuation, word, capitalized, continuation, non-ASCII."""
    piece = self.text(token)
    if token in _SPECIAL_NAMES:
      return SPECIAL
    if sentinel(piece) or token in self._added or (self._processor is None and token >= FIRST_PIECE + 256):
      return SENTINEL
    return kind_of_text(piece)


def kind_of_text(piece: str) -> str:
  """The kind of a piece that is text.

  >>> [kind_of_text(piece) for piece in ('▁the', '▁The', 'ing', '▁1,9', ',', '▁', 'größe')]
  ['word', 'capitalized', 'continuation', 'number', 'punctuation', 'blank', 'non-ASCII']
  """
  text = piece.replace(SPACE, ' ').strip()
  if not text:
    return 'blank'
  if not any(character.isalnum() for character in text):
    return 'punctuation'
  if not any(character.isalpha() for character in text):
    return 'number'
  if not text.isascii():
    return 'non-ASCII'
  if text[0].isupper():
    return 'capitalized'
  return 'word' if piece.startswith((SPACE, ' ')) else 'continuation'


def _byte(value: int) -> str:
  if not 0 <= value < 256:
    return f'<extra_id_{355 - value}>'
  return SPACE if value == 32 else chr(value) if 32 < value < 127 else f'<0x{value:02X}>'
