"""A JSON document read as a stream: no more of its text is in memory than the next value needs."""

import codecs
import contextlib
import json
import re
from typing import Any

from switch_zoo.tasks.raw_files import DAMAGED, BadField, open_bytes

_CHUNK = 1 << 18  # bytes read at a time
_WHITESPACE = re.compile(r'[ \t\n\r]*')


class JsonDocument:
  """The text of a JSON document from the current position on.

  line: of the current position, from 1
  last: the text of the last value; bytes that are not UTF-8 are surrogates in it
  empty: whether nothing has been read yet
  """

  def __init__(self, path: str) -> None:
    self._stack = contextlib.ExitStack()
    self._read = self._stack.enter_context(open_bytes(path)).read1
    # A byte that is not UTF-8 becomes a character that cannot be encoded again, so that only its item is lost.
    self._decode = codecs.getincrementaldecoder('utf-8-sig')('surrogateescape').decode
    self._text, self._position, self._ended = '', 0, False
    self._decoder = json.JSONDecoder()
    self.line = 1
    self.last = ''
    self.empty = True

  def close(self) -> None:
    """Closes the file."""
    self._stack.close()

  def enter(self, keys: tuple[str, ...]) -> None:
    """Moves to the list that the keys lead to.

    Raises:
      BadField: a key is missing, or its value is not a list
      json.JSONDecodeError: the text is not JSON
    """
    for depth, key in enumerate(keys):
      self._expect('{')
      while True:
        if self._peek() == '}':
          raise BadField('.'.join(keys[: depth + 1]), 'is missing')
        name = self.value()
        self._expect(':')
        if name == key:
          break
        self.value()
        if self._peek() == ',':
          self._expect(',')
    if keys and self._peek() != '[':
      raise BadField('.'.join(keys), 'is not a JSON list')
    self._expect('[')

  def more_items(self, first: bool) -> bool:
    """Whether the list has another item; if so, `value` returns it."""
    if self._peek() == ']':
      return False
    if not first:
      self._expect(',')
      self._peek()
    return True

  def value(self) -> Any:
    """The next value; more text is read until it is complete.

    Raises:
      json.JSONDecodeError: the text is not JSON
    """
    self._peek()
    while True:
      try:
        value, end = self._decoder.raw_decode(self._text, self._position)
        # A number at the end of what was read may have more digits.
        if end < len(self._text) or self._ended or isinstance(value, (dict, list, str)):
          self.last = self._text[self._position : end]
          self._advance(end)
          return value
      except json.JSONDecodeError:
        if self._ended:
          raise
      self._fill(max(_CHUNK, len(self._text) - self._position))

  def _expect(self, character: str) -> None:
    if self._peek() != character:
      raise json.JSONDecodeError(f'{character!r} expected, {self._peek() or "the end"!r} found', self._text, 0)
    self._advance(self._position + 1)

  def _peek(self) -> str:
    """The next character that is not whitespace, '' at the end."""
    while True:
      blank = _WHITESPACE.match(self._text, self._position)
      self._advance(blank.end() if blank else self._position)
      if self._position < len(self._text) or self._ended:
        return self._text[self._position : self._position + 1]
      self._fill(_CHUNK)

  def _advance(self, end: int) -> None:
    self.line += self._text.count('\n', self._position, end)
    self._position = end

  def _fill(self, size: int) -> None:
    more = self._read_full(size)
    self._text, self._position = self._text[self._position :] + self._decode(more, final=not more), 0
    self._ended, self.empty = not more, self.empty and not more

  def _read_full(self, size: int) -> bytes:
    """`size` bytes if the file has that many: gzip returns few at a time, and every attempt to parse costs."""
    parts = []
    while size > 0:
      try:
        part = self._read(size)
      except DAMAGED:
        if parts:
          break
        raise
      if not part:
        break
      parts.append(part)
      size -= len(part)
    return b''.join(parts)
