"""Differences between two checkpoints, whatever their formats."""

import pathlib

import numpy as np
import pytest
import random_models
import safetensors.numpy

from switch_zoo.checkpoints import conversion, sources, verify
from switch_zoo.checkpoints.arrays import BFLOAT16
from switch_zoo.checkpoints.request_checks import Request

MODEL = 'switch_base_8'
EXPERT = 'encoder.block.1.layer.1.mlp.experts.expert_2.wi.weight'


@pytest.fixture(scope='module')
def pair(tmp_path_factory):
  """A Mesh-TensorFlow folder and a Hugging Face one of the same weights."""
  folder = tmp_path_factory.mktemp('pair')
  mesh = random_models.save_mesh(folder / 'mesh', random_models.values(random_models.tiny(MODEL)))
  conversion.convert(Request(mesh, str(folder / 'hf'), 'hf'))
  return mesh, str(folder / 'hf')


def compare(one, other, **options):
  return verify.compare(sources.open_source(one), sources.open_source(other), **options)


def spoiled(hf, folder, change):
  """A copy of a Hugging Face folder with its tensors changed."""
  folder.mkdir()
  tensors = safetensors.numpy.load_file(pathlib.Path(hf, 'model.safetensors'))
  change(tensors)
  safetensors.numpy.save_file(tensors, folder / 'model.safetensors')
  (folder / 'config.json').write_text(pathlib.Path(hf, 'config.json').read_text())
  return str(folder)


def test_the_same(pair):
  report = compare(*pair)
  config = random_models.tiny(MODEL)
  assert (report.num_differences, report.differences) == (0, [])
  assert report.values == config.num_parameters
  # Four stacked variables of three experts each, three parts for one of them.
  assert report.parts == len(config.variables) + 4 * 2


def test_one_value(pair, tmp_path):
  def change(tensors):
    tensors[EXPERT][5, 7] = 9.5

  before = safetensors.numpy.load_file(pathlib.Path(pair[1], 'model.safetensors'))[EXPERT][5, 7]
  report = compare(pair[0], spoiled(pair[1], tmp_path / 'other', change))
  assert report.num_differences == 1
  # The axes are those of Mesh-TensorFlow.
  assert report.differences[0].startswith(
    'encoder/block_000/layer_003/MoE1D/wi/kernel, expert 2: 1 of 96 values differ, by at most'
  )
  assert report.differences[0].endswith(f'the first at [7, 5]: {before:.9g} and 9.5')


def test_the_first_of_many_are_shown_and_all_are_counted(pair, tmp_path):
  def change(tensors):
    for tensor in tensors.values():
      tensor += 1

  report = compare(pair[0], spoiled(pair[1], tmp_path / 'other', change), max_shown=3)
  assert len(report.differences) == 3 and report.num_differences == report.parts


def test_bfloat16_and_float32_of_the_same_value_are_the_same(tmp_path):
  values = random_models.values(random_models.tiny(MODEL), BFLOAT16)
  narrow = random_models.save_mesh(tmp_path / 'narrow', values, slots=False)
  conversion.convert(Request(narrow, str(tmp_path / 'wide'), 'hf', dtype='float32'))
  assert compare(narrow, str(tmp_path / 'wide')).num_differences == 0


def test_another_number_of_experts(pair, tmp_path):
  other = random_models.tiny(MODEL, experts=2)
  mesh = random_models.save_mesh(tmp_path / 'mesh', random_models.values(other), slots=False)
  report = compare(pair[0], mesh, max_shown=100)
  assert 'encoder/block_000/layer_003/MoE1D/wi/kernel is [3, 8, 12] in the first and [2, 8, 12] in the second' in (
    report.differences
  )


def test_a_dense_one(pair, tmp_path):
  mesh = random_models.save_mesh(tmp_path / 'mesh', random_models.values(random_models.tiny('t5_base')), slots=False)
  lines = compare(pair[0], mesh, max_shown=100).differences
  assert 'encoder/block_000/layer_003/MoE1D/wi/kernel is only in the first' in lines
  assert 'encoder/block_001/layer_001/DenseReluDense/wi/kernel is missing from the first' in lines


@pytest.mark.parametrize(
  ('one', 'other', 'expected'),
  [
    ([1.0, np.nan], [1.0, np.nan], ''),
    ([0.0], [-0.0], ''),
    ([1.0, 2.0], [1.0, np.nan], '1 of 2 values differ, by at most 0; the first at [1]: 2 and nan'),
    ([1.0, 2.0], [3.0, 2.5], '2 of 2 values differ, by at most 2; the first at [0]: 1 and 3'),
  ],
  ids=['nan', 'zeros', 'a new nan', 'two'],
)
def test_words(one, other, expected):
  assert verify.difference(np.float32(one), np.float32(other)) == expected
