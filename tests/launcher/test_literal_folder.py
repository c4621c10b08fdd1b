"""Folders of models whose names TensorFlow reads as patterns."""

import os

import pytest
import tensorflow.compat.v1 as tf

from switch_zoo.errors import UserError
from switch_zoo.launcher import init_checkpoint, latest, literal_folder, preflight

NAMES = ['run[1]', 'run*', 'what?']


def save(folder, steps):
  """Saves a variable at every step, as training does."""
  with tf.Graph().as_default(), tf.Session() as session:
    variable = tf.get_variable('v', initializer=0.0, use_resource=False)
    saver = tf.train.Saver(max_to_keep=2)
    session.run(tf.global_variables_initializer())
    for step in steps:
      session.run(variable.assign(float(step)))
      saver.save(session, os.path.join(folder, 'model.ckpt'), global_step=step)


@pytest.mark.parametrize('name', NAMES)
def test_checkpoints_in_a_folder_with_brackets(tmp_path, name):
  model_dir = str(tmp_path / name)
  os.makedirs(model_dir)
  with literal_folder.alias(model_dir) as folder:
    save(folder, (1, 2, 3))
    assert tf.train.latest_checkpoint(folder) == os.path.join(folder, 'model.ckpt-3')
  assert not os.path.exists(folder)
  assert sorted(os.listdir(model_dir))[:2] == ['checkpoint', 'model.ckpt-2.data-00000-of-00001']
  assert (tmp_path / name / 'checkpoint').read_text().splitlines() == [
    'model_checkpoint_path: "model.ckpt-3"',
    'all_model_checkpoint_paths: "model.ckpt-2"',
    'all_model_checkpoint_paths: "model.ckpt-3"',
  ]
  with literal_folder.alias(model_dir) as again:
    preflight.checkpoint_present(again)
    assert tf.train.load_checkpoint(latest.newest(again)).get_tensor('v') == 3


def test_a_folder_that_was_trained_under_its_own_name(tmp_path):
  model_dir = str(tmp_path / 'run[1]')
  os.makedirs(model_dir)
  save(model_dir, (5,))
  with literal_folder.alias(model_dir) as folder:
    assert tf.train.latest_checkpoint(folder) == os.path.join(folder, 'model.ckpt-5')


def test_a_folder_that_is_only_read_stays_as_it_is(tmp_path):
  folder = str(tmp_path / 'run[1]')
  os.makedirs(folder)
  save(folder, (5,))
  before = {name: os.stat(os.path.join(folder, name)).st_mtime_ns for name in os.listdir(folder)}
  with literal_folder.link(folder) as path:
    assert tf.train.load_checkpoint(os.path.join(path, 'model.ckpt-5')).get_tensor('v') == 5
  assert {name: os.stat(os.path.join(folder, name)).st_mtime_ns for name in os.listdir(folder)} == before


def test_weights_are_taken_from_a_folder_with_brackets(tmp_path):
  folder = str(tmp_path / 'run[1]')
  os.makedirs(folder)
  save(folder, (5,))
  prefix = init_checkpoint.find(folder)
  assert init_checkpoint.tensors_of(prefix) == {'v': ([], 'float32')}


def test_errors_name_the_folder_itself(tmp_path):
  model_dir = str(tmp_path / 'run[1]')
  os.makedirs(model_dir)
  with pytest.raises(UserError) as error, literal_folder.alias(model_dir) as folder:
    preflight.checkpoint_present(folder)
  assert str(error.value).startswith(f'--model_dir={model_dir} contains no checkpoint')


def test_other_folders_keep_their_names(tmp_path):
  for name in (str(tmp_path), 'gs://bucket/run[1]', str(tmp_path / 'absent[1]')):
    with literal_folder.alias(name) as folder:
      assert folder == name
