"""T5X's checkpoints as T5X and as Orbax write them."""

import json
import os

import numpy as np
import pytest
import random_models

from switch_zoo.checkpoints import conversion, format_names, sources, t5x
from switch_zoo.checkpoints.arrays import BFLOAT16
from switch_zoo.checkpoints.request_checks import Request
from switch_zoo.errors import UserError

ocp = pytest.importorskip('orbax.checkpoint')

CONFIG = random_models.tiny('switch_base_8')
VALUES = random_models.values(CONFIG)
LAYOUTS = {
  'a database': {'use_ocdbt': True},
  'a database of zarr 3': {'use_ocdbt': True, 'use_zarr3': True},
  'folders': {'use_ocdbt': False},
  'folders of zarr 3': {'use_ocdbt': False, 'use_zarr3': True},
}


def tree(values):
  """The parameters as Flax nests them."""
  root = {}
  for variable, value in values.items():
    *parents, last = format_names.T5XNames(CONFIG).locate(variable).name.split('/')
    node = root
    for parent in parents:
      node = node.setdefault(parent, {})
    node[last] = value
  return root


def save(folder, values, **options):
  """A train state as T5X has it: `target` and the state of the optimizer."""
  moments = {'m': np.zeros(3, np.float32)}
  state = {'target': tree(values), 'state': {'step': np.int32(7), 'param_states': moments}}
  ocp.Checkpointer(ocp.PyTreeCheckpointHandler(**options)).save(folder, state)


def opened(folder):
  source = sources.open_source(str(folder))
  assert source.kind == 't5x'
  return {name: source.whole(name) for name in source.config.variables}


@pytest.mark.parametrize('options', LAYOUTS.values(), ids=LAYOUTS)
def test_every_layout_of_orbax_is_read(tmp_path, options):
  save(tmp_path / 'checkpoint_7' / 'state', VALUES, **options)
  random_models.assert_same(opened(tmp_path / 'checkpoint_7'), VALUES)
  random_models.assert_same(opened(tmp_path / 'checkpoint_7' / 'state'), VALUES)


@pytest.mark.parametrize('options', LAYOUTS.values(), ids=LAYOUTS)
def test_bfloat16_stays_bfloat16(tmp_path, options):
  values = random_models.values(CONFIG, BFLOAT16)
  save(tmp_path / 'state', values, **options)
  random_models.assert_same(opened(tmp_path), values)


def test_a_step_of_a_checkpoint_manager_is_read(tmp_path):
  with ocp.CheckpointManager(tmp_path / 'run') as manager:
    manager.save(5, args=ocp.args.Composite(state=ocp.args.PyTreeSave({'target': tree(VALUES)})))
    manager.save(6, args=ocp.args.Composite(default=ocp.args.PyTreeSave({'params': tree(VALUES)})))
  for step in ('5', '6'):
    random_models.assert_same(opened(tmp_path / 'run' / step), VALUES)


def test_it_is_converted(tmp_path):
  save(tmp_path / 'state', VALUES)
  conversion.convert(Request(str(tmp_path), str(tmp_path / 'new'), 'mesh'))
  restored = random_models.restored(str(tmp_path / 'new'))
  random_models.assert_same({name: restored[name] for name in VALUES}, VALUES)


@pytest.fixture
def database(tmp_path):
  save(tmp_path / 'state', VALUES)
  return tmp_path


def test_a_damaged_database_is_refused(database):
  (database / 'state' / 'manifest.ocdbt').write_bytes(b'damaged')
  with pytest.raises(UserError, match='manifest.ocdbt cannot be read'):
    sources.open_source(str(database))


def test_a_database_whose_data_are_gone_is_refused(database):
  for path in (database / 'state').rglob('d/*'):
    path.unlink()
  with pytest.raises(UserError, match='cannot be read'):
    opened(database)


@pytest.mark.parametrize('file', ['manifest.ocdbt', 'd/pipe'])
def test_a_pipe_in_a_database_is_refused(database, file):
  path = database / 'state' / file
  if path.exists():
    path.unlink()
  os.mkfifo(path)
  with pytest.raises(UserError, match='is a pipe'):
    sources.open_source(str(database))


METADATA = {
  'a size that is not whole': ({'shape': [8.0]}, 'no shape and type'),
  'a size below zero': ({'shape': [-8]}, 'no shape and type'),
  'no shape': ({'shape': None}, 'no shape and type'),
  'an unknown type': ({'dtype': 'float1'}, 'cannot be read'),
  'a type with code': ({'dtype': '{'}, 'cannot be read'),
  'a type of fields': ({'dtype': [['a', '<f4']]}, 'no shape and type'),
  'more than a disk has': ({'shape': [1 << 40]}, 'says that its arrays have'),
}


@pytest.mark.parametrize(('fields', 'words'), METADATA.values(), ids=METADATA)
def test_damaged_metadata_are_refused(tmp_path, fields, words):
  random_models.save_t5x(tmp_path, CONFIG, VALUES)
  path = tmp_path / 'target.decoder.decoder_norm.scale' / '.zarray'
  path.write_text(json.dumps(json.loads(path.read_text()) | fields))
  with pytest.raises(UserError, match=words):
    t5x.T5XTensors(str(tmp_path))


def test_deep_metadata_are_refused(tmp_path):
  random_models.save_t5x(tmp_path, CONFIG, VALUES)
  (tmp_path / 'target.decoder.decoder_norm.scale' / '.zarray').write_bytes(b'[' * 100_000)
  with pytest.raises(UserError, match='nested too deeply'):
    t5x.T5XTensors(str(tmp_path))
