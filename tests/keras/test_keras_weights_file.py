"""`*.weights.h5`: written whole or not at all, and read whole or not at all."""

import shutil
import zlib

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf

import switch_zoo
from switch_zoo.checkpoints import keras_files, sources
from switch_zoo.errors import UserError
from switch_zoo.keras import SwitchTransformer

SMALL = ['d_model = 8', 'd_ff = 16', 'd_kv = 4', 'num_heads = 2', 'vocab_size = 128', 'num_experts = 2']
KERNEL = 'encoder/block_000/layer_003/MoE1D/wi/vars/kernel'
TABLE = 'shared/vars/embedding'


def made(*parameters):
  return SwitchTransformer(switch_zoo.load_config('tiny_switch_8', [*SMALL, *parameters]))


@pytest.fixture(scope='module')
def model():
  return made()


@pytest.fixture
def path(model, tmp_path):
  model.save_weights(tmp_path / 'mine.weights.h5')
  return tmp_path / 'mine.weights.h5'


def values(model):
  return [weight.numpy() for weight in model.weights]


def unchanged(model, before):
  return all(np.array_equal(old, new) for old, new in zip(before, values(model), strict=True))


def test_saved_and_loaded(model, path):
  other = made()
  assert not unchanged(other, values(model))
  other.load_weights(str(path))
  assert unchanged(other, values(model))


def test_one_weight_is_changed_in_the_file_and_in_the_model(model, path):
  with h5py.File(path, 'r+') as file:
    file[KERNEL][1] = 7.0
    del file[KERNEL].attrs['crc32']
  other = made()
  other.load_weights(path)
  kernel = other.encoder.block_000.layer_003.MoE1D.wi.kernel.numpy()
  assert (kernel[1] == 7.0).all()
  np.testing.assert_array_equal(kernel[0], model.named_weights['encoder/block_000/layer_003/MoE1D/wi/kernel'][0])


def test_every_variable_has_the_checksum_of_its_bytes_and_experts_have_one_each(path):
  with h5py.File(path) as file:
    arrays = {name: (file[name][()], file[name].attrs['crc32']) for name in (KERNEL, TABLE)}
  kernel, table = arrays[KERNEL], arrays[TABLE]
  assert kernel[1].tolist() == [zlib.crc32(kernel[0][expert].tobytes()) for expert in range(2)]
  assert table[1] == zlib.crc32(table[0].tobytes())


def flip(path, array):
  """Changes the last bit of an array's first byte, wherever it is in a file."""
  data = bytearray(path.read_bytes())
  assert data.count(array.tobytes()) == 1
  data[data.index(array.tobytes())] ^= 1
  path.write_bytes(data)


@pytest.mark.parametrize('name', [KERNEL, TABLE, 'decoder/rms_norm/vars/scale'])
def test_a_bit_that_changed_is_noticed_and_no_weight_is_changed(name, path):
  tf.keras.utils.set_random_seed(1)
  source = made()
  for weight in source.weights:
    weight.assign(tf.random.normal(weight.shape))  # norms begin as ones, all alike
  source.save_weights(path)
  flip(path, source.named_weights[name.replace('vars/', '')].numpy())
  other = made()
  before = values(other)
  with pytest.raises(UserError, match=f'mine.weights.h5: {name} is not what was written'):
    other.load_weights(path)
  assert unchanged(other, before)


def test_convert_reads_the_experts_that_are_whole(path, folder, model):
  kernel = model.named_weights['encoder/block_000/layer_003/MoE1D/wi/kernel'].numpy()
  flip(path.parent / 'folder' / 'model.weights.h5', kernel[1])
  source = sources.open_source(folder)
  np.testing.assert_array_equal(source.read('encoder/block_000/layer_003/MoE1D/wi/kernel', 0), kernel[0])
  with pytest.raises(UserError, match=f'{KERNEL} is not what was written'):
    source.read('encoder/block_000/layer_003/MoE1D/wi/kernel', 1)


@pytest.mark.parametrize('attribute', ['text', 1.5, np.uint32([1, 2, 3]), np.uint32([[1], [2]]), -1])
def test_an_attribute_that_is_no_checksum_is_refused(attribute, path):
  with h5py.File(path, 'r+') as file:
    file[KERNEL].attrs['crc32'] = attribute
  with pytest.raises(UserError, match=f'{KERNEL} has an attribute crc32 that is not its checksum'):
    made().load_weights(path)


def test_a_file_without_checksums_is_read(model, path):
  with h5py.File(path, 'r+') as file:
    file.visititems(lambda _, item: item.attrs.pop('crc32', None))
  other = made()
  other.load_weights(path)
  assert unchanged(other, values(model))


def test_keras_itself_ignores_the_checksums(tmp_path):
  """A model that is not ours, saved by Keras; we write the same values into the same file, with their checksums."""
  simple = lambda: keras.Sequential([keras.layers.Input([3]), keras.layers.Dense(2), keras.layers.Dense(4)])
  saved = simple()
  saved.save_weights(tmp_path / 'theirs.weights.h5')
  theirs = keras_files.KerasTensors(str(tmp_path / 'theirs.weights.h5'))
  ours = str(tmp_path / 'ours.weights.h5')
  shutil.copy(tmp_path / 'theirs.weights.h5', ours)
  keras_files.fill(ours, {name: theirs.read(name) for name in theirs.infos})
  with h5py.File(ours) as file:
    assert all('crc32' in file[name].attrs for name in theirs.infos) and len(theirs.infos) == 4
  other = simple()
  other.load_weights(ours)
  assert unchanged(other, values(saved))


def test_saving_again_replaces_the_file(path):
  other = made()
  other.save_weights(path)
  third = made()
  third.load_weights(path)
  assert unchanged(third, values(other))
  assert [file.name for file in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize('step', ['create', 'fill'])
def test_a_file_that_cannot_be_written_leaves_the_old_one_and_nothing_else(step, model, path, monkeypatch):
  def full(*_):
    raise OSError(28, 'No space left on device')

  before = path.read_bytes()
  monkeypatch.setattr(keras_files, step, full)
  with pytest.raises(OSError, match='No space left'):
    made().save_weights(path)
  assert path.read_bytes() == before
  assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_a_folder_that_does_not_exist(model, tmp_path):
  with pytest.raises(OSError, match='No such file'):
    model.save_weights(tmp_path / 'gone' / 'mine.weights.h5')


def delete(file, name):
  del file[name]


def add(file, name):
  file[name] = np.zeros([2, 3])


def reshape(file, name):
  delete(file, name)
  add(file, name)


CHANGES = {
  'missing': (delete, KERNEL, f'{KERNEL} is missing from the file.$'),
  'more': (add, 'encoder/other/vars/kernel', 'encoder/other/vars/kernel is only in the file.$'),
  'shape': (reshape, TABLE, rf'{TABLE} is \[2, 3\] in the file and \[128, 8\] in the model.$'),
  'number of axes': (reshape, KERNEL, rf'{KERNEL} is \[2, 3\] in the file and \[2, 8, 16\] in the model.$'),
}


@pytest.mark.parametrize('change', CHANGES)
def test_a_difference_is_named_and_no_weight_is_changed(change, path):
  damage, name, message = CHANGES[change]
  with h5py.File(path, 'r+') as file:
    damage(file, name)
  other = made()
  before = values(other)
  with pytest.raises(UserError, match=f'mine.weights.h5 does not hold the weights of tiny_switch_8: .*{message}'):
    other.load_weights(path)
  assert unchanged(other, before)


def test_the_first_three_differences_are_enough(path):
  with pytest.raises(UserError) as caught:
    made('d_model = 16').load_weights(path)
  assert str(caught.value).count(' in the file and ') == 3


@pytest.mark.parametrize('content', [b'', b'not HDF5'])
def test_a_file_of_another_kind(content, model, tmp_path):
  (tmp_path / 'bad.weights.h5').write_bytes(content)
  with pytest.raises(UserError, match='bad.weights.h5'):
    model.load_weights(tmp_path / 'bad.weights.h5')


def test_a_truncated_file(model, path):
  cut = path.with_name('cut.weights.h5')
  cut.write_bytes(path.read_bytes()[:-1000])
  with pytest.raises(UserError, match='cut.weights.h5'):
    model.load_weights(cut)


@pytest.mark.skipif(keras.__version__.startswith('3.'), reason='Keras 3 writes files named *.weights.h5 only')
def test_another_name_is_a_file_as_keras_writes_it(model, tmp_path):
  """A TensorFlow checkpoint, which Keras writes for a name without a suffix."""
  model.save_weights(tmp_path / 'checkpoint' / 'mine')
  assert tf.train.latest_checkpoint(tmp_path / 'checkpoint')
  other = made()
  other.load_weights(tmp_path / 'checkpoint' / 'mine').assert_consumed()
  assert unchanged(other, values(model))


@pytest.fixture
def folder(path):
  """A folder of `switch_zoo convert`."""
  folder = path.parent / 'folder'
  folder.mkdir()
  shutil.copy(path, folder / 'model.weights.h5')
  (folder / 'model.gin').write_text("include 'models/tiny_switch_8.gin'\n" + '\n'.join(SMALL) + '\n')
  return str(folder)


@pytest.mark.parametrize(('dtype', 'kept_as'), [('bfloat16', 'bfloat16'), ('mixed_bfloat16', 'float32')])
def test_weights_are_loaded_in_the_dtype_that_was_asked_for(dtype, kept_as, folder, model):
  loaded = switch_zoo.load(folder, dtype=dtype)
  table = loaded.shared.embedding
  assert (table.dtype, loaded.compute_dtype) == (kept_as, 'bfloat16')
  np.testing.assert_array_equal(tf.cast(table, 'bfloat16'), tf.cast(model.shared.embedding, 'bfloat16'))
  # Global is what it was.
  assert tf.keras.mixed_precision.global_policy().name == 'float32'


def test_weights_for_a_model_of_another_shape(folder):
  with pytest.raises(UserError, match='tiny_dense'):
    switch_zoo.load('tiny_dense', folder)


def test_a_gin_file_may_describe_the_weights(folder, model, tmp_path):
  gin = tmp_path / 'shape.gin'
  shutil.move(f'{folder}/model.gin', gin)
  assert unchanged(switch_zoo.load(str(gin), folder), values(model))
