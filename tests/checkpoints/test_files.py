"""Safetensors and PyTorch files, against the libraries they come from."""

import collections
import os
import pickle
import pickletools
import zipfile

import numpy as np
import pytest

from switch_zoo.checkpoints import arrays, safetensors_files, torch_files, torch_pickle
from switch_zoo.checkpoints.arrays import BFLOAT16, TensorInfo
from switch_zoo.errors import UserError

torch = pytest.importorskip('torch')
safetensors_torch = pytest.importorskip('safetensors.torch')


def as_numpy(tensor):
  return tensor.view(torch.int16).numpy().view(BFLOAT16) if tensor.dtype == torch.bfloat16 else tensor.numpy()


STATE = {
  'matrix': torch.arange(12, dtype=torch.float32).reshape(3, 4),
  'narrow': torch.tensor([1.5, -2.0, 3.0]).to(torch.bfloat16),
  'half': torch.tensor([[0.25]], dtype=torch.float16),
  'numbers': torch.tensor([1, 2], dtype=torch.int64),
}


def test_reads_safetensors(tmp_path):
  safetensors_torch.save_file(STATE, tmp_path / 'a.safetensors')
  regions = safetensors_files.regions(str(tmp_path / 'a.safetensors'))
  assert regions.keys() == STATE.keys()
  for name, tensor in STATE.items():
    np.testing.assert_array_equal(arrays.read_region(regions[name]), as_numpy(tensor))
  np.testing.assert_array_equal(arrays.read_region(regions['matrix'].part(2)), [8, 9, 10, 11])


def test_writes_safetensors(tmp_path):
  values = {name: as_numpy(tensor) for name, tensor in STATE.items()}
  header, offsets = safetensors_files.header({name: TensorInfo(v.shape, v.dtype) for name, v in values.items()})
  path = tmp_path / 'b.safetensors'
  path.write_bytes(header + b''.join(value.tobytes() for value in values.values()))
  assert offsets['matrix'] == len(header) and len(header) % 8 == 0
  loaded = safetensors_torch.load_file(path)
  assert loaded.keys() == STATE.keys()
  assert all(torch.equal(loaded[name], tensor) for name, tensor in STATE.items())


def test_shards_hold_at_most_their_size():
  infos = {
    name: TensorInfo((size,), np.dtype(np.float32)) for name, size in {'a': 1, 'b': 2, 'c': 9, 'd': 1, 'e': 1}.items()
  }
  assert [list(shard) for shard in safetensors_files.shards(infos, 12)] == [['a', 'b'], ['c'], ['d', 'e']]


class View(torch.nn.Module):
  def __init__(self):
    super().__init__()
    self.weight = torch.nn.Parameter(torch.arange(6.0).reshape(2, 3).T)


def test_reads_pytorch_as_pytorch_does(tmp_path):
  matrix = STATE['matrix']
  state = collections.OrderedDict(
    STATE,
    transposed=matrix.T,
    column=matrix[:, 1],
    part=matrix[1:],
    shared=matrix,
    scalar=torch.tensor(3.0),
    parameter=View().weight,
  )
  path = tmp_path / 'a.bin'
  torch.save(state, path)
  expected = torch.load(path, weights_only=True)
  file = torch_files.TorchFile(str(path))
  assert file.infos.keys() == expected.keys()
  for name, tensor in expected.items():
    np.testing.assert_array_equal(file.read(name), as_numpy(tensor.detach()), err_msg=name)
    if tensor.ndim:
      np.testing.assert_array_equal(file.read(name, 1 % len(tensor)), as_numpy(tensor.detach()[1 % len(tensor)]))


class Malice:
  """What a pickle can do."""

  def __init__(self, path):
    self.path = path

  def __reduce__(self):
    return os.mkdir, (self.path,)


def test_a_pickle_with_code_is_refused_and_not_run(tmp_path):
  torch.save({'a': torch.zeros(1), 'b': Malice(str(tmp_path / 'made'))}, tmp_path / 'a.bin')
  with pytest.raises(UserError, match=r'asks for posix.mkdir to be called .* nothing in the file was run'):
    torch_files.TorchFile(str(tmp_path / 'a.bin'))
  assert not (tmp_path / 'made').exists()


@pytest.mark.parametrize('name', ['eval', 'getattr', '__import__'])
def test_builtins_are_refused(tmp_path, name):
  with zipfile.ZipFile(tmp_path / 'a.bin', 'w') as archive:
    archive.writestr('archive/data.pkl', f'cbuiltins\n{name}\n.')
  with pytest.raises(UserError, match=f'asks for builtins.{name} to be called'):
    torch_files.TorchFile(str(tmp_path / 'a.bin'))


def rewritten(source, target, **changes):
  """A zip archive with some members replaced; None: left out."""
  with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, 'w') as new:
    for name in old.namelist():
      content = changes.get(name.rpartition('/')[2].replace('.', '_'), old.read(name))
      if content is not None:
        new.writestr(name, content)


def with_pickle(path, content):
  """A `.bin` with this pickle, and a storage of four bytes."""
  with zipfile.ZipFile(path, 'w') as archive:
    archive.writestr('archive/data.pkl', content)
    archive.writestr('archive/data/0', bytes(4))


# A storage of float32, its class once as it should be and once as another thing.
STORAGE = b'(X\x07\0\0\0storagec%bX\x01\0\0\x000X\x03\0\0\0cpuK\x01tQ'
FLOAT = STORAGE % b'torch\nFloatStorage\n'
TENSOR = b'ctorch._utils\n_rebuild_tensor_v2\n(' + FLOAT + b'K\x00K\x01\x85K\x01\x85\x89)t'
HOSTILE_PICKLES = {
  'a change of a class of storages': (
    b'ctorch\nBFloat16Storage\n(K\x03X\x01\0\0\0<NNNJ\xff\xff\xff\xffK\0tb.',
    'changes a',
  ),
  'a change of a storage': (FLOAT + b'}b.', 'changes a TorchStorage'),
  'a change of a dict': (b'}}b.', 'changes a dict'),
  'an object of a class': (b'ctorch\nFloatStorage\n)\x81.', 'pickle instruction NEWOBJ'),
  'an old instance': (b'(ios\nsystem\n.', 'pickle instruction INST'),
  'an extension': (b'\x82\x01.', 'pickle instruction EXT1'),
  'an old persistent identifier': (b'Pabc\n.', 'pickle instruction PERSID'),
  'a number without a bound': (b'\x8b\xff\xff\xff\x7f.', 'damaged'),
  'a memory of 64 GB': (b'K\x01r\xff\xff\xff\xff.', 'holds no tensors'),
  'bytes': (b'C\x01a.', 'pickle instruction SHORT_BINBYTES'),
  'a call of a type': (b'ctorch\nfloat32\n)R.', 'calls what is not a function'),
  'a call of a text': (b'X\x01\0\0\0a)R.', 'calls what is not a function'),
  'a key that is a tuple': (b'})K\x01s.', 'a key is neither a text nor a number'),
  'a stack without an end': (b']' * (torch_pickle.MAX_STACK + 1), 'nested too deeply'),
  'a mark that is missing': (b'}u.', 'damaged'),
  'an empty stack': (b'0.', 'pickle instruction POP'),
  'a storage of a class that is none': (STORAGE % b'torch\nfloat32\n' + b'.', 'damaged'),
  'a storage of a parameter': (b'ctorch._utils\n_rebuild_parameter\n(' + FLOAT + b'\x89)tR.', 'is not a tensor'),
  'a shape of texts': (
    b'}X\x01\0\0\0a' + TENSOR.replace(b'K\x01\x85K\x01\x85', b'N\x85N\x85') + b'Rs.',
    'no valid shape',
  ),
  'an expanded tensor': (
    b'}X\x01\0\0\0a' + TENSOR.replace(b'K\x01\x85K\x01\x85', b'J\xff\xff\xff\x7f\x85K\0\x85') + b'Rs.',
    'more entries than are stored',
  ),
  'a quantized tensor': (b'ctorch._utils\n_rebuild_qtensor\n.', 'holds quantized tensors'),
}


@pytest.mark.parametrize(('content', 'words'), HOSTILE_PICKLES.values(), ids=HOSTILE_PICKLES)
def test_a_hostile_pickle_is_refused_and_changes_nothing(tmp_path, content, words):
  before = BFLOAT16.itemsize, repr(BFLOAT16), np.arange(3).astype(BFLOAT16).tobytes()
  with_pickle(tmp_path / 'a.bin', content)
  with pytest.raises(UserError, match=words):
    torch_files.TorchFile(str(tmp_path / 'a.bin'))
  assert before == (BFLOAT16.itemsize, repr(BFLOAT16), np.arange(3).astype(BFLOAT16).tobytes())


def test_the_hostile_pickles_are_refused_for_what_is_hostile(tmp_path):
  with_pickle(tmp_path / 'a.bin', b'}X\x01\0\0\0a' + TENSOR + b'Rs.')
  assert torch_files.TorchFile(str(tmp_path / 'a.bin')).read('a') == [0]


def test_every_instruction_that_is_understood_is_one_of_pickle():
  assert torch_pickle._HANDLERS.keys() <= {opcode.name for opcode in pickletools.opcodes}


@pytest.mark.parametrize('protocol', [2, 3, 4, 5])
@pytest.mark.parametrize(
  'content',
  [
    lambda model: model.state_dict(),
    lambda model: dict(model.named_parameters()),
    lambda model: list(model.named_parameters()),
    lambda model: {
      'state_dict': model.state_dict(),
      'epoch': 3,
      'rate': 0.5,
      'best': None,
      'history': [1, [2, (3, 4)]],
    },
  ],
  ids=['state_dict', 'named_parameters', 'a list of them', 'a training'],
)
def test_all_that_torch_save_writes_is_read(tmp_path, protocol, content):
  model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(4, 2))
  torch.save(content(model), tmp_path / 'a.bin', pickle_protocol=protocol)
  file = torch_files.TorchFile(str(tmp_path / 'a.bin'))
  expected = model.state_dict()
  assert file.infos.keys() == expected.keys()
  for name, tensor in expected.items():
    np.testing.assert_array_equal(file.read(name), tensor.numpy())


def test_tensors_of_new_types_are_read_as_pytorch_does(tmp_path):
  state = {'a': torch.tensor([1, 500], dtype=torch.uint16), 'b': torch.tensor([0.5]).to(torch.float8_e4m3fn)}
  torch.save(state, tmp_path / 'a.bin')
  with zipfile.ZipFile(tmp_path / 'a.bin') as archive:
    assert b'_rebuild_tensor_v3' in archive.read('a/data.pkl')
  file = torch_files.TorchFile(str(tmp_path / 'a.bin'))
  assert file.read('a').tolist() == [1, 500] and file.read('b').astype(float).tolist() == [0.5]


def test_parameters_with_attributes_are_read(tmp_path):
  parameter = torch.nn.Parameter(torch.ones(2))
  parameter.note = 'mine'
  torch.save({'a': parameter}, tmp_path / 'a.bin')
  assert torch_files.TorchFile(str(tmp_path / 'a.bin')).read('a').tolist() == [1, 1]


@pytest.mark.parametrize('read', [lambda f: f.read('a'), lambda f: f.read('b'), lambda f: f.read('a', 1)])
def test_a_bit_that_changed_in_a_bin_is_noticed(tmp_path, read):
  matrix = torch.arange(12.0).reshape(3, 4)
  torch.save({'a': matrix, 'b': torch.arange(100, 112.0).reshape(3, 4)[:, 1]}, tmp_path / 'a.bin')
  good = read(torch_files.TorchFile(str(tmp_path / 'a.bin')))
  data = bytearray((tmp_path / 'a.bin').read_bytes())
  for start in (matrix.numpy().tobytes(), torch.arange(100, 112.0).numpy().tobytes()):
    data[data.index(start) + 47] ^= 1
  (tmp_path / 'a.bin').write_bytes(data)
  with pytest.raises(UserError, match='is damaged: data/. has the checksum'):
    read(torch_files.TorchFile(str(tmp_path / 'a.bin')))
  assert good.size


def test_a_file_that_was_saved_without_checksums_is_read(tmp_path):
  torch.serialization.set_crc32_options(False)
  try:
    torch.save({'a': torch.ones(3)}, tmp_path / 'a.bin')
  finally:
    torch.serialization.set_crc32_options(True)
  assert torch_files.TorchFile(str(tmp_path / 'a.bin')).read('a').tolist() == [1, 1, 1]


def test_a_second_member_of_a_name_is_refused(tmp_path):
  torch.save({'a': torch.ones(3)}, tmp_path / 'a.bin')
  with zipfile.ZipFile(tmp_path / 'a.bin', 'a') as archive, pytest.warns(UserWarning, match='Duplicate'):
    archive.writestr('a/data/0', np.float32([7, 7, 7]).tobytes())
  with pytest.raises(UserError, match='2 members called a/data/0'):
    torch_files.TorchFile(str(tmp_path / 'a.bin'))


def test_a_compressed_pickle_is_refused_before_it_is_unpacked(tmp_path):
  with zipfile.ZipFile(tmp_path / 'a.bin', 'w', zipfile.ZIP_DEFLATED) as archive:
    archive.writestr('a/data.pkl', bytes(1 << 20))
  with pytest.raises(UserError, match='is compressed'):
    torch_files.TorchFile(str(tmp_path / 'a.bin'))


def test_members_that_overlap_are_refused(tmp_path):
  torch.save({'a': torch.ones(3), 'b': torch.zeros(3)}, tmp_path / 'a.bin')
  data = bytearray((tmp_path / 'a.bin').read_bytes())
  entries = [at for at in range(len(data)) if data[at : at + 4] == b'PK\1\2']
  first, second = (
    at for at in entries if b'data/' in data[at + 46 : at + 60] and b'.data' not in data[at + 46 : at + 60]
  )
  # Both storages at the place of the first, and larger: as in a bomb of overlapping members.
  data[second + 42 : second + 46] = data[first + 42 : first + 46]
  (tmp_path / 'a.bin').write_bytes(data)
  with pytest.raises(UserError, match='overlaps what follows it'):
    torch_files.TorchFile(str(tmp_path / 'a.bin'))


def test_a_storage_of_another_type_is_refused(tmp_path):
  torch.save({'a': torch.ones(4)}, tmp_path / 'good.bin')
  with zipfile.ZipFile(tmp_path / 'good.bin') as archive:
    content = archive.read('good/data.pkl')
  rewritten(tmp_path / 'good.bin', tmp_path / 'a.bin', data_pkl=content.replace(b'FloatStorage', b'HalfStorage'))
  with pytest.raises(UserError, match='does not have all bytes of a tensor .*, or has more'):
    torch_files.TorchFile(str(tmp_path / 'a.bin'))


@pytest.mark.parametrize('at', [0, 10, 16, 24, 43, 50])
def test_a_damaged_directory_of_an_archive_is_explained(tmp_path, at):
  torch.save({'a': torch.ones(3)}, tmp_path / 'a.bin')
  data = bytearray((tmp_path / 'a.bin').read_bytes())
  data[data.index(b'PK\1\2') + at] ^= 0xFF
  (tmp_path / 'a.bin').write_bytes(data)
  with pytest.raises(UserError, match='archive|checksum|has no data.pkl|compressed|all bytes'):
    torch_files.TorchFile(str(tmp_path / 'a.bin')).read('a')


@pytest.mark.parametrize(
  ('changes', 'words'),
  [
    ({'data_pkl': None}, 'has no data.pkl'),
    ({'data_pkl': b'\x80'}, 'its list of tensors is damaged'),
    ({'data_pkl': pickle.dumps([1, 2], 2)}, 'holds no tensors by name'),
    ({'byteorder': b'big'}, 'big-endian'),
    ({'0': b'abc'}, 'does not have all bytes of a tensor'),
    ({'0': None}, 'does not have all bytes of a tensor'),
  ],
  ids=['no pickle', 'damaged', 'a list', 'big-endian', 'short storage', 'no storage'],
)
def test_a_damaged_archive_is_refused(tmp_path, changes, words):
  torch.save({'a': torch.zeros(3)}, tmp_path / 'good.bin')
  rewritten(tmp_path / 'good.bin', tmp_path / 'a.bin', **changes)
  with pytest.raises(UserError, match=words):
    torch_files.TorchFile(str(tmp_path / 'a.bin'))


def test_a_view_outside_its_storage_is_refused(tmp_path):
  torch.save({'a': torch.zeros(3)}, tmp_path / 'good.bin')
  with zipfile.ZipFile(tmp_path / 'good.bin') as archive:
    content = archive.read('good/data.pkl')
  # K\x03\x85: the shape (3,); four entries of a storage of three.
  assert content.count(b'K\x03\x85') == 1
  rewritten(tmp_path / 'good.bin', tmp_path / 'a.bin', data_pkl=content.replace(b'K\x03\x85', b'K\x04\x85'))
  with pytest.raises(UserError, match='a reaches outside its storage'):
    torch_files.TorchFile(str(tmp_path / 'a.bin'))


def test_the_form_before_pytorch_1_6_is_refused_with_a_way_out(tmp_path):
  torch.save({'a': torch.zeros(3)}, tmp_path / 'a.bin', _use_new_zipfile_serialization=False)
  with pytest.raises(UserError, match='before PyTorch 1.6.* best as safetensors'):
    torch_files.TorchFile(str(tmp_path / 'a.bin'))
