"""Safetensors and PyTorch files, against the libraries they come from."""

import collections
import os
import pickle
import zipfile

import numpy as np
import pytest

from switch_zoo.checkpoints import arrays, safetensors_files, torch_files
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
