"""A JSON document read as a stream: no more of its text is in memory than the next value needs."""

import codecs
import contextlib
import json
import re
from typing import Any

from switch_zoo.tasks import json_text
from switch_zoo.tasks.raw_files import DAMAGED, BadField, not_a_text, open_bytes

_CHUNK = 1 << 18  # bytes read at a time
_WHITESPACE = re.compile(r'[ \t\n\r]*')


class JsonDocument:
  """The text of a JSON document from the current position on.

  line: of the current position, from 1
  last: the text of the last value; bytes that are not UTF-8 are surrogates in it
  empty: whether nothing has been read yet
  """

  def __init__(self, path: str) -> None:
    """
    Args:
      path: of the file
    """
    self._stack = contextlib.ExitStack()
    self._read = self._stack.enter_context(open_bytes(path)).read1
    # A byte that is not UTF-8 becomes a character that cannot be encoded again, so that only its item is lost.
    self._decode = codecs.getincrementaldecoder('utf-8-sig')('surrogateescape').decode
    self._text, self._position, self._ended = '', 0, False
    self._decoder = json.JSONDecoder(object_pairs_hook=json_text.unique)
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
      json_text.NotARow: the file is not a text at all
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

  def text_after(self) -> str:
    """The beginning of what follows the list, '' if nothing does; reads to the end of the file, and so its checksum."""
    self._advance(self._position + 1)
    self._peek()
    return self._text[self._position : self._position + 20]

  def skip_to_end(self) -> None:
    """Reads the rest of the file, which says whether a gzip file is whole."""
    while not self._ended:
      self._advance(len(self._text))
      self._fill(_CHUNK)

  def value(self) -> Any:
    """The next value; more text is read until it is complete.

    Raises:
      json.JSONDecodeError: the text is not JSON, and where the value ends is not known
      json_text.NotARow: the value cannot be used; the position is after it
    """
    self._peek()
    while True:
      try:
        value, end = self._decoder.raw_decode(self._text, self._position)
      except (ValueError, RecursionError) as error:
        self._skip_wrong_value(error)
      else:
        # A number at the end of what was read may have more digits.
        if end < len(self._text) or self._ended or isinstance(value, (dict, list, str)):
          self._take(end)
          self._check(value)
          return value
      self._fill(max(_CHUNK, len(self._text) - self._position))

  def _check(self, value: Any) -> None:
    json_text.check_nesting(self.last)
    json_text.check_surrogates(self.last, value)

  def _skip_wrong_value(self, error: Exception) -> None:
    """Raises NotARow after a list or object that is closed; nothing if it may go on in text that is yet to be read."""
    has_brackets = self._text[self._position : self._position + 1] in ('[', '{')
    end = json_text.end_of_value(self._text, self._position) if has_brackets else None
    if end is not None:
      self._take(end)
      json_text.check_nesting(self.last)
      raise json_text.NotARow(json_text.reason(error)) from error
    if self._ended:
      raise error if isinstance(error, json.JSONDecodeError) else json.JSONDecodeError(str(error).rstrip('.'), '', 0)

  def _take(self, end: int) -> None:
    self.last = self._text[self._position : end]
    self._advance(end)

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
    if self.empty and (reason := not_a_text(more)):
      raise json_text.NotARow(reason)
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
