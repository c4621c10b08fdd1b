"""Git LFS pointers are recognised by their first line and refused with the command that helps."""

import pytest

from switch_zoo import lfs_pointer
from switch_zoo.errors import UserError

POINTER = b'version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 791656\n'


@pytest.mark.parametrize(
  ('beginning', 'expected'),
  [
    (POINTER, True),
    (POINTER.replace(b'\n', b'\r\n'), True),
    (b'version https://hawser.github.com/spec/v1\noid sha256:0\nsize 1\n', True),
    (b'version https://git-lfs.github.com/spec/v1\next-0-foo sha256:0\noid sha256:0\nsize 1\n', True),
    (b'', False),
    (b'version', False),
    (b'version 1\n', False),
    (b'See version https://git-lfs.github.com/spec/v1\n', False),
    (b'\x0a\x0b\x0a\x05<pad>', False),
  ],
)
def test_a_pointer_is_known_by_its_first_line(beginning, expected):
  assert lfs_pointer.is_pointer(beginning) is expected


def test_the_message_names_the_file_the_size_and_the_command():
  message = r'hub/spiece\.model is a Git LFS pointer, .* of 791,656 bytes, run `git lfs install` and `git lfs pull`'
  with pytest.raises(UserError, match=message):
    lfs_pointer.check('hub/spiece.model', POINTER)
  lfs_pointer.check('hub/spiece.model', b'anything else')


def test_a_pointer_without_a_size_is_refused_too():
  with pytest.raises(UserError, match='To download the file, run'):
    lfs_pointer.check('model.bin', POINTER.partition(b'size')[0])
