"""checksums.json: written with the weights, checked with them, and ignored by others."""

import json
import zlib

import h5py
import numpy as np
import pytest
import random_models
import safetensors.numpy

from switch_zoo.checkpoints import checksums, conversion, names, sources, verify
from switch_zoo.checkpoints.arrays import BFLOAT16
from switch_zoo.checkpoints.request_checks import Request
from switch_zoo.errors import UserError

CONFIG = random_models.tiny('switch_base_8')
WI = 'encoder/block_000/layer_003/MoE1D/wi/kernel'


@pytest.fixture(scope='module', params=['f4', BFLOAT16], ids=['float32', 'bfloat16'])
def folders(request, tmp_path_factory):
  """Format -> a converted checkpoint."""
  root = tmp_path_factory.mktemp('converted')
  mesh = random_models.save_mesh(root / 'mesh', random_models.values(CONFIG, request.param), slots=False)
  for to in ('keras', 'hf'):
    conversion.convert(Request(mesh, str(root / to), to))
  return root


def stored(folder):
  return json.loads((folder / checksums.FILE).read_text())['tensors']


def test_every_tensor_of_a_safetensors_file_has_the_checksum_of_its_bytes(folders):
  with open(folders / 'hf' / 'model.safetensors', 'rb') as file:
    length = int.from_bytes(file.read(8), 'little')
    header, data = json.loads(file.read(length)), file.read()
  header.pop('__metadata__')
  offsets = {name: entry['data_offsets'] for name, entry in header.items()}
  assert stored(folders / 'hf') == {name: zlib.crc32(data[start:end]) for name, (start, end) in offsets.items()}


def test_every_variable_of_a_keras_file_has_the_checksums_of_its_experts(folders):
  with h5py.File(folders / 'keras' / 'model.weights.h5') as file:
    expected = {names.keras_name(variable): file[names.keras_name(variable)][()] for variable in CONFIG.variables}
  experts = {names.keras_name(variable) for variable, axes in CONFIG.variables.items() if 'experts' in axes}
  assert stored(folders / 'keras') == {
    name: [zlib.crc32(entry.tobytes()) for entry in value] if name in experts else zlib.crc32(value.tobytes())
    for name, value in expected.items()
  }


def test_mesh_tensorflow_has_its_own(folders):
  assert not (folders / 'mesh' / checksums.FILE).exists()


def copy(folders, kind, folder, flipped=None):
  """A copy of a checkpoint in which the last bit of a value has changed."""
  folder.mkdir()
  for path in (folders / kind).iterdir():
    data = bytearray(path.read_bytes())
    if flipped is not None and path.suffix in ('.h5', '.safetensors'):
      data[data.index(flipped.tobytes())] ^= 1
    (folder / path.name).write_bytes(data)
  return str(folder)


def values(folder, variable):
  return sources.open_source(str(folder)).whole(variable)


@pytest.mark.parametrize('kind', ['keras', 'hf'])
@pytest.mark.parametrize('variable', [WI, 'encoder/rms_norm/scale', 'shared/embedding'])
def test_a_bit_that_changed_is_noticed_when_its_tensor_is_read(folders, tmp_path, kind, variable):
  value = values(folders / kind, variable)
  part = value[1] if variable == WI else value
  damaged = copy(folders, kind, tmp_path / 'copy', part.T.copy() if kind == 'hf' and variable == WI else part)
  with pytest.raises(UserError, match='is not what was written'):
    values(damaged, variable)
  other = 'decoder/rms_norm/scale'
  np.testing.assert_array_equal(values(damaged, other), values(folders / kind, other))
  with pytest.raises(UserError, match='is not what was written'):
    conversion.convert(Request(damaged, str(tmp_path / 'new'), 'mesh'))
  assert not list(tmp_path.glob('new*'))
  with pytest.raises(UserError, match='is not what was written'):
    verify.compare(sources.open_source(str(folders / kind)), sources.open_source(damaged))


@pytest.mark.parametrize('kind', ['keras', 'hf'])
def test_an_expert_that_is_whole_can_be_read(folders, tmp_path, kind):
  value = values(folders / kind, WI)
  source = sources.open_source(copy(folders, kind, tmp_path / 'copy', value[1].T.copy() if kind == 'hf' else value[1]))
  np.testing.assert_array_equal(source.read(WI, 0), value[0])
  with pytest.raises(UserError, match='is not what was written'):
    source.read(WI, 1)


def test_weights_one_has_changed_oneself_are_read_without_the_file(folders, tmp_path):
  value = values(folders / 'hf', 'encoder/rms_norm/scale')
  changed = copy(folders, 'hf', tmp_path / 'copy', value)
  (tmp_path / 'copy' / checksums.FILE).unlink()
  assert not np.array_equal(values(changed, 'encoder/rms_norm/scale'), value)


@pytest.mark.parametrize(
  'text',
  ['{"algorithm": "md5", "tensors": {}}', '{"algorithm": "crc32"}', '{"tensors": {"a": "b"}}', '{"tensors": []}', '{'],
)
def test_a_list_that_is_not_known_is_refused(folders, tmp_path, text):
  folder = copy(folders, 'keras', tmp_path / 'copy')
  (tmp_path / 'copy' / checksums.FILE).write_text(text)
  with pytest.raises(UserError, match=f'{checksums.FILE} is not'):
    sources.open_source(folder)


def test_copies_of_the_embedding_have_its_checksum(tmp_path):
  config = random_models.tiny('mt5_base')
  mesh = random_models.save_mesh(tmp_path / 'mesh', random_models.values(config), slots=False)
  conversion.convert(Request(mesh, str(tmp_path / 'hf'), 'hf'))
  table = stored(tmp_path / 'hf')
  assert {table[name] for name in (names.SHARED, *names.TIED_COPIES)} == {table[names.SHARED]}
  assert table.keys() == safetensors.numpy.load_file(tmp_path / 'hf' / 'model.safetensors').keys()


def test_a_resumed_conversion_has_all_checksums(folders, tmp_path, monkeypatch):
  request = Request(str(folders / 'mesh'), str(tmp_path / 'new'), 'keras')
  with monkeypatch.context() as patched:

    def killed(self):
      raise KeyboardInterrupt

    patched.setattr(conversion._Conversion, 'finish', killed)
    with pytest.raises(KeyboardInterrupt):
      conversion.convert(request)
  conversion.convert(Request(str(folders / 'mesh'), str(tmp_path / 'new'), 'keras', resume=True))
  assert stored(tmp_path / 'new') == stored(folders / 'keras')
