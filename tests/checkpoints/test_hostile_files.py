"""Files made to deceive, to crash, to hang or to fill the memory: each is refused in a moment, with what is wrong."""

import json
import os
import struct
import time

import h5py
import numpy as np
import pytest
import random_models

from switch_zoo.checkpoints import (
  conversion,
  file_checks,
  json_files,
  keras_files,
  names,
  protocol_buffer,
  safetensors_files,
  sources,
  sstable,
  tensor_bundle,
)
from switch_zoo.checkpoints.arrays import BFLOAT16, TensorInfo
from switch_zoo.checkpoints.request_checks import Request
from switch_zoo.errors import UserError

CONFIG = random_models.tiny('switch_base_8')
DEEP = b'{"a":' * 100_000


def safetensors(path, header, data=bytes(8)):
  text = header if isinstance(header, bytes) else json.dumps(header).encode()
  path.write_bytes(struct.pack('<Q', len(text)) + text + data)
  return str(path)


def entry(first, end, dtype='F32', shape=None):
  return {'dtype': dtype, 'shape': [(end - first) // 4] if shape is None else shape, 'data_offsets': [first, end]}


HEADERS = {
  'a hole between tensors': ({'a': entry(0, 4), 'b': entry(8, 12)}, bytes(12), 'b does not follow the tensor before'),
  'a hole at the beginning': ({'a': entry(4, 8)}, bytes(8), 'a does not follow'),
  'an overlap': ({'a': entry(0, 8), 'b': entry(4, 8)}, bytes(8), 'b overlaps the tensor before'),
  'two tensors in one place': ({'a': entry(0, 8), 'b': entry(0, 8)}, bytes(8), 'overlaps the tensor before'),
  'a byte too many': ({'a': entry(0, 8)}, bytes(9), 'so that the tensors may have moved'),
  'a byte too few': ({'a': entry(0, 8)}, bytes(7), 'is truncated'),
  'a name twice': (b'{"a":%b,"a":%b}' % ((json.dumps(entry(0, 8)).encode(),) * 2), bytes(8), 'a occurs twice'),
  'offsets that are not whole': ({'a': entry(0, 8.0, shape=[2])}, bytes(8), 'not whole numbers'),
  'a size that is true': ({'a': entry(0, 4, shape=[True])}, bytes(4), 'not whole numbers'),
  'a size that is a text': ({'a': entry(0, 8, shape=['2'])}, bytes(8), 'not whole numbers'),
  'a size below zero': ({'a': entry(0, 8, shape=[-1, -2])}, bytes(8), 'not whole numbers'),
  'a size beyond all files': ({'a': entry(0, 8, shape=[1 << 63, 0])}, bytes(8), 'not whole numbers'),
  'a shape that is a number': ({'a': entry(0, 8, shape=2)}, bytes(8), 'not whole numbers'),
  'three offsets': ({'a': {'dtype': 'F32', 'shape': [], 'data_offsets': [0, 4, 8]}}, bytes(8), 'no type, shape'),
  'an entry that is a list': ({'a': []}, b'', 'no type, shape and offsets'),
  'an unknown type': ({'a': entry(0, 8, 'F4')}, bytes(8), 'is of type F4'),
  'a type that is a list': ({'a': entry(0, 8, ['F32'])}, bytes(8), 'is of type'),
  'a deep header': (DEEP, b'', 'nested too deeply'),
  'a list': (b'[]', b'', 'holds no JSON object'),
  'a number of ten thousand digits': (b'{"a":' + b'9' * 10_000 + b'}', b'', 'is not JSON'),
  'not UTF-8': (b'{"\xff":1}', b'', 'is not JSON'),
}


# What the library of 0.8 takes: of two entries of a name the last.
LENIENT = ('a size beyond all files', 'a name twice')


@pytest.mark.parametrize(('header', 'data', 'words'), HEADERS.values(), ids=HEADERS)
def test_a_safetensors_file_against_the_rules_is_refused(tmp_path, header, data, words):
  with pytest.raises(UserError, match=words):
    safetensors_files.regions(safetensors(tmp_path / 'a.safetensors', header, data))


@pytest.mark.parametrize('name', [name for name in HEADERS if name not in LENIENT])
def test_the_formats_own_reader_refuses_what_we_refuse(tmp_path, name):
  library = pytest.importorskip('safetensors')
  header, data, _ = HEADERS[name]
  path = safetensors(tmp_path / 'a.safetensors', header, data)
  # F4 is a type it knows, but not in one of eight bytes.
  with pytest.raises(Exception, match='.'), library.safe_open(path, 'numpy') as file:
    file.get_tensor('a')


def test_tensors_without_entries_may_be_anywhere(tmp_path):
  header = {'a': entry(0, 4), 'none': entry(4, 4, shape=[0, 3]), 'b': entry(4, 8)}
  assert safetensors_files.regions(safetensors(tmp_path / 'a.safetensors', header)).keys() == header.keys()


class Hdf5:
  """A weights file, with the variable v/vars/a in another way than Keras writes it."""

  def __init__(self, folder):
    self.secret = folder / 'secret'
    self.secret.write_bytes(b'password' * 4)
    self.file = h5py.File(folder / 'model.weights.h5', 'w')
    self.group = self.file.create_group('v/vars')


def with_external_storage(hdf5):
  hdf5.group.create_dataset('a', (4,), 'f4', external=[(str(hdf5.secret), 0, 16)])


def virtual(hdf5):
  layout = h5py.VirtualLayout((4,), 'f4')
  layout[:] = h5py.VirtualSource(str(hdf5.secret), 'x', (4,))
  hdf5.group.create_virtual_dataset('a', layout)


def half_written(hdf5):
  hdf5.group.create_dataset('a', (8,), 'f4', chunks=(4,))[:4] = 1


def said_to_be(dtype, stored):
  def make(hdf5):
    hdf5.group.create_dataset('a', data=np.zeros(2, stored)).attrs['dtype'] = dtype

  return make


HDF5 = {
  'external storage': (with_external_storage, 'v/vars/a has its values in another file'),
  'a virtual dataset': (virtual, 'v/vars/a has its values in another file'),
  'never written': (lambda hdf5: hdf5.group.create_dataset('a', (4,), 'f4'), 'v/vars/a was never written'),
  'half of it written': (half_written, 'was never written, or not all of it'),
  'a terabyte that is not there': (lambda hdf5: hdf5.group.create_dataset('a', (1 << 38,), 'f4'), 'was never written'),
  'a bomb': (
    lambda hdf5: hdf5.group.create_dataset('a', data=np.zeros(1 << 20, 'f4'), compression='gzip'),
    'is compressed or filtered',
  ),
  'no shape': (lambda hdf5: hdf5.group.create_dataset('a', data=h5py.Empty('f4')), 'has no shape'),
  'float32 that is said to be bfloat16': (said_to_be('bfloat16', 'f4'), 'stored as float32, but .* says bfloat16'),
  'float64 that is said to be float32': (said_to_be('float32', 'f8'), 'stored as float64, but .* says float32'),
  'four bytes that are said to be bfloat16': (said_to_be('bfloat16', 'V4'), 'but its attribute says bfloat16'),
}


@pytest.mark.parametrize(('make', 'words'), HDF5.values(), ids=HDF5)
def test_a_keras_file_whose_values_are_not_in_it_is_refused(tmp_path, make, words):
  hdf5 = Hdf5(tmp_path)
  make(hdf5)
  hdf5.file.close()
  with pytest.raises(UserError, match=words):
    keras_files.KerasTensors(str(tmp_path / 'model.weights.h5'))


@pytest.mark.parametrize('link', [h5py.ExternalLink('secret', '/x'), h5py.SoftLink('/nowhere')])
def test_links_in_a_keras_file_are_not_followed(tmp_path, link):
  hdf5 = Hdf5(tmp_path)
  hdf5.group['a'] = link
  hdf5.group['self'] = hdf5.file['/']
  hdf5.group['b'] = np.ones(2, 'f4')
  hdf5.file.close()
  assert list(keras_files.KerasTensors(str(tmp_path / 'model.weights.h5')).infos) == ['v/vars/b']


def test_what_keras_writes_is_read(tmp_path):
  hdf5 = Hdf5(tmp_path)
  hdf5.group['a'] = np.float32([1, 2])
  hdf5.group.create_dataset('b', data=np.zeros(2, BFLOAT16).view('V2')).attrs['dtype'] = 'bfloat16'
  hdf5.group.create_dataset('c', (2,), 'f4', chunks=(2,))[...] = 3
  hdf5.group['none'] = np.zeros((0, 3), 'f4')
  hdf5.file.close()
  tensors = keras_files.KerasTensors(str(tmp_path / 'model.weights.h5'))
  assert tensors.infos['v/vars/b'] == TensorInfo((2,), BFLOAT16)
  assert [tensors.read(f'v/vars/{name}').tolist() for name in ('a', 'c', 'none')] == [[1, 2], [3, 3], []]


def index(tmp_path, header=(), **fields):
  """A checkpoint with the tensor a = [1, 2], some numbers in its entry replaced."""
  numbers = {'DTYPE': 1, 'SHARD': 0, 'OFFSET': 0, 'SIZE': 8} | fields
  entry_bytes = b''.join(
    protocol_buffer.varint_field(getattr(tensor_bundle, field), number) for field, number in numbers.items()
  )
  entry_bytes += protocol_buffer.bytes_field(
    tensor_bundle.SHAPE, protocol_buffer.bytes_field(tensor_bundle.DIM, protocol_buffer.varint_field(1, 2))
  )
  start = b''.join(protocol_buffer.varint_field(field, number) for field, number in dict(header).items())
  table = {b'': start or protocol_buffer.varint_field(tensor_bundle.NUM_SHARDS, 1), b'a': entry_bytes}
  (tmp_path / 'model.ckpt-1.index').write_bytes(sstable.write(table))
  (tmp_path / 'model.ckpt-1.data-00000-of-00001').write_bytes(np.float32([1, 2]).tobytes())
  return str(tmp_path / 'model.ckpt-1')


INDICES = {
  'a data file that does not exist': ({'SHARD': 9}, 'a is in data file 9, and there are 1'),
  'an offset beyond the file': ({'OFFSET': 4}, 'is truncated: a ends at byte 12'),
  'an offset beyond all files': ({'OFFSET': (1 << 64) - 1}, 'is truncated'),
  'a size that is not that of the shape': ({'SIZE': 4}, 'a has 4 bytes, and a shape of 8'),
  'the other byte order': ({'header': {tensor_bundle.ENDIANNESS: 1}}, 'big-endian'),
  'a trillion data files': ({'header': {tensor_bundle.NUM_SHARDS: 1 << 40}}, 'is missing'),
}


@pytest.mark.parametrize(('fields', 'words'), INDICES.values(), ids=INDICES)
def test_an_index_that_does_not_fit_its_data_is_refused(tmp_path, fields, words):
  with pytest.raises(UserError, match=words):
    tensor_bundle.TensorBundle(index(tmp_path, **fields))


def block(content):
  """A table whose only block has these bytes, with a right checksum."""
  table = bytearray()
  body = content + sstable.NO_COMPRESSION
  table += body + struct.pack('<I', sstable.crc32c.masked(sstable.crc32c.checksum(bytes(body))))
  inner = sstable.varint(0) + sstable.varint(len(content))
  handles = sstable._append(table, []) + sstable._append(table, [(b'z', inner)])
  return bytes(table) + handles.ljust(sstable.FOOTER_SIZE - 8, b'\0') + struct.pack('<Q', sstable.MAGIC)


ONE_RESTART = struct.pack('<2I', 0, 1)
BLOCKS = {
  'empty': (b'', 'too short'),
  'more restarts than bytes': (struct.pack('<I', 1 << 31), 'a block of it is too short'),
  'a name longer than the block': (b'\0\x7f\0a' + ONE_RESTART, 'longer than its block'),
  'a beginning of nothing': (b'\5\1\0a' + ONE_RESTART, 'longer than its block'),
  'a name twice': (b'\0\1\0a\0\1\0a' + ONE_RESTART, 'not in order'),
  'a name that is not UTF-8': (b'\0\1\0\xff' + ONE_RESTART, "can't decode"),
  'a message that is cut off': (b'\0\1\2a\x12\x7f' + ONE_RESTART, 'an entry of it is cut off'),
}


@pytest.mark.parametrize(('content', 'words'), BLOCKS.values(), ids=BLOCKS)
def test_an_index_with_right_checksums_and_wrong_contents_is_refused(tmp_path, content, words):
  (tmp_path / 'model.ckpt-1.index').write_bytes(block(content))
  (tmp_path / 'model.ckpt-1.data-00000-of-00001').write_bytes(b'')
  with pytest.raises(UserError, match=words):
    tensor_bundle.TensorBundle(str(tmp_path / 'model.ckpt-1'))


@pytest.fixture(scope='module')
def folders(tmp_path_factory):
  """kind -> a good checkpoint."""
  root = tmp_path_factory.mktemp('formats')
  mesh = random_models.save_mesh(root / 'mesh', random_models.values(CONFIG), slots=False)
  for to in ('keras', 'hf'):
    conversion.convert(Request(mesh, str(root / to), to))
  return {kind: root / kind for kind in ('mesh', 'keras', 'hf')}


FILES = {
  'hf': ['model.safetensors', 'config.json', 'model.gin'],
  'keras': ['model.weights.h5', 'model.gin'],
  'mesh': ['model.ckpt-0.index', 'model.ckpt-0.data-00000-of-00001'],
}
IN_PLACE = {
  'a pipe': (os.mkfifo, 'is a pipe, and must be a file'),
  'a folder': (os.mkdir, 'is a folder, and must be a file'),
  'a device': (lambda path: os.symlink('/dev/zero', path), 'is a device, and must be a file'),
  'a link to nothing': (lambda path: os.symlink('nowhere', path), 'is a link to nowhere, which is not there'),
  'a link to itself': (lambda path: os.symlink(path, path), 'is a link to .*, which is not there'),
}


@pytest.mark.parametrize(('make', 'words'), IN_PLACE.values(), ids=IN_PLACE)
@pytest.mark.parametrize(('kind', 'file'), [(kind, file) for kind, files in FILES.items() for file in files])
def test_what_is_not_a_file_is_named(folders, tmp_path, kind, file, make, words):
  for path in folders[kind].iterdir():
    os.symlink(path, tmp_path / path.name)
  (tmp_path / file).unlink()
  make(str(tmp_path / file))
  with pytest.raises(UserError, match=f'{file} {words}'):
    sources.open_source(str(tmp_path))


@pytest.mark.parametrize('kind', FILES)
def test_links_to_files_are_followed(folders, tmp_path, kind):
  for path in folders[kind].iterdir():
    os.symlink(path, tmp_path / path.name)
  assert sources.open_source(str(tmp_path)).config.num_experts == 3


@pytest.mark.parametrize(
  ('kind', 'setting'),
  [
    ('keras', 'num_encoder_layers = 2000000000'),
    ('hf', 'num_decoder_layers = 2000000000'),
    ('hf', 'num_experts = 1000000000'),
  ],
)
def test_a_model_that_the_tensors_contradict_is_refused_in_a_moment(folders, tmp_path, kind, setting):
  for path in folders[kind].iterdir():
    os.symlink(path, tmp_path / path.name)
  gin = (tmp_path / 'model.gin').read_text()
  (tmp_path / 'model.gin').unlink()
  (tmp_path / 'model.gin').write_text(f'{gin}\n{setting}\n')
  started = time.monotonic()
  with pytest.raises(UserError, match=r'model.gin says num_\w+ = [12],000,000,000, but .* tensors in all'):
    sources.open_source(str(tmp_path))
  assert time.monotonic() - started < 5


def test_a_type_of_activations_that_does_not_exist_is_refused(folders, tmp_path):
  for path in folders['keras'].iterdir():
    os.symlink(path, tmp_path / path.name)
  gin = (tmp_path / 'model.gin').read_text()
  (tmp_path / 'model.gin').unlink()
  (tmp_path / 'model.gin').write_text(f"{gin}\nactivation_dtype = 'jfloat16'\n")
  with pytest.raises(UserError, match="activation_dtype is 'jfloat16'"):
    conversion.convert(Request(str(tmp_path), str(tmp_path / 'new'), 'mesh'))
  assert not (tmp_path / 'new').exists()


@pytest.mark.parametrize('file', ['config.json', 'model.safetensors.index.json'])
def test_deep_json_is_refused(folders, tmp_path, file):
  for path in folders['hf'].iterdir():
    if path.name not in (file, 'model.gin'):
      os.symlink(path, tmp_path / path.name)
  (tmp_path / file).write_bytes(DEEP)
  with pytest.raises(UserError, match=f'{file} is not JSON: it is nested too deeply'):
    sources.open_source(str(tmp_path))


def test_a_name_twice_in_an_index_is_refused(tmp_path):
  (tmp_path / 'a.json').write_text('{"weight_map": {"a": "1", "a": "2"}}')
  with pytest.raises(UserError, match='a occurs twice'):
    json_files.read(str(tmp_path / 'a.json'), unique=True)


def test_huge_json_is_not_read(tmp_path):
  with open(tmp_path / 'a.json', 'wb') as file:
    file.truncate(json_files.MAX_BYTES + 1)
  with pytest.raises(UserError, match='bytes of JSON'):
    json_files.read(str(tmp_path / 'a.json'))


def test_a_number_of_ten_thousand_digits_in_a_name_is_no_layer():
  assert names.find_place('hugging_face', f'encoder.block.{"9" * 10_000}.layer.0.layer_norm.weight') is None


def test_escape_codes_in_names_do_not_reach_the_terminal(tmp_path):
  path = safetensors(tmp_path / 'a.safetensors', {'\x1b]0;mine\x07\x9b31m\u202e': entry(0, 8, 'F4')})
  with pytest.raises(UserError) as caught:
    safetensors_files.regions(path)
  assert r'\x1b]0;mine\x07\x9b31m\u202e is of type F4' in str(caught.value)


def test_a_half_surrogate_in_a_name_can_be_printed(tmp_path):
  path = safetensors(tmp_path / 'a.safetensors', b'{"\\ud800":{"dtype":"F4","shape":[],"data_offsets":[0,4]}}')
  with pytest.raises(UserError) as caught:
    safetensors_files.regions(path)
  assert str(caught.value).encode()


def test_a_pointer_of_git_lfs_is_named(folders, tmp_path):
  (tmp_path / 'config.json').write_bytes((folders['hf'] / 'config.json').read_bytes())
  pointer = b'version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 990000000\n'
  for file in ('model.safetensors', 'pytorch_model.bin'):
    (tmp_path / file).write_bytes(pointer)
    with pytest.raises(UserError, match=rf'{file} is a Git LFS pointer.*990,000,000 bytes.*git lfs pull'):
      sources.open_source(str(tmp_path))
    (tmp_path / file).unlink()


def test_a_missing_file_is_not_there(tmp_path):
  assert not file_checks.exists(str(tmp_path / 'nothing'))
