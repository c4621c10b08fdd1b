"""Every mistake in the input is explained, and the destination stays as it was."""

import collections
import json
import os
import shutil

import numpy as np
import oracles
import pytest
import random_models
import safetensors.numpy

from switch_zoo.checkpoints import arrays, conversion
from switch_zoo.checkpoints.request_checks import Request, Surgery
from switch_zoo.errors import UserError


class Sources:
  """Folders of good checkpoints."""

  def __init__(self, folder):
    self.hf = oracles.save(oracles.switch(), folder / 'hf')
    self.shards = oracles.save(oracles.switch(), folder / 'shards', max_shard_size='20KB')
    self.dense = oracles.save(oracles.t5(), folder / 'dense')
    values = random_models.values(random_models.tiny('switch_base_8'))
    self.mesh = random_models.save_mesh(folder / 'mesh', values)
    config = random_models.tiny('t5_base')
    self.t5x = random_models.save_t5x(folder / 't5x', config, random_models.values(config))
    conversion.convert(Request(self.mesh, str(folder / 'keras'), 'keras'))
    self.keras = str(folder / 'keras')


@pytest.fixture(scope='module')
def good(tmp_path_factory):
  return Sources(tmp_path_factory.mktemp('good'))


class Case:
  """A copy of a good checkpoint to spoil, and the request made with it."""

  def __init__(self, good, kind, folder):
    self.source = folder / 'source'
    self.folder = folder
    shutil.copytree(getattr(good, kind), self.source)
    self.to = 'keras' if kind == 'mesh' else 'mesh'
    self.options = {}

  def tensors(self, change):
    """Rewrites model.safetensors with `change` applied to its dict."""
    path = self.source / 'model.safetensors'
    tensors = safetensors.numpy.load_file(path)
    change(tensors)
    safetensors.numpy.save_file(tensors, path)

  def config(self, **changes):
    path = self.source / 'config.json'
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))

  def cut(self, name, keep):
    path = self.source / name
    path.write_bytes(path.read_bytes()[:keep])


Q = 'encoder.block.0.layer.0.SelfAttention.q.weight'
POSITIONS = [
  f'{stack}.block.0.layer.0.SelfAttention.relative_attention_bias.weight' for stack in ('encoder', 'decoder')
]
SPARSE = ['encoder.block.1.layer.1', 'decoder.block.1.layer.2']
EXPERT = 'decoder.block.1.layer.2.mlp.experts.expert_2.wo.weight'
ROW = collections.namedtuple('ROW', 'kind spoil words')  # noqa: N818


def drop(*names):
  return lambda case: case.tensors(lambda tensors: [tensors.pop(name) for name in names])


def add(**tensors):
  return lambda case: case.tensors(lambda old: old.update({name.replace('__', '.'): t for name, t in tensors.items()}))


def replace(name, value):
  return lambda case: case.tensors(lambda tensors: tensors.update({name: value}))


def asking(**options):
  return lambda case: case.options.update(options)


def remove(*files):
  return lambda case: [(case.source / file).unlink() for file in files]


def first_shard(case):
  return sorted(path.name for path in case.source.glob('*-of-*.safetensors'))[0]


def with_code(case):
  class Malice:
    def __reduce__(self):
      return os.mkdir, (str(case.folder / 'made'),)

  remove('model.safetensors')(case)
  torch = pytest.importorskip('torch')
  torch.save({'shared.weight': Malice()}, case.source / 'pytorch_model.bin')


def same_tensor_twice(case):
  name = first_shard(case)
  shutil.copy(case.source / name, case.source / 'other.safetensors')
  path = case.source / 'model.safetensors.index.json'
  index = json.loads(path.read_text())
  index['weight_map']['extra'] = 'other.safetensors'
  path.write_text(json.dumps(index))


def index_names_a_tensor_that_is_not_there(case):
  path = case.source / 'model.safetensors.index.json'
  index = json.loads(path.read_text())
  index['weight_map']['ghost.weight'] = first_shard(case)
  path.write_text(json.dumps(index))


def index_outside(case):
  (case.source / 'model.safetensors.index.json').write_text('{"weight_map": {"a": "../../etc/passwd"}}')


def header_of_a_terabyte(case):
  path = case.source / 'model.safetensors'
  path.write_bytes((1 << 40).to_bytes(8, 'little') + path.read_bytes()[8:])


def second_checkpoint(case):
  (case.source / 'model.weights.h5').write_bytes(b'')


def empty(case):
  shutil.rmtree(case.source)
  case.source.mkdir()


def export_at(place):
  """An export instead of the checkpoint, its file at this place."""

  def change(case):
    empty(case)
    (case.source / place).parent.mkdir(exist_ok=True)
    (case.source / place).touch()

  return change


def flipped_checksum(case):
  path = next(case.source.glob('*.index'))
  data = bytearray(path.read_bytes())
  data[10] ^= 1
  path.write_bytes(data)


def other_folder_in_the_way(case):
  (case.folder / 'new.partial').mkdir()
  (case.folder / 'new.partial' / 'mine.txt').touch()


def full_destination(case):
  (case.folder / 'new').mkdir()
  (case.folder / 'new' / 'mine.txt').write_text('mine')


def file_as_destination(case):
  (case.folder / 'new').write_text('mine')


def chunk_lost(case):
  chunk = next(path for path in sorted(case.source.glob('target.*/*')) if path.name not in ('.zarray',))
  chunk.unlink()


CASES = {
  'a missing tensor': ROW('hf', drop(Q), f'{Q} is missing from the checkpoint'),
  'a missing expert': ROW('hf', drop(EXPERT), f'{EXPERT} is missing from the checkpoint'),
  'several missing': ROW(
    'hf', drop(Q, EXPERT, 'encoder.final_layer_norm.weight', Q.replace('.q.', '.v.')), '; and 1 more. Give'
  ),
  'no embedding': ROW('hf', drop('shared.weight'), 'has no embedding'),
  'an extra tensor': ROW('hf', add(some__bias=np.zeros(3, 'f')), 'some.bias is only in the checkpoint'),
  'one expert too many': ROW(
    'hf',
    add(**{EXPERT.replace('expert_2', 'expert_3').replace('.', '__'): np.zeros((16, 24), 'f')}),
    'expert_3.wo.weight is only in the checkpoint',
  ),
  'a wrong shape': ROW(
    'hf', replace(EXPERT, np.zeros((24, 16), 'f')), f'{EXPERT} is [24, 16] in the checkpoint and [16, 24] in the model'
  ),
  'a type that weights do not have': ROW('hf', replace(EXPERT, np.zeros((16, 24), 'i8')), f'{EXPERT} is of type int64'),
  'copies of the embedding that differ': ROW(
    'hf',
    add(encoder__embed_tokens__weight=np.zeros((128, 16), 'f')),
    'encoder.embed_tokens.weight is not the same as shared',
  ),
  'heads that do not divide': ROW(
    'hf',
    lambda case: [replace(name, np.zeros((32, 5), 'f'))(case) for name in POSITIONS],
    'not a multiple of the 5 heads of its relative positions',
  ),
  'no router': ROW(
    'hf',
    drop(*(f'{layer}.mlp.router.classifier.weight' for layer in SPARSE)),
    'no router that switch_zoo knows',
  ),
  'an embedding of one axis': ROW('hf', replace('shared.weight', np.zeros(5, 'f')), 'has no embedding with two axes'),
  'a layer with a huge number': ROW(
    'hf',
    add(encoder__block__999999999__layer__0__SelfAttention__q__weight=np.zeros(1, 'f')),
    'no layer 2 in the encoder',
  ),
  'no relative positions': ROW('hf', drop(*POSITIONS), 'no table of relative positions'),
  'only an encoder': ROW(
    'hf',
    lambda case: case.tensors(lambda t: [t.pop(name) for name in list(t) if name.startswith('decoder')]),
    'has no decoder',
  ),
  'a truncated file': ROW('hf', lambda case: case.cut('model.safetensors', -40), 'model.safetensors is truncated'),
  'a file cut off in its header': ROW(
    'hf', lambda case: case.cut('model.safetensors', 100), 'cut off inside its header'
  ),
  'an empty file': ROW('hf', lambda case: case.cut('model.safetensors', 0), 'is not a safetensors file'),
  'a header of a terabyte': ROW('hf', header_of_a_terabyte, 'is not a safetensors file'),
  'a header that is not JSON': ROW(
    'hf',
    lambda case: (case.source / 'model.safetensors').write_bytes(b'\x04' + bytes(7) + b'oops'),
    'its header is not JSON',
  ),
  'a truncated shard': ROW('shards', lambda case: case.cut(first_shard(case), -40), 'is truncated: its header lists'),
  'a missing shard': ROW('shards', lambda case: (case.source / first_shard(case)).unlink(), '1 of them are missing'),
  'a tensor in two shards': ROW('shards', same_tensor_twice, 'which another file of the folder holds too'),
  'an index that names a missing tensor': ROW('shards', index_names_a_tensor_that_is_not_there, 'ghost.weight is in'),
  'an index that is not JSON': ROW('shards', lambda case: case.cut('model.safetensors.index.json', 50), 'is not JSON'),
  'an index that leads outside the folder': ROW(
    'shards', index_outside, 'has no weight_map from tensors to files next to it'
  ),
  'no weights': ROW(
    'hf', remove('model.safetensors'), 'has no weights: neither model.safetensors nor pytorch_model.bin'
  ),
  'no config.json': ROW('hf', remove('config.json'), 'has no config.json'),
  'a config.json that is not JSON': ROW('hf', lambda case: case.cut('config.json', 9), 'config.json is not JSON'),
  'a config.json of another family': ROW('hf', lambda case: case.config(model_type='bart'), 'is of a "bart"'),
  'an activation that is not supported': ROW(
    'dense', lambda case: case.config(feed_forward_proj='gated-silu'), 'activation "gated-silu" cannot be converted'
  ),
  'a pickle with code in it': ROW('hf', with_code, 'posix.mkdir to be called'),
  'a mistyped model': ROW('hf', asking(model='switch_bse_8'), 'Did you mean switch_base_8'),
  'a model of another shape': ROW('hf', asking(model='tiny_switch_8'), 'does not hold the tensors of tiny_switch_8'),
  'a dense model for a sparse one': ROW('hf', asking(model='t5_base'), 'does not hold the tensors of t5_base'),
  'an unknown format': ROW('hf', asking(to='onnx'), '--to=onnx: the formats that can be written are mesh, keras, hf'),
  'an unknown type': ROW('hf', asking(dtype='int8'), '--dtype=int8: weights are written as float32 or bfloat16'),
  'no such source': ROW('hf', lambda case: shutil.rmtree(case.source), 'There is no folder'),
  'a source without a checkpoint': ROW('hf', empty, 'holds no checkpoint'),
  'an export as a source': ROW(
    'hf', export_at('1/saved_model.pb'), 'Give the folder of the checkpoint it was made from'
  ),
  'a version of an export': ROW('hf', export_at('saved_model.pb'), 'is an export'),
  'a folder with an export somewhere inside': ROW('hf', export_at('old/saved_model.pb'), 'holds no checkpoint'),
  'two checkpoints in one folder': ROW('hf', second_checkpoint, 'holds several checkpoints: Keras and Hugging Face'),
  'a destination that is not empty': ROW('hf', full_destination, 'new is not empty'),
  'a destination that is a file': ROW('hf', file_as_destination, 'new is a file'),
  'a destination in a missing folder': ROW('hf', asking(destination='/nowhere/new'), 'There is no folder /nowhere'),
  'a folder in the way': ROW('hf', other_folder_in_the_way, 'new.partial is in the way'),
  'a file in the way': ROW('hf', lambda case: (case.folder / 'new.partial').touch(), 'new.partial is in the way'),
  'nothing to resume': ROW('hf', asking(resume=True), 'there is no'),
  'slots of another format': ROW('hf', asking(keep_slots=True), 'this is Hugging Face to Mesh-TensorFlow'),
  'slots and surgery': ROW(
    'mesh', asking(keep_slots=True, to='mesh', surgery=Surgery(experts=(0,))), 'exclude each other'
  ),
  'two surgeries': ROW('hf', asking(surgery=Surgery(experts=(0,), dense_from='mean')), 'exclude each other'),
  'an expert that does not exist': ROW(
    'hf', asking(surgery=Surgery(experts=(0, 3))), 'give different numbers from 0 to 2'
  ),
  'an expert twice': ROW('hf', asking(surgery=Surgery(experts=(1, 1))), 'give different numbers'),
  'experts of a dense model': ROW('dense', asking(surgery=Surgery(experts=(0,))), 'is dense'),
  'upcycling a sparse model': ROW('hf', asking(surgery=Surgery(upcycle=4)), 'has 3 already'),
  'upcycling to nothing': ROW('dense', asking(surgery=Surgery(upcycle=0)), 'must be at least 1'),
  'a dense twin of a dense model': ROW('dense', asking(surgery=Surgery(dense_from='mean')), 'is dense already'),
  'an unknown kind of dense twin': ROW('hf', asking(surgery=Surgery(dense_from='best')), '"fresh" or "mean"'),
  'a Mesh-TensorFlow index that is damaged': ROW('mesh', flipped_checksum, 'a checksum in it is wrong'),
  'Mesh-TensorFlow data cut off': ROW(
    'mesh', lambda case: case.cut(next(case.source.glob('*.data-*')).name, -8), 'is truncated: '
  ),
  'Mesh-TensorFlow data missing': ROW('mesh', lambda case: next(case.source.glob('*.data-*')).unlink(), 'is missing: '),
  'a Keras file cut off': ROW(
    'keras', lambda case: case.cut('model.weights.h5', 3000), 'is not an HDF5 file, or is truncated'
  ),
  'a file that is not gin': ROW(
    'keras', lambda case: (case.source / 'model.gin').write_text('d_model = '), 'is not gin'
  ),
  'damaged T5X metadata': ROW(
    't5x', lambda case: next(case.source.glob('target.*/.zarray')).write_text('{'), 'cannot be read'
  ),
  'a missing T5X array': ROW(
    't5x',
    lambda case: shutil.rmtree(case.source / 'target.decoder.decoder_norm.scale'),
    'decoder/decoder_norm/scale is missing from the checkpoint',
  ),
  'a missing T5X chunk': ROW('t5x', chunk_lost, 'cannot be read'),
}


@pytest.mark.parametrize('row', CASES.values(), ids=CASES)
def test_bad_input_is_explained_and_nothing_is_written(good, tmp_path, row):
  case = Case(good, row.kind, tmp_path)
  row.spoil(case)
  before = listing(tmp_path)
  options = {'destination': str(tmp_path / 'new'), 'to': case.to, **case.options}
  with pytest.raises(UserError) as caught:
    conversion.convert(Request(str(case.source), **options))
  assert row.words in ' '.join(str(caught.value).split())
  assert listing(tmp_path) == before


def listing(folder):
  """Every path in a folder, and the contents of what is at the destination."""
  paths = {str(path.relative_to(folder)) for path in folder.rglob('*')}
  new = folder / 'new'
  return paths, {path: path.read_bytes() for path in [new, *new.rglob('*')] if path.is_file()}


def test_a_source_that_shrinks_while_it_is_read(good, tmp_path, monkeypatch):
  case = Case(good, 'hf', tmp_path)
  read = arrays.read_region

  def shrinks(region):
    case.cut('model.safetensors', 5000)
    return read(region)

  monkeypatch.setattr('switch_zoo.checkpoints.huggingface.read_region', shrinks)
  with pytest.raises(UserError, match='before the end of a tensor. The file changed while it was read'):
    conversion.convert(Request(str(case.source), str(tmp_path / 'new'), 'mesh'))
  assert [path.name for path in tmp_path.iterdir()] == ['source']
