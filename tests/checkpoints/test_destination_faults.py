"""Where a conversion writes: a disk that is full, a folder that is in the way, and what can be resumed."""

import errno
import os
import resource
import shutil

import oracles
import pytest

from switch_zoo.checkpoints import arrays, conversion
from switch_zoo.checkpoints.request_checks import Request
from switch_zoo.errors import UserError


@pytest.fixture(scope='module')
def source(tmp_path_factory):
  """A folder with a checkpoint of transformers."""
  return oracles.save(oracles.switch(), tmp_path_factory.mktemp('good') / 'hf')


def test_no_space_is_seen_before_anything_is_written(source, tmp_path, monkeypatch):
  monkeypatch.setattr(shutil, 'disk_usage', lambda path: shutil._ntuple_diskusage(1, 1, 1000))
  with pytest.raises(UserError, match=r'has 0.00 GB free, but 0.02 GB are needed. Free some space'):
    conversion.convert(Request(source, str(tmp_path / 'new'), 'mesh'))
  assert not list(tmp_path.iterdir())


def test_a_disk_that_fills_up_leaves_what_can_be_resumed(source, tmp_path, monkeypatch):
  with monkeypatch.context() as patched:
    write, left = arrays.write_region, [10]

    def fills_up(descriptor, offset, array):
      left[0] -= 1
      if left[0] < 0:
        raise OSError(errno.ENOSPC, 'No space left on device')
      write(descriptor, offset, array)

    patched.setattr(arrays, 'write_region', fills_up)
    with pytest.raises(UserError, match='No space is left for .* with --resume'):
      conversion.convert(Request(source, str(tmp_path / 'new'), 'mesh'))
  assert [path.name for path in tmp_path.iterdir()] == ['new.partial']
  result = conversion.convert(Request(source, str(tmp_path / 'new'), 'mesh', resume=True))
  assert result.resumed and [path.name for path in tmp_path.iterdir()] == ['new']


def test_a_folder_that_cannot_be_written(source, tmp_path, monkeypatch):
  monkeypatch.setattr(os, 'access', lambda path, mode: False)
  with pytest.raises(UserError, match='You may not write to .*, where new is to be made'):
    conversion.convert(Request(source, str(tmp_path / 'new'), 'mesh'))


@pytest.mark.parametrize('resume', [False, True])
@pytest.mark.parametrize('left', [(), ('conversion.journal.new',), ('conversion.journal',)])
def test_what_a_kill_before_the_record_left_is_not_in_the_way(source, tmp_path, left, resume):
  (tmp_path / 'new.partial').mkdir()
  for name in left:
    (tmp_path / 'new.partial' / name).touch()
  assert conversion.convert(Request(source, str(tmp_path / 'new'), 'mesh', resume=resume)).resumed == 0
  assert [path.name for path in tmp_path.iterdir()] == ['new']
  assert not [path.name for path in (tmp_path / 'new').iterdir() if 'journal' in path.name]


def test_through_a_link_to_an_empty_folder(source, tmp_path):
  (tmp_path / 'disk').mkdir()
  (tmp_path / 'disk' / 'new').mkdir()
  (tmp_path / 'link').symlink_to(tmp_path / 'disk' / 'new')
  conversion.convert(Request(source, str(tmp_path / 'link'), 'mesh'))
  assert (tmp_path / 'link').is_symlink() and (tmp_path / 'link' / 'model.gin').exists()
  assert [path.name for path in (tmp_path / 'disk').iterdir()] == ['new']


def test_a_mount_point_is_refused_before_anything_is_written(source, tmp_path, monkeypatch):
  (tmp_path / 'disk').mkdir()
  monkeypatch.setattr(os.path, 'ismount', lambda path: path == str(tmp_path / 'disk'))
  with pytest.raises(UserError, match=r'is where a disk is mounted.*disk/NAME\.'):
    conversion.convert(Request(source, str(tmp_path / 'disk'), 'mesh'))
  assert [path.name for path in tmp_path.iterdir()] == ['disk']


def test_a_name_that_the_system_refuses_leaves_all_of_it(source, tmp_path, monkeypatch):
  def refuses(source, destination):
    raise OSError(errno.EBUSY, 'Device or resource busy')

  with monkeypatch.context() as patched:
    patched.setattr(os, 'rename', refuses)
    with pytest.raises(UserError, match='is complete, but cannot be renamed to .*new: Device or resource busy'):
      conversion.convert(Request(source, str(tmp_path / 'new'), 'mesh'))
  result = conversion.convert(Request(source, str(tmp_path / 'new'), 'mesh', resume=True))
  assert result.resumed == result.parts


def test_a_limit_on_the_size_of_files_is_seen_before_anything_is_written(source, tmp_path, monkeypatch):
  monkeypatch.setattr(resource, 'getrlimit', lambda kind: (1000, 1000))
  with pytest.raises(UserError, match='this shell allows 0.00 GB. Raise the limit'):
    conversion.convert(Request(source, str(tmp_path / 'new'), 'mesh'))
  assert not list(tmp_path.iterdir())
