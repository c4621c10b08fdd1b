"""An export whose files are cut or changed is refused in words, whatever TensorFlow raises."""

import json
import os
import shutil

import pytest
import tensorflow as tf

from switch_zoo.checkpoints import file_checksums
from switch_zoo.errors import UserError
from switch_zoo.serving import saved_model

DATA = 'variables/variables.data-00000-of-00001'


@pytest.fixture(scope='module')
def export(tmp_path_factory):
  module = tf.Module()
  module.number = tf.Variable([1.0, 2.0])
  lengths = tf.function(
    lambda text: {'length': tf.strings.length(text) + tf.cast(module.number[0], tf.int32)},
    input_signature=[tf.TensorSpec([None], tf.string, name='text')],
  )
  folder = tmp_path_factory.mktemp('export')
  tf.saved_model.save(module, str(folder / '1'), signatures=lengths)
  return folder


def test_a_whole_one_answers(export):
  loaded = saved_model.load(saved_model.find(str(export)))
  assert loaded.run('serving_default', {'text': [b'ab']}) == {'length': [3]}


@pytest.mark.parametrize('keep', [0.0, 0.5, 0.99])
@pytest.mark.parametrize('file', ['saved_model.pb', 'variables/variables.index', DATA])
def test_a_cut_file(export, tmp_path, file, keep):
  shutil.copytree(export, tmp_path / 'copy')
  path = tmp_path / 'copy' / '1' / file
  os.truncate(path, int(path.stat().st_size * keep))
  with pytest.raises(UserError, match='cannot be loaded|is not a SavedModel|has no graph'):
    saved_model.load(saved_model.find(str(tmp_path / 'copy')))


@pytest.fixture
def checked(export, tmp_path):
  """A copy with checksums."""
  folder = tmp_path / 'checked'
  shutil.copytree(export, folder)
  file_checksums.write(str(folder / '1'))
  return folder


def load(folder):
  return saved_model.load(saved_model.find(str(folder)))


def test_a_whole_one_with_checksums_answers_and_may_have_other_files(checked):
  (checked / '1' / 'assets.extra').mkdir()
  (checked / '1' / 'assets.extra' / 'tf_serving_warmup_requests').write_bytes(b'any')
  assert load(checked).run('serving_default', {'text': [b'ab']}) == {'length': [3]}


def flip(path):
  data = bytearray(path.read_bytes())
  data[len(data) // 2] ^= 1
  path.write_bytes(data)


def replace_by_folder(path):
  path.unlink()
  path.mkdir()


DAMAGES = {
  'changed': (flip, 'is not what was exported: its checksum'),
  'cut': (lambda path: os.truncate(path, path.stat().st_size - 1), 'bytes, and had'),
  'longer': (lambda path: path.write_bytes(path.read_bytes() + b'0'), 'bytes, and had'),
  'missing': (os.remove, 'is missing'),
  'a folder': (replace_by_folder, 'is a folder'),
  'a pipe': (lambda path: (path.unlink(), os.mkfifo(path)), 'is a pipe'),
}


@pytest.mark.parametrize('damage', DAMAGES)
@pytest.mark.parametrize('file', ['variables/variables.index', DATA, 'fingerprint.pb', 'saved_model.pb'])
def test_checksums_name_the_file(checked, file, damage):
  change, message = DAMAGES[damage]
  change(checked / '1' / file)
  with pytest.raises(UserError, match=f'/1/{file} .*{message}'):
    # The newest version, whatever `find` says of one without saved_model.pb.
    saved_model.load(saved_model.ExportVersion('checked', '1', str(checked / '1')))


def test_an_export_one_has_changed_oneself_is_loaded_without_the_checksums(checked):
  flip(checked / '1' / 'fingerprint.pb')
  (checked / '1' / 'checksums.json').unlink()
  assert load(checked).version == '1'


ENTRY = {'size': 1, 'crc32': 1}
TABLES = [{}, {'files': []}, *({'files': {name: ENTRY}} for name in ('../x', 'a/../../x', '/etc/hostname', '', 'a\0')),
          *({'files': {'saved_model.pb': entry}} for entry in
            (1, {}, {'size': 1}, {**ENTRY, 'size': -1}, {**ENTRY, 'size': 1.0}, {**ENTRY, 'x': 1}))]  # fmt: skip


@pytest.mark.parametrize('table', [{'algorithm': 'md5', 'files': {}}, *({'algorithm': 'crc32', **t} for t in TABLES)])
def test_a_table_that_is_not_known_is_refused(checked, table):
  (checked / '1' / 'checksums.json').write_text(json.dumps(table))
  with pytest.raises(UserError, match='checksums.json is not a list of checksums'):
    load(checked)


def test_a_table_that_is_cut_is_refused(checked):
  os.truncate(checked / '1' / 'checksums.json', 20)
  with pytest.raises(UserError, match='checksums.json is not JSON'):
    load(checked)
