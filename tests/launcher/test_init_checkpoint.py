"""Weights that a training starts from: which checkpoints are taken, and what is said of the others."""

import mesh_tensorflow as mtf
import ml_dtypes
import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from switch_zoo.errors import UserError
from switch_zoo.launcher import init_checkpoint


@pytest.fixture
def saved(tmp_path):
  """Saves variables in a folder; returns the prefix."""

  def save(**variables):
    with tf.Graph().as_default(), tf.Session() as session:
      for name, value in variables.items():
        tf.Variable(value, name=name)
      session.run(tf.global_variables_initializer())
      return tf.train.Saver().save(session, str(tmp_path / 'pretrained' / 'model.ckpt'), global_step=9)

  (tmp_path / 'pretrained').mkdir()
  return save


def model():
  """A graph with the variables a [2, 3] and b [4]."""
  graph = mtf.Graph()
  mesh = mtf.Mesh(graph, 'mesh')
  for name, sizes in (('a', (2, 3)), ('b', (4,))):
    mtf.get_variable(mesh, name, mtf.Shape([mtf.Dimension(f'{name}{i}', size) for i, size in enumerate(sizes)]))
  return graph


A, B = np.zeros((2, 3), np.float32), np.zeros(4, np.float32)


def test_a_checkpoint_of_the_model(saved, tmp_path):
  prefix = saved(a=A, b=B, a_slot_v=A, global_step=np.int64(9))
  assert init_checkpoint.find(str(tmp_path / 'pretrained')) == init_checkpoint.find(prefix) == prefix
  assert init_checkpoint.check(prefix, model()) == ''


def test_weights_that_are_missing_are_named(saved):
  words = init_checkpoint.check(saved(a=A), model())
  assert words.startswith('1 of 2 weights are not in ') and words.endswith(' and start random: b.')


def test_the_filter_decides_what_is_loaded(saved):
  assert 'start random: b.' in init_checkpoint.check(saved(a=A, b=B), model(), '^a$')


REFUSED = {
  'other shapes': ({'a': B, 'b': B}, r'is the checkpoint of another model: a is \[4\] in the checkpoint and \[2, 3\]'),
  'other names': ({'c': A, 'c_slot_v': A}, 'has no weight of this model: it has c, and the model has a; b'),
  'half precision': (
    {'a': A.astype(ml_dtypes.bfloat16), 'b': B},
    r'a is bfloat16, and training reads float32. Convert it with `switch_zoo convert .*/pretrained/model.ckpt-9 '
    r'.*/pretrained_float32 --to mesh --dtype float32`, and give .*/pretrained_float32\.',
  ),
}


@pytest.mark.parametrize('case', REFUSED)
def test_weights_that_do_not_fit(saved, case):
  variables, words = REFUSED[case]
  with pytest.raises(UserError, match=words):
    init_checkpoint.check(saved(**variables), model())


def test_a_hugging_face_folder_is_named_with_the_command_that_converts_it(tmp_path):
  for name in ('config.json', 'model.safetensors'):
    (tmp_path / name).touch()
  with pytest.raises(UserError) as refused:
    init_checkpoint.find(str(tmp_path))
  assert f'switch_zoo convert {tmp_path} {tmp_path}_mesh --to mesh --dtype float32' in str(refused.value)


def test_a_damaged_one(saved, tmp_path):
  prefix = saved(a=A, b=B)
  (data,) = (tmp_path / 'pretrained').glob('*.data*')
  data.write_bytes(b'')
  for path in (prefix, str(tmp_path / 'pretrained')):
    with pytest.raises(UserError, match='is truncated'):
      init_checkpoint.find(path)
