"""The newest checkpoint of a folder, whatever happened to its files. TensorFlow writes the checkpoints."""

import pathlib
import shutil

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from switch_zoo.checkpoints import mesh_folder, sources
from switch_zoo.errors import UserError


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
  """A folder with the checkpoints of steps 50 and 100."""
  folder = tmp_path_factory.mktemp('trained')
  with tf.Graph().as_default(), tf.Session() as session:
    tf.Variable(np.arange(6, dtype=np.float32), name='kernel')
    session.run(tf.global_variables_initializer())
    saver = tf.train.Saver(save_relative_paths=True)
    for step in (50, 100):
      saver.save(session, str(folder / 'model.ckpt'), global_step=step, write_meta_graph=False)
  return folder


@pytest.fixture
def folder(trained, tmp_path):
  """A copy of it, in a folder with a name that is also a pattern."""
  return pathlib.Path(shutil.copytree(trained, tmp_path / 'run[1]'))


INDEX, DATA = 'model.ckpt-100.index', 'model.ckpt-100.data-00000-of-00001'


def cut(path):
  path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


# What happened to the state file -> the step of the newest checkpoint, and what is said.
STATES = {
  'nothing': (lambda path: None, 100, ''),
  'names an older one': (lambda path: path.write_text('model_checkpoint_path: "model.ckpt-50"\n'), 50, ''),
  'deleted': (lambda path: path.unlink(), 100, 'is missing'),
  'empty': (lambda path: path.write_text(''), 100, 'is damaged'),
  'zeros': (lambda path: path.write_bytes(bytes(80)), 100, 'is damaged'),
  'cut in the first line': (lambda path: path.write_text('model_checkpoint_path: "model.ck'), 100, 'is damaged'),
  'cut after it': (lambda path: path.write_text('model_checkpoint_path: "model.ckpt-50"\nall_mo'), 50, ''),
  'of a step that is gone': (lambda path: path.write_text('model_checkpoint_path: "model.ckpt-7"\n'), 100, 'no file'),
  'of the folder before it was moved': (
    lambda path: path.write_text('model_checkpoint_path: "/elsewhere/model.ckpt-50"\n'),
    50,
    '',
  ),
}


@pytest.mark.parametrize('case', STATES)
def test_the_state_file_decides_if_it_can(folder, case):
  change, step, words = STATES[case]
  change(folder / 'checkpoint')
  newest = mesh_folder.newest(str(folder))
  assert newest.prefix == str(folder / f'model.ckpt-{step}') and newest.damage == ''
  assert words in newest.note and bool(words) == bool(newest.note)


# What happened to the files of the newest -> what is said of them.
DAMAGES = {
  'index missing': (INDEX, pathlib.Path.unlink, f'{INDEX} is missing'),
  'index empty': (INDEX, lambda path: path.write_bytes(b''), 'is not the index of a TensorFlow checkpoint'),
  'index cut': (INDEX, cut, 'is not the index of a TensorFlow checkpoint'),
  'index of zeros': (INDEX, lambda path: path.write_bytes(bytes(200)), 'is not the index of a TensorFlow checkpoint'),
  'data missing': (DATA, pathlib.Path.unlink, f'{DATA} is missing'),
  'data cut': (DATA, cut, f'{DATA} is truncated: kernel ends at byte 24, the file at 12.'),
}


@pytest.mark.parametrize('case', DAMAGES)
def test_a_damaged_newest_is_refused_and_the_older_one_named(folder, case):
  name, change, words = DAMAGES[case]
  change(folder / name)
  newest = mesh_folder.newest(str(folder))
  assert words in newest.damage and newest.fallback == str(folder / 'model.ckpt-50')
  with pytest.raises(UserError) as refused:
    sources.open_source(str(folder))
  assert words in str(refused.value) and f'or give {folder}/model.ckpt-50, which is whole.' in str(refused.value)


def test_a_step_of_which_nothing_is_left_was_deleted(folder):
  (folder / INDEX).unlink()
  (folder / DATA).unlink()
  newest = mesh_folder.newest(str(folder))
  assert newest.prefix.endswith('-50') and 'names model.ckpt-100, of which there is no file' in newest.note


def test_nothing_to_fall_back_to(folder):
  for path in folder.glob('*.data*'):
    cut(path)
  assert mesh_folder.newest(str(folder)).fallback is None


def test_a_folder_without_checkpoints(tmp_path):
  assert mesh_folder.newest(str(tmp_path)) is None and mesh_folder.newest(str(tmp_path / 'none')) is None
  (tmp_path / 'checkpoint').write_text('model_checkpoint_path: "model.ckpt-7"\n')
  assert mesh_folder.newest(str(tmp_path)) is None


def test_of_one_checkpoint_without_a_state_file_nothing_is_said(folder):
  for name in ('checkpoint', INDEX, DATA):
    (folder / name).unlink()
  assert mesh_folder.newest(str(folder)) == (str(folder / 'model.ckpt-50'), '', '', None)


def test_partitioned_variables_are_not_damaged(tmp_path):
  with tf.Graph().as_default(), tf.Session() as session:
    tf.get_variable('cut', [4, 2], partitioner=tf.fixed_size_partitioner(2))
    session.run(tf.global_variables_initializer())
    assert mesh_folder.is_whole(tf.train.Saver().save(session, str(tmp_path / 'model.ckpt')))


@pytest.mark.parametrize('name', ['model.ckpt', 'modäll "x".ckpt'])
def test_tensorflow_reads_the_state_that_we_write(tmp_path, trained, name):
  for step in (50, 100):
    for path in trained.glob(f'model.ckpt-{step}.*'):
      shutil.copy(path, tmp_path / path.name.replace('model.ckpt', name))
  mesh_folder.write_state(str(tmp_path), str(tmp_path / f'{name}-100'))
  state = tf.train.get_checkpoint_state(str(tmp_path))
  assert state.model_checkpoint_path == str(tmp_path / f'{name}-100')
  assert list(state.all_model_checkpoint_paths) == [str(tmp_path / f'{name}-{step}') for step in (50, 100)]
  assert mesh_folder.newest(str(tmp_path)).prefix == state.model_checkpoint_path


LEFTOVERS = [
  'model.ckpt-70_temp/part-00000-of-00001.data-00000-of-00001',
  'model.ckpt-70_temp_5ca1ab1e/part-00000-of-00001.index',
  'model.ckpt-70.meta.tmp5ca1ab1e',
  'model.ckpt-70.index.tempstate17',
  'model.ckpt-70.data-00000-of-00001.tempstate17',
  'model.ckpt-70.data-00000-of-00001',
  'graph.pbtxt.tmp5ca1ab1e',
  'checkpoint.tmp5ca1ab1e',
]
OTHERS = [
  'operative_config.gin',
  'events.out.tfevents.1',
  'notes_temp/mine',
  'mine.tmp',
  'model.ckpt-120.data-00000-of-00001',
]


def test_leftovers_of_a_killed_training_are_removed_and_nothing_else(folder):
  before = {path for path in folder.rglob('*') if path.is_file()}
  for name in (*LEFTOVERS, *OTHERS):
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text('')
  mesh_folder.remove_leftovers(str(folder), str(folder / 'model.ckpt-100'))
  assert {path for path in folder.rglob('*') if path.is_file()} == before | {folder / name for name in OTHERS}
  assert not list(folder.glob('*_temp_*')) and not (folder / 'model.ckpt-70_temp').exists()


def test_a_state_file_of_nothing_is_removed_and_t5xs_is_not(tmp_path):
  state = tmp_path / 'checkpoint'
  for content, stays in ((b'', False), (b'model_checkpoint_path: "x"\n', False), (b'\x81\xa6target\x80', True)):
    state.write_bytes(content)
    mesh_folder.remove_state(str(tmp_path))
    assert state.exists() == stays
