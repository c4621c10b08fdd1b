"""Parts of the PJRT runtime, each against a plain loop or by hand."""

import os
import tempfile
import time
import types

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from tensorflow.python.data.experimental.ops import testing

from switch_zoo.checkpoints.arrays import TensorInfo
from switch_zoo.errors import UserError
from switch_zoo.mesh.one_core.program import Slot
from switch_zoo.pjrt import checkpoint_writer, devices, evaluation, kept_checkpoints, variables
from switch_zoo.pjrt.batches import Batches


@pytest.fixture(autouse=True)
def without_a_question_to_the_cloud(monkeypatch):
  """Where libtpu is installed, JAX asks for minutes which TPU this is."""
  monkeypatch.setenv('TPU_SKIP_MDS_QUERY', '1')


PARTS = {
  'whole': ((3, 4), (slice(0, 3), slice(0, 4))),
  'rows': ((6, 4), (slice(2, 4), slice(0, 4))),
  'columns': ((3, 8), (slice(0, 3), slice(4, 8))),
  'both': ((4, 6, 2), (slice(2, 4), slice(3, 6), slice(0, 2))),
  'in the middle': ((2, 6, 3), (slice(0, 2), slice(2, 4), slice(0, 3))),
  'a number': ((), ()),
}


@pytest.mark.parametrize('name', PARTS)
def test_a_part_is_written_where_it_is_in_the_whole(name):
  shape, index = PARTS[name]
  whole = np.arange(1, 1 + np.prod(shape, dtype=int), dtype=np.float32).reshape(shape)
  expected = np.zeros_like(whole)
  expected[index] = whole[index]
  with tempfile.TemporaryFile() as file:
    file.truncate(16 + whole.nbytes)
    place = checkpoint_writer.Place(TensorInfo(shape, whole.dtype), 0, 16)
    checkpoint_writer.write_part(file.fileno(), place, [part.start for part in index], np.asarray(whole[index]))
    file.seek(16)
    np.testing.assert_array_equal(np.frombuffer(file.read(), np.float32).reshape(shape), expected)


def test_tensors_follow_each_other_in_a_data_file():
  info = TensorInfo((2, 3), np.dtype(np.float32))
  places = checkpoint_writer.layout({'a': info, 'b': info})
  assert [(place.shard, place.offset) for place in places.values()] == [(0, 0), (0, 24), (0, 48)]
  assert list(places) == ['a', 'b', 'global_step']


def test_a_variable_on_a_device_and_back():
  mesh = devices.mesh_of({})
  slot = Slot('w', 'bfloat16', (2, 3), (2, 3), (None, None))
  array = variables.put_array(slot, mesh, np.arange(6))
  assert str(array.dtype) == 'bfloat16' and array.astype('float32').tolist() == [[0, 1, 2], [3, 4, 5]]


def test_the_host_offers_as_many_devices_as_cores(monkeypatch):
  monkeypatch.setenv('XLA_FLAGS', '--xla_force_host_platform_device_count=3 --xla_dump_to=x')
  devices.prepare_host({'batch': 4, 'model': 2})
  assert os.environ['XLA_FLAGS'] == '--xla_dump_to=x --xla_force_host_platform_device_count=8'


@pytest.mark.parametrize('has_tpu', [True, False])
def test_a_host_without_a_tpu_does_not_ask_the_cloud_which_one_it_is(has_tpu, monkeypatch, tmp_path):
  (tmp_path / 'accel0').touch()
  monkeypatch.setattr(devices, '_TPU_FILES', (str(tmp_path / ('accel*' if has_tpu else 'vfio*')),))
  monkeypatch.setattr(os, 'environ', {'TPU_MIN_LOG_LEVEL': '0'})
  devices.prepare_host({'batch': 1})
  del os.environ['XLA_FLAGS']
  assert os.environ == ({} if has_tpu else devices._WITHOUT_A_TPU) | {'TPU_MIN_LOG_LEVEL': '0'}
  assert os.environ.get('TPU_SKIP_MDS_QUERY') == (None if has_tpu else '1')


def test_on_tpus_the_inner_axis_is_on_the_cores_of_a_chip():
  """Four chips in a square, as JAX lists them; the outer axis is a ring through them."""
  chips = [(0, 0, 0), (1, 0, 0), (0, 1, 0), (1, 1, 0)]
  listed = [types.SimpleNamespace(platform='tpu', coords=chip, core_on_chip=core) for core in (0, 1) for chip in chips]
  ordered = [(*device.coords[:2], device.core_on_chip) for device in devices.in_order({'batch': 4, 'model': 2}, listed)]
  assert [place[2] for place in ordered] == [0, 1] * 4
  ring = [place[:2] for place in ordered[::2]]
  assert ring == [place[:2] for place in ordered[1::2]] and sorted(ring) == sorted(chip[:2] for chip in chips)
  steps = zip(ring, ring[1:] + ring[:1], strict=True)
  assert all(abs(x - other_x) + abs(y - other_y) == 1 for (x, y), (other_x, other_y) in steps)


def test_cpus_stay_as_they_come():
  listed = [types.SimpleNamespace(platform='cpu', id=number) for number in range(4)]
  assert devices.in_order({'batch': 4}, listed) == listed


@pytest.mark.parametrize('error', [RuntimeError('no tpu found'), AssertionError()])
def test_no_devices(error, monkeypatch):
  def refuse():
    raise error

  monkeypatch.setenv('JAX_PLATFORMS', 'cuda')
  monkeypatch.setattr(devices.jax, 'devices', refuse)
  with pytest.raises(UserError, match='JAX offers no devices: (no tpu found|JAX_PLATFORMS=cuda)'):
    devices.platform()


def test_too_few_devices():
  with pytest.raises(UserError, match='"batch:4096" has 4096 cores, and JAX offers'):
    devices.mesh_of({'batch': 4096})


def test_perplexity_by_hand():
  """Two sequences, of two tokens and of one; two of the three are right, and one whole sequence."""
  metrics = evaluation.Perplexity()
  for entropy, predictions, targets in (([1.0, 2.0], [5, 6], [5, 7]), ([4.0, 9.0], [3, 3], [3, 0])):
    weights = [float(target > 0) for target in targets]
    batch = {'cross_entropy': [entropy], 'predictions': [predictions], 'targets': [targets], 'weights': [weights]}
    metrics.add({name: np.array(value) for name, value in {**batch, 'loss': entropy[0]}.items()})
  assert metrics.values(7) == pytest.approx(
    {
      'neg_log_perplexity': -(1 + 2 + 4) / 3,
      'token_accuracy': 2 / 3,
      'sequence_accuracy': 1 / 2,
      'mean_label': (5 + 7 + 3) / 3,
      'num_eval_tokens': 3,
      'max_targets_length': 2,
      'loss': 2.5,
      'global_step': 7,
    }
  )


def _reciprocals(_):
  """1/(3 - n) of 0, 1, 2 and so on, in batches of two: the second has an error."""
  data = tf.data.Dataset.range(5).batch(2)
  return data.map(lambda x: {'inputs': tf.debugging.check_numerics(1.0 / tf.cast(3 - x, tf.float32), 'three')})


def test_batches_in_order_then_the_end():
  with Batches(lambda _: _reciprocals(_).take(1)) as batches:
    assert batches.features == ('inputs',)
    assert [batch['inputs'].tolist() for batch in batches] == [pytest.approx([1 / 3, 1 / 2])]


def test_an_error_is_raised_where_its_batch_would_have_been():
  with Batches(_reciprocals) as batches:
    given = iter(batches)
    assert next(given)['inputs'].size == 2
    with pytest.raises(tf.errors.InvalidArgumentError, match='three'):
      next(given)


def test_batches_that_nobody_takes_keep_no_thread():
  with Batches(lambda _: _reciprocals(_).take(1).repeat()) as batches:
    next(iter(batches))
  assert not batches._thread.is_alive()


def test_the_end_does_not_wait_for_a_batch_that_takes_long():
  hour = 3_600_000_000
  slow = lambda _: tf.data.Dataset.range(4).map(lambda x: {'inputs': x}).apply(testing.sleep(hour))
  with Batches(slow) as batches:
    time.sleep(1)
  assert not batches._thread.is_alive()


@pytest.mark.parametrize(('seconds', 'steps'), [(2.0, [2, 4, 6, 8]), (2.5, [3, 6]), (None, [5])])
def test_a_checkpoint_is_due_when_the_last_one_is_old_too(seconds, steps, tmp_path, monkeypatch):
  """Steps of a second each, and a checkpoint after every fifth step at the latest."""
  now = [0.0]
  monkeypatch.setattr(kept_checkpoints.time, 'monotonic', lambda: now[0])
  saved = []
  monkeypatch.setattr(kept_checkpoints.checkpoint_writer, 'write', lambda folder, step, values: saved.append(step))
  monkeypatch.setattr(kept_checkpoints.mesh_folder, 'write_state', lambda *arguments: None)
  saver = kept_checkpoints.Saver(str(tmp_path), 5, None, 0, seconds)
  for step in range(1, 9):
    now[0] += 1.0
    saver.save_if_due(step, {})
  assert saved == steps
