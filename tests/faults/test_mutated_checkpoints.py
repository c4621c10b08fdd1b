"""Damaged checkpoints of every format: each is read right, or refused with a UserError, in seconds.

A mutation changes one file of a small checkpoint: bits, bytes, blocks, its length. Number N of a format is always the
same one. The short form takes a few of each; the long form is
`MUTATIONS=1000 pytest -s tests/faults/test_mutated_checkpoints.py`.
"""

import contextlib
import os
import pathlib
import shutil
import signal
import sys

import numpy as np
import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / 'checkpoints'))

import oracles  # noqa: E402
import random_models  # noqa: E402
import test_t5x  # noqa: E402

from switch_zoo.checkpoints import conversion, sources  # noqa: E402
from switch_zoo.checkpoints.request_checks import Request  # noqa: E402
from switch_zoo.errors import UserError  # noqa: E402

MUTATIONS = int(os.environ.get('MUTATIONS', '96'))
# Seconds in which a small checkpoint is read or refused, on a slow machine.
PATIENCE = 30
CONFIG = random_models.tiny('switch_base_8')
VALUES = random_models.values(CONFIG)
# Format -> files (the end of their paths) whose bytes no checksum covers, so that other values may be read.
UNCHECKED = {
  'safetensors': ('model.safetensors',),
  'shards': ('.safetensors',),
  'bin': (),
  'keras': (),
  't5x': (),
  'orbax': ('d/',),
  'mesh': (),
  'converted': (),
}


def flip_a_bit(data, rng):
  data[rng.integers(len(data))] ^= 1 << rng.integers(8)


def change_a_byte(data, rng):
  data[rng.integers(len(data))] = rng.integers(256)


def change_the_beginning(data, rng):
  data[rng.integers(min(len(data), 64))] ^= 1 << rng.integers(8)


def change_the_end(data, rng):
  data[-1 - rng.integers(min(len(data), 64))] ^= 1 << rng.integers(8)


def cut(data, rng):
  del data[rng.integers(len(data)) :]


def insert_a_byte(data, rng):
  data.insert(rng.integers(len(data) + 1), rng.integers(256))


def block(data, rng):
  start = rng.integers(len(data))
  return slice(start, start + rng.integers(1, 65))


def leave_a_block_out(data, rng):
  del data[block(data, rng)]


def zero_a_block(data, rng):
  place = block(data, rng)
  data[place] = bytes(len(data[place]))


def repeat_a_block(data, rng):
  place = block(data, rng)
  data[place.start : place.start] = data[place]


def randomize_a_block(data, rng):
  place = block(data, rng)
  data[place] = rng.bytes(len(data[place]))


def change_a_digit(data, rng):
  """A number in a text, or something like it: where sizes and offsets are."""
  digits = [at for at, octet in enumerate(data) if 48 <= octet < 58] or [0]
  data[digits[rng.integers(len(digits))]] = 48 + rng.integers(10)


def append(data, rng):
  data += rng.bytes(rng.integers(1, 65))


CHANGES = (
    flip_a_bit, change_a_byte, change_the_beginning, change_the_end, cut, insert_a_byte, leave_a_block_out,
    zero_a_block, repeat_a_block, randomize_a_block, change_a_digit, append,
)  # fmt: skip


@pytest.fixture(scope='module')
def folders(tmp_path_factory):
  """Format -> a good checkpoint."""
  torch = pytest.importorskip('torch')
  root = tmp_path_factory.mktemp('good')
  model = oracles.switch()
  oracles.save(model, root / 'safetensors')
  oracles.save(model, root / 'shards', max_shard_size='20KB')
  shutil.copytree(root / 'safetensors', root / 'bin')
  (root / 'bin' / 'model.safetensors').unlink()
  torch.save(model.state_dict(), root / 'bin' / 'pytorch_model.bin')
  random_models.save_t5x(root / 't5x', CONFIG, VALUES)
  (root / 't5x' / 'checkpoint').unlink()
  test_t5x.save(root / 'orbax' / 'state', VALUES)
  random_models.save_mesh(root / 'mesh', VALUES, slots=False)
  for to, name in (('keras', 'keras'), ('hf', 'converted')):
    conversion.convert(Request(str(root / 'mesh'), str(root / name), to))
  return {name: root / name for name in UNCHECKED}


@pytest.fixture(scope='module')
def expected(folders):
  """Format -> variable -> value."""
  return {name: weights(folder) for name, folder in folders.items()}


def weights(folder):
  source = sources.open_source(str(folder))
  return {name: source.whole(name) for name in source.config.variables}


@contextlib.contextmanager
def patience():
  """An error after a while, also in the middle of a loop."""

  def hangs(*_):
    raise TimeoutError(f'not finished after {PATIENCE} s')

  before = signal.signal(signal.SIGALRM, hangs)
  signal.alarm(PATIENCE)
  try:
    yield
  finally:
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def mutate(folder, rng):
  """Changes one file of a folder; gives its path and what was done."""
  files = sorted(path for path in folder.rglob('*') if path.is_file() and path.stat().st_size)
  path = files[rng.integers(len(files))]
  change = CHANGES[rng.integers(len(CHANGES))]
  data = bytearray(path.read_bytes())
  change(data, rng)
  path.write_bytes(data)
  return path, change.__name__


def outcome(folder, good, unchecked, path):
  """'refused', 'right', 'unnoticed' where nothing could notice, or what went wrong."""
  try:
    with patience():
      actual = weights(folder)
  except UserError as error:
    return 'refused' if str(error).encode() and len(str(error)) < 2000 else f'a message of {len(str(error))} characters'
  except BaseException as error:  # noqa: BLE001 - whatever it is, it is a finding
    return f'{type(error).__name__}: {error}'
  same = actual.keys() == good.keys() and all(
    actual[name].dtype == good[name].dtype and np.array_equal(actual[name].view('u1'), good[name].view('u1'))
    for name in good
  )
  if same:
    return 'right'
  return 'unnoticed' if any(end in str(path) for end in unchecked) else 'wrong weights'


@pytest.mark.parametrize('name', UNCHECKED)
def test_a_damaged_checkpoint_is_read_right_or_refused(folders, expected, tmp_path, name):
  counts, findings = {}, []
  for number in range(-(-MUTATIONS // len(UNCHECKED))):
    rng = np.random.default_rng([list(UNCHECKED).index(name), number])
    folder = tmp_path / str(number)
    shutil.copytree(folders[name], folder)
    path, change = mutate(folder, rng)
    result = outcome(folder, expected[name], UNCHECKED[name], path)
    counts[result] = counts.get(result, 0) + 1
    if result not in ('refused', 'right', 'unnoticed'):
      findings.append(f'number {number}, {path.relative_to(folder)}, {change}: {result}')
    shutil.rmtree(folder)
  print(f'{name}: {counts}')
  assert not findings, '\n'.join(findings)
