"""The text of one file of this machine: plain text, a gettext catalogue or a manual page. Nothing is executed.

What is not text (a NUL byte, not UTF-8, damaged, too large) is None: the caller counts it.
"""

import codecs
import gzip
import os
import re
import stat
import struct
import zlib

LARGEST = 2 << 20  # bytes of a file, and of what a gzip file contains; larger ones are tables rather than text
_GZIP = b'\x1f\x8b'
_CATALOGUE = (('<I', b'\xde\x12\x04\x95'), ('>I', b'\x95\x04\x12\xde'))
_CHARSET = re.compile(rb'charset=([\w.:-]+)')
# Requests of roff whose arguments are text; those of man(7) and mdoc(7) that change the font.
_WITH_TEXT = re.compile(r'[.\'] *(?:SH|SS|SM|SB|B|I|BR|BI|IR|IB|RB|RI|Sh|Ss|Nm|Nd|Op|Ar|Fl|Xr|Pa|Em|Sy|Li|Dv|Ev|It)\b')
_BREAK = re.compile(r"[.'] *(?:SH|SS|PP|P|LP|TP|IP|Sh|Ss|Pp|It)\b")
_ESCAPES = (
  (re.compile(r'\\f(?:\[\w*\]|\(..|.)|\\s[-+]?\d+|\\[&%:|^/,cpz]|\\\*(?:\[\w*\]|\(..|.)|\\".*'), ''),
  (re.compile(r'\\\((?:aq|oq|cq)|\\\[(?:aq|oq|cq)\]'), "'"),
  (re.compile(r'\\\((?:lq|rq|dq)|\\\[(?:lq|rq|dq)\]'), '"'),
  (re.compile(r'\\\(..|\\\[[^\]]*\]'), ' '),
  (re.compile(r'\\-'), '-'),
  (re.compile(r'\\[~0 ]'), ' '),
  (re.compile(r'\\e'), r'\\'),
)


def content(path: str) -> bytes | None:
  """The bytes of a regular file, unpacked if it is gzip; None if it cannot be read or is too large."""
  try:
    status = os.lstat(path)
    if not stat.S_ISREG(status.st_mode) or status.st_size > LARGEST:
      return None
    with open(path, 'rb') as file:
      data = file.read(LARGEST + 1)
    if data.startswith(_GZIP):
      with gzip.open(path) as unpacked:
        data = unpacked.read(LARGEST + 1)
  except (OSError, EOFError, zlib.error):
    return None
  return data if len(data) <= LARGEST else None


def plain(data: bytes) -> str | None:
  """A file as text.

  >>> plain(b'caf\\xc3\\xa9\\r\\n')
  'café\\n'
  """
  if b'\0' in data:
    return None
  try:
    return data.decode('utf-8-sig').replace('\r\n', '\n')
  except UnicodeDecodeError:
    return None


def catalogue(data: bytes) -> str | None:
  """The translations of a gettext catalogue (.mo), one message after the other, without the messages they translate."""
  pairs = messages(data)
  return None if pairs is None else '\n'.join(form for _, translated in pairs for form in translated if form)


def messages(data: bytes) -> list[tuple[list[str], list[str]]] | None:
  """The messages of a gettext catalogue (.mo) and their translations: of each its forms, of which most have one.

  A context, which is for translators, is left out.

  Source: the format as in the manual of GNU gettext, "The Format of GNU MO Files".
  """
  number = next((form for form, magic in _CATALOGUE if data.startswith(magic)), None)
  if number is None or len(data) < 20:
    return None
  order = number[0]
  count, originals, translations = struct.unpack_from(f'{order}3I', data, 8)
  if max(originals, translations) + 8 * count > len(data):
    return None
  entry = lambda table, index: _slice(data, *struct.unpack_from(f'{order}2I', data, table + 8 * index))
  pairs = [(entry(originals, index), entry(translations, index)) for index in range(count)]
  header = next((translated for original, translated in pairs if not original), b'')
  charset = (_CHARSET.search(header) or (b'', b'utf-8'))[1].decode('ascii')
  texts = [(original.rpartition(b'\4')[2], translated) for original, translated in pairs if original]
  decoded = [(_decoded(original, charset), _decoded(translated, charset)) for original, translated in texts]
  if any(text is None for pair in decoded for text in pair):
    return None
  return [(str(original).split('\0'), str(translated).split('\0')) for original, translated in decoded]


def manual_page(data: bytes) -> str | None:
  """A manual page without the requests of roff, a blank line between its paragraphs.

  >>> manual_page(b'.TH LS 1\\n.SH NAME\\nls \\\\- list\\n.\\\\" no text\\n.PP\\n\\\\fBls\\\\fR lists.\\n')
  'NAME\\nls - list\\n\\nls lists.\\n'
  """
  text = plain(data)
  if text is None or text.startswith('.so '):
    return None
  lines: list[str] = []
  for line in text.split('\n'):
    if _BREAK.match(line) and lines and lines[-1]:
      lines.append('')
    if line.startswith(('.', "'")):
      request = _WITH_TEXT.match(line)
      line = line[request.end() :].replace('"', '').strip() if request else ''
    if line.strip():
      lines.append(_without_escapes(line))
  return '\n'.join([*lines, '']).lstrip('\n')


def _without_escapes(line: str) -> str:
  for pattern, replacement in _ESCAPES:
    line = pattern.sub(replacement, line)
  return line


def _slice(data: bytes, length: int, start: int) -> bytes:
  return data[start : start + length]


def _decoded(data: bytes, charset: str) -> str | None:
  try:
    return data.decode(codecs.lookup(charset).name)
  except (LookupError, UnicodeError, ValueError):
    return None
