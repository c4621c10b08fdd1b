"""TensorFlow reads what we write, and we read what TensorFlow writes."""

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from switch_zoo.checkpoints import arrays, crc32c, sstable, tensor_bundle
from switch_zoo.checkpoints.arrays import BFLOAT16, TensorInfo
from switch_zoo.errors import UserError

VALUES = {
  'a/kernel': np.arange(24, dtype=np.float32).reshape(2, 3, 4),
  'a/kernel_slot_vr': np.array([1.5, -2.5], np.float32),
  'b/scale': np.array([1, 2, 3]).astype(BFLOAT16),
  'empty': np.zeros((0, 3), np.float32),
  'global_step': np.array(7, np.int64),
  'half': np.array([0.5], np.float16),
}


def saved(folder, values):
  """A checkpoint written by `tf.train.Saver`."""
  with tf.Graph().as_default(), tf.Session() as session:
    saver = tf.train.Saver([tf.Variable(value, name=name) for name, value in values.items()])
    session.run(tf.global_variables_initializer())
    return saver.save(session, str(folder / 'model.ckpt'), global_step=7)


def written(prefix, values, shards=1):
  """A checkpoint written by us, with the tensors in the data files by turns."""
  entries, offsets = {}, [0] * shards
  for number, (name, value) in enumerate(values.items()):
    shard = number % shards
    with open(tensor_bundle.data_file(prefix, shard, shards), 'ab') as file:
      file.write(value.tobytes())
    entries[name] = tensor_bundle.BundleEntry(
      TensorInfo(value.shape, value.dtype), shard, offsets[shard], crc32c.checksum(value)
    )
    offsets[shard] += value.nbytes
  tensor_bundle.write_index(prefix, entries, shards)


def test_reads_what_tensorflow_writes(tmp_path):
  bundle = tensor_bundle.TensorBundle(saved(tmp_path, VALUES))
  assert bundle.infos == {name: TensorInfo(value.shape, value.dtype) for name, value in VALUES.items()}
  for name, value in VALUES.items():
    np.testing.assert_array_equal(bundle.read(name), value)
  np.testing.assert_array_equal(bundle.read('a/kernel', 1), VALUES['a/kernel'][1])


@pytest.mark.parametrize('shards', [1, 3])
def test_tensorflow_reads_what_we_write(tmp_path, shards):
  prefix = str(tmp_path / 'model.ckpt-0')
  written(prefix, VALUES, shards)
  reader = tf.train.load_checkpoint(prefix)
  assert reader.get_variable_to_shape_map() == {name: list(value.shape) for name, value in VALUES.items()}
  for name, value in VALUES.items():
    # Reading checks the checksums.
    np.testing.assert_array_equal(reader.get_tensor(name), value)


def test_an_index_of_several_blocks(tmp_path):
  values = {f'encoder/block_{number:05d}/a_rather_long_name/kernel': np.float32([number]) for number in range(6000)}
  prefix = str(tmp_path / 'model.ckpt-0')
  written(prefix, values)
  assert (tmp_path / 'model.ckpt-0.index').stat().st_size > sstable.BLOCK_SIZE
  reader = tf.train.load_checkpoint(prefix)
  assert reader.get_variable_to_shape_map().keys() == values.keys()
  assert reader.get_tensor('encoder/block_04711/a_rather_long_name/kernel') == [4711]
  assert tensor_bundle.TensorBundle(prefix).infos.keys() == values.keys()


@pytest.mark.parametrize('index', [None, 1], ids=['read whole', 'read in parts'])
def test_a_bit_that_changed_is_noticed(tmp_path, index):
  prefix = saved(tmp_path, VALUES)
  path = tmp_path / 'model.ckpt-7.data-00000-of-00001'
  data = bytearray(path.read_bytes())
  data[data.index(VALUES['a/kernel'][1].tobytes())] ^= 1
  path.write_bytes(data)
  bundle = tensor_bundle.TensorBundle(prefix)
  bundle.read('b/scale')
  if index:
    bundle.read('a/kernel', 0)  # not damaged itself, and the rest is not yet read
  with pytest.raises(UserError, match='is damaged: a/kernel has the checksum'):
    bundle.read('a/kernel', index)


def test_a_wrong_checksum_is_what_tensorflow_would_refuse(tmp_path):
  """The check above can fail."""
  prefix = str(tmp_path / 'model.ckpt-0')
  written(prefix, {'a': np.float32([1])})
  (tmp_path / 'model.ckpt-0.data-00000-of-00001').write_bytes(np.float32([2]).tobytes())
  with pytest.raises(tf.errors.OpError, match='Checksum does not match'):
    tf.train.load_checkpoint(prefix).get_tensor('a')


def test_partitioned_variables_are_refused(tmp_path):
  with tf.Graph().as_default(), tf.Session() as session:
    tf.get_variable('cut', [4, 2], partitioner=tf.fixed_size_partitioner(2))
    session.run(tf.global_variables_initializer())
    prefix = tf.train.Saver().save(session, str(tmp_path / 'model.ckpt'))
  with pytest.raises(UserError, match='stores cut in slices'):
    tensor_bundle.TensorBundle(prefix)


@pytest.mark.parametrize('flipped', [3, 40, -20, -1])
def test_a_damaged_index_is_refused(tmp_path, flipped):
  prefix = str(tmp_path / 'model.ckpt-0')
  written(prefix, VALUES)
  index = tmp_path / 'model.ckpt-0.index'
  data = bytearray(index.read_bytes())
  data[flipped] ^= 1
  if flipped == -20:
    data = data[:-20]
  index.write_bytes(data)
  with pytest.raises(UserError, match='is not the index of a TensorFlow checkpoint'):
    tensor_bundle.TensorBundle(prefix)


def test_transposition_by_stripes():
  matrix = np.arange(200 * 3).reshape(200, 3)
  np.testing.assert_array_equal(arrays.transposed(matrix), matrix.T)
