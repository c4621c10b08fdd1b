"""Git LFS pointers: what a clone without Git LFS has in place of its large files.

A pointer is a text of less than 1024 bytes that begins with its version.
Source: https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md
"""

import re

from switch_zoo.errors import UserError

MAX_BYTES = 1024  # a pointer is shorter
_BEGINNING = re.compile(rb'version (?:https?://git-lfs\.github\.com/spec|https?://hawser\.github\.com/spec)/v\d+\r?\n')
_SIZE = re.compile(rb'^size (\d+)\r?$', re.MULTILINE)


def is_pointer(beginning: bytes) -> bool:
  """Whether a file that begins with these bytes is a pointer.

  >>> is_pointer(b'version https://git-lfs.github.com/spec/v1\\noid sha256:0123\\nsize 12\\n')
  True
  """
  return _BEGINNING.match(beginning) is not None


def check(name: str, beginning: bytes) -> None:
  """Refuses a pointer.

  Args:
    name: of the file, as the user knows it
    beginning: its first MAX_BYTES bytes, or more
  Raises:
    UserError: it is a pointer
  """
  if is_pointer(beginning):
    raise UserError(f'{name} is {describe_pointer(beginning)}')


def describe_pointer(beginning: bytes) -> str:
  """What a pointer is and what to do about it: the rest of a sentence about its file."""
  size = _SIZE.search(beginning[:MAX_BYTES])
  stored = f' of {int(size[1]):,} bytes' if size else ''
  return (
    'a Git LFS pointer, not the file itself: the repository was cloned without Git LFS. To download the '
    f'file{stored}, run `git lfs install` and `git lfs pull` in that repository.'
  )
