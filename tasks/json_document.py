"""A JSON document read as a stream: of its text no more is in memory than the next value needs."""

import codecs
import contextlib
import json
from typing import Any

from switch_zoo.tasks.raw_files import DAMAGED, BadField, open_bytes

_CHUNK = 1 << 18  # bytes read at a time


class Document:
  """The text of a JSON document from the present place on.

  line: of the present place, from 1
  last: the text of the last value; bytes that are not UTF-8 are in it as surrogates
  empty: whether nothing has been read yet
  """

  def __init__(self, path):
    self._stack = contextlib.ExitStack()
    self._read = self._stack.enter_context(open_bytes(path)).read1
    # A byte that is no UTF-8 becomes what cannot be encoded again, so that only its item is lost.
    self._decode = codecs.getincrementaldecoder('utf-8-sig')('surrogateescape').decode
    self._text, self._place, self._ended = '', 0, False
    self._decoder = json.JSONDecoder()
    self.line = 1
    self.last = ''
    self.empty = True

  def close(self) -> None:
    """Closes the file."""
    self._stack.close()

  def enter(self, keys: tuple[str, ...]) -> None:
    """Goes to the list that the keys lead to.

    Raises:
      BadField: a key is missing, or holds no list
      json.JSONDecodeError: this is no JSON
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
      raise BadField('.'.join(keys), 'is no JSON list')
    self._expect('[')

  def more_items(self, first: bool) -> bool:
    """Whether the list goes on; then the next value is what comes next."""
    if self._peek() == ']':
      return False
    if not first:
      self._expect(',')
      self._peek()
    return True

  def value(self) -> Any:
    """The next value; more text is read until it is whole."""
    self._peek()
    while True:
      try:
        value, end = self._decoder.raw_decode(self._text, self._place)
        # A number at the end of what was read may go on.
        if end < len(self._text) or self._ended or isinstance(value, (dict, list, str)):
          self.last = self._text[self._place : end]
          self._advance(end)
          return value
      except json.JSONDecodeError:
        if self._ended:
          raise
      self._fill(max(_CHUNK, len(self._text) - self._place))

  def _expect(self, character):
    if self._peek() != character:
      raise json.JSONDecodeError(f'{character!r} expected, {self._peek() or "the end"!r} found', self._text, 0)
    self._advance(self._place + 1)

  def _peek(self):
    """The next character that is no blank, '' at the end."""
    while True:
      end = json.decoder.WHITESPACE.match(self._text, self._place).end()
      self._advance(end)
      if self._place < len(self._text) or self._ended:
        return self._text[self._place : self._place + 1]
      self._fill(_CHUNK)

  def _advance(self, end):
    self.line += self._text.count('\n', self._place, end)
    self._place = end

  def _fill(self, size):
    more = self._read_whole(size)
    self._text, self._place = self._text[self._place :] + self._decode(more, final=not more), 0
    self._ended, self.empty = not more, self.empty and not more

  def _read_whole(self, size):
    """As many bytes where they are there: a gzip file gives few at a time, and every try to parse costs."""
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
