"""What a file of a checkpoint must be before it is opened: a regular file, not what stands for one."""

import os
import stat

from switch_zoo import lfs_pointer
from switch_zoo.errors import UserError

MAX_TEXT = 1 << 20
# Links are followed, because the caches of Hugging Face's hub are made of them.
KINDS = {
    stat.S_IFDIR: 'a folder', stat.S_IFIFO: 'a pipe', stat.S_IFSOCK: 'a socket', stat.S_IFCHR: 'a device',
    stat.S_IFBLK: 'a device',
}  # fmt: skip


def exists(path: str) -> bool:
  """Whether there is something at a path; a link that leads nowhere is something too.

  Raises:
    UserError: it is not a regular file
  """
  if not os.path.lexists(path):
    return False
  check_regular(path)
  return True


def check_regular(path: str) -> None:
  """Refuses what would block its reader, or never end, and links that lead nowhere.

  Raises:
    UserError: it is not a regular file
  """
  try:
    mode = os.stat(path).st_mode
  except OSError as error:
    if os.path.islink(path):
      raise UserError(f'{path} is a link to {os.readlink(path)}, which is not there. Copy the file itself.') from error
    raise UserError(f'{path} cannot be opened: {error.strerror}.') from error
  if not stat.S_ISREG(mode):
    raise UserError(
      f'{path} is {KINDS.get(stat.S_IFMT(mode), "not a regular file")}, and must be a file. Copy it again.'
    )


def check_text(path: str) -> None:
  """Refuses what is not a short text in UTF-8.

  Raises:
    UserError: it is not
  """
  check_regular(path)
  if os.path.getsize(path) > MAX_TEXT:
    raise UserError(f'{path} has more than {MAX_TEXT:,} bytes, too many for such a file. Copy it again.')
  try:
    with open(path, encoding='utf-8') as file:
      file.read()
  except UnicodeDecodeError as error:
    raise UserError(f'{path} is not text in UTF-8: byte {error.start:,} is not. Copy it again.') from error


def check_weights(path: str) -> None:
  """Refuses also a pointer of Git LFS.

  Raises:
    UserError: it is not a regular file, or it is a pointer
  """
  check_regular(path)
  with open(path, 'rb') as file:
    lfs_pointer.check(path, file.read(lfs_pointer.MAX_BYTES))
