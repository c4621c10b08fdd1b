"""An export whose files are cut or changed is refused in words, whatever TensorFlow raises."""

import os
import shutil

import pytest
import tensorflow as tf

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
