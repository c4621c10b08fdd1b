"""The table of what Switch-C takes in the documents, and the size of a conversion against one that took place."""

import os
import pathlib

import numpy as np
import pytest
import random_models

from switch_zoo import load_config
from switch_zoo.checkpoints import arrays, conversion
from switch_zoo.checkpoints.conversion_size import compute_conversion_size
from switch_zoo.checkpoints.request_checks import Request

DOCUMENT = pathlib.Path(__file__).resolve().parent.parent.parent / 'docs' / 'checkpoints.md'


def rows():
  config = load_config('switch_c_2048')
  for to in ('mesh', 'keras', 'hf'):
    for dtype in arrays.FLOAT_TYPES.values():
      found = compute_conversion_size(config, to, dtype)
      sizes = ' | '.join(f'{size:,}' for size in (found.largest_part, found.largest_variable, found.nbytes))
      yield f'| `{to}` | {dtype.name} | {found.parts:,} | {sizes} | {found.tensors:,} | {found.files:,} |'


def test_the_table_of_switch_c():
  text = DOCUMENT.read_text()
  table = text.partition('<!-- plan switch_c_2048 -->\n')[2].partition('<!-- /plan -->')[0]
  assert table.splitlines()[2:] == list(rows())


def test_switch_c_by_hand():
  """1,571,327,875,360 weights; a matrix of experts is 2048 x 2080 x 6144, the embedding 32128 x 2080."""
  found = compute_conversion_size(load_config('switch_c_2048'), 'mesh', np.dtype(np.float32))
  assert found.nbytes == 4 * 1_571_327_875_360
  assert found.largest_variable == 4 * 2048 * 2080 * 6144 and found.largest_part == 4 * 32128 * 2080
  # 30 layers of two matrices are in a file of their own each: no two fit into 5 GB.
  assert found.files > 60


@pytest.mark.parametrize('to', ['mesh', 'keras', 'hf'])
def test_the_size_is_that_of_a_conversion(tmp_path, to):
  config = random_models.tiny('switch_c_2048')
  folder = random_models.save_mesh(tmp_path / 'source', random_models.values(config), slots=False)
  expected = compute_conversion_size(config, to, np.dtype(np.float32), max_shard_bytes=3000)
  result = conversion.convert(Request(folder, str(tmp_path / 'new'), to, max_shard_bytes=3000))
  step = 1 if to == 'mesh' else 0  # the step of a training, next to the weights
  assert (result.parts, result.nbytes) == (expected.parts + step, expected.nbytes + 8 * step)
  kinds = ('.safetensors', '.h5')
  files = [name for name in os.listdir(tmp_path / 'new') if name.endswith(kinds) or '.data-' in name]
  assert len(files) in (expected.files, expected.files + step)
