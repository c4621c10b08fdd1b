"""Reading a file of a vocabulary: its size is checked before memory is taken; errors say what a wrong file is."""

import json
import os
import re
from typing import Any

import tensorflow as tf

from switch_zoo import lfs_pointer
from switch_zoo.errors import UserError

# As Hugging Face names a sentencepiece model, as `switch_zoo demo` does, and the file of transformers 5.
NAMES = ('spiece.model', 'vocabulary.model', 'tokenizer.json')
# mT5's sentencepiece model has 4 MB, its tokenizer.json 16 MB.
MAX_BYTES = 200_000_000
RULE = f'A vocabulary is a sentencepiece model ({NAMES[0]}) or a tokenizer.json with a Unigram model.'
# Not '[PAD]', with which the vocabulary of a BERT begins.
_JSON = re.compile(rb'\s*(\{|\[\s*[]\[{"0-9-])')
_UTF16 = (b'\xff\xfe', b'\xfe\xff')


def is_file(path: str) -> bool:
  """Whether there is such a file, local or remote."""
  return tf.io.gfile.exists(path) and not tf.io.gfile.isdir(path)


def read(path: str) -> bytes:
  """The bytes of a file of a vocabulary.

  Raises:
    UserError: it is a folder, cannot be read, is empty or too large, or is a Git LFS pointer
  """
  name = f'The vocabulary {path}'
  if tf.io.gfile.isdir(path):
    inside = next(filter(is_file, (os.path.join(path, file) for file in NAMES)), None)
    raise UserError(f'{name} is a folder. {f"Give the file in it: {inside}" if inside else RULE}')
  try:
    size = tf.io.gfile.stat(path).length
    if size > MAX_BYTES:
      raise UserError(f'{name} has {size:,} bytes, and at most {MAX_BYTES:,} are read: it is another file. {RULE}')
    with tf.io.gfile.GFile(path, 'rb') as file:
      data = file.read()
  except tf.errors.OpError as error:
    raise UserError(f'{name} cannot be read: {error.message}') from error
  if not data:
    raise UserError(f'{name} is empty. Copy or download it again. {RULE}')
  lfs_pointer.check(name, data[: lfs_pointer.MAX_BYTES])
  return data


def is_json(data: bytes) -> bool:
  """Whether a file begins as a JSON object or list does."""
  return _JSON.match(data.removeprefix(b'\xef\xbb\xbf')) is not None


def json_object(path: str, data: bytes) -> dict[str, Any]:
  """A JSON object.

  Args:
    path: of the file, for messages
    data: what it contains
  Raises:
    UserError: it is not a JSON object, or nested too deeply
  """
  try:
    value = json.loads(data.decode('utf-8-sig'))
  except UnicodeDecodeError as error:
    raise UserError(f'{path} is not UTF-8 (byte {error.start:,}). Copy or download it again.') from error
  except json.JSONDecodeError as error:
    raise UserError(
      f'{path}, line {error.lineno}: not JSON ({error.msg}). The file is cut off or was edited: copy or download it '
      'again.'
    ) from error
  except RecursionError as error:
    raise UserError(f'{path} is nested too deeply to be the file of a tokenizer. Copy or download it again.') from error
  if not isinstance(value, dict):
    raise UserError(f'{path} is a JSON {type(value).__name__}, not an object. Copy or download it again.')
  return value


def kind(data: bytes) -> str:
  """What a file that is not a vocabulary seems to be, as the rest of a sentence.

  >>> kind(b'<!DOCTYPE html><html>')
  'it is a web page, perhaps an error or a login page that was saved under this name'
  """
  beginning = data[:4096].lstrip()
  if beginning[:1] == b'<' and b'html' in beginning[:512].lower():
    return 'it is a web page, perhaps an error or a login page that was saved under this name'
  if is_json(beginning):
    return 'it is JSON'
  if beginning[:2] in _UTF16 or _is_text(beginning):
    return 'it is text'
  if beginning[:2] == b'\x1f\x8b' or beginning[:4] == b'PK\x03\x04':
    return 'it is compressed; unpack it'
  return 'it is cut off, damaged or another kind of file'


def _is_text(beginning: bytes) -> bool:
  text = beginning.decode('utf-8', errors='ignore')  # a character may be cut at the end
  return len(text.encode()) > len(beginning) - 4 and all(char.isprintable() or char.isspace() for char in text)
