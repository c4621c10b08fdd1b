"""Each format is opened by its own class, which gives the same weights in the axes of Mesh-TensorFlow."""

import numpy as np
import pytest
import random_models

from switch_zoo.checkpoints import conversion, mesh_folder, sources
from switch_zoo.checkpoints.huggingface_source import HuggingFaceSource
from switch_zoo.checkpoints.request_checks import Request
from switch_zoo.checkpoints.source import KerasSource, MeshSource, T5XSource
from switch_zoo.errors import UserError

CLASSES = {'mesh': MeshSource, 'keras': KerasSource, 'hf': HuggingFaceSource, 't5x': T5XSource}
CONFIG = random_models.tiny('switch_base_8')
VALUES = random_models.values(CONFIG)


@pytest.fixture(scope='module')
def folders(tmp_path_factory):
  """kind -> a folder with VALUES in it."""
  root = tmp_path_factory.mktemp('formats')
  mesh = random_models.save_mesh(root / 'mesh', VALUES, step=30)
  for to in ('keras', 'hf'):
    conversion.convert(Request(mesh, str(root / to), to))
  random_models.save_t5x(root / 't5x', CONFIG, VALUES)
  return {kind: str(root / kind) for kind in CLASSES}


@pytest.mark.parametrize('kind', CLASSES)
def test_a_folder_is_opened_by_the_class_of_its_format(folders, kind):
  source = sources.open_source(folders[kind])
  assert type(source) is CLASSES[kind] and source.kind == sources.detect(folders[kind]) == kind
  random_models.assert_same({name: source.whole(name) for name in source.config.variables}, VALUES)
  assert [name for name, source_class in CLASSES.items() if source_class.is_in(folders[kind])] == [kind]


@pytest.mark.parametrize('kind', CLASSES)
def test_only_a_training_has_extra_tensors(folders, kind):
  extras = sources.open_source(folders[kind]).extra_tensors
  slots = {f'{name}_slot_v' for name in VALUES}
  assert set(extras) == ({'global_step', *slots} if kind == 'mesh' else set())


def test_a_prefix_opens_that_checkpoint_and_not_the_latest(tmp_path):
  for step in (1, 2):
    values = {name: np.full_like(value, step) for name, value in VALUES.items()}
    random_models.save_mesh(tmp_path / 'mesh', values, step, slots=False)
  variable = 'encoder/rms_norm/scale'
  for path, expected in ((tmp_path / 'mesh', 2), (tmp_path / 'mesh' / 'model.ckpt-1', 1)):
    np.testing.assert_array_equal(sources.open_source(str(path)).read(variable), np.full(CONFIG.d_model, expected))


def test_a_folder_without_a_checkpoint_has_no_prefix(tmp_path):
  with pytest.raises(UserError, match='holds no Mesh-TensorFlow checkpoint'):
    mesh_folder.find_prefix(str(tmp_path))
