"""The queue, with a model that is a plain function."""

import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from switch_zoo.serving.batching import Batcher, QueueFullError

LONG = 10  # seconds that no test takes


class Gate:
  """Doubles numbers, one batch after the other, as soon as it is open. `batches`: what it got."""

  def __init__(self, is_open=True):
    self.entered, self.open = threading.Semaphore(0), threading.Event()
    self.batches = []
    if is_open:
      self.open.set()

  def __call__(self, signature, columns):
    self.batches.append((signature, list(columns['x'])))
    self.entered.release()
    assert self.open.wait(LONG)
    if 13 in columns['x']:
      raise ValueError('13')
    return {'y': [2 * x for x in columns['x']]}


def busy(gate, **limits):
  """A batcher whose model has begun with [0] and is held there."""
  batcher = Batcher(gate, **{'batch_size': 4, 'wait_seconds': 0, 'queue_size': 100, **limits})
  first = batcher.submit('s', {'x': [0]})
  assert gate.entered.acquire(timeout=LONG)
  return batcher, first


def test_waiting_requests_share_a_batch():
  gate = Gate(is_open=False)
  batcher, first = busy(gate)
  futures = [batcher.submit('s', {'x': [x]}) for x in (1, 2, 3)]
  gate.open.set()
  assert [future.result(LONG) for future in (first, *futures)] == [{'y': [0]}, {'y': [2]}, {'y': [4]}, {'y': [6]}]
  assert gate.batches == [('s', [0]), ('s', [1, 2, 3])]


def test_a_large_request_is_split_and_its_last_part_shares_a_batch():
  gate = Gate(is_open=False)
  batcher, _ = busy(gate)
  large = batcher.submit('s', {'x': list(range(10))})
  small = batcher.submit('s', {'x': [77]})
  gate.open.set()
  assert large.result(LONG) == {'y': [0, 2, 4, 6, 8, 10, 12, 14, 16, 18]}
  assert small.result(LONG) == {'y': [154]}
  assert [batch for _, batch in gate.batches[1:]] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 77]]


def test_signatures_do_not_mix_and_the_oldest_goes_first():
  gate = Gate(is_open=False)
  batcher, _ = busy(gate)
  futures = [batcher.submit(signature, {'x': [x]}) for x, signature in enumerate('abab')]
  gate.open.set()
  assert [future.result(LONG)['y'] for future in futures] == [[0], [2], [4], [6]]
  assert gate.batches[1:] == [('a', [0, 2]), ('b', [1, 3])]


def test_a_request_that_fails_does_not_take_its_neighbours_with_it():
  gate = Gate(is_open=False)
  batcher, _ = busy(gate)
  futures = [batcher.submit('s', {'x': [x]}) for x in (1, 13, 3)]
  gate.open.set()
  assert futures[0].result(LONG) == {'y': [2]} and futures[2].result(LONG) == {'y': [6]}
  with pytest.raises(ValueError, match='13'):
    futures[1].result(LONG)
  assert [batch for _, batch in gate.batches[1:]] == [[1, 13, 3], [1], [13], [3]]


def test_what_follows_a_part_that_failed_is_not_computed():
  gate = Gate()
  batcher = Batcher(gate, batch_size=2, wait_seconds=0, queue_size=100)
  with pytest.raises(ValueError, match='13'):
    batcher.submit('s', {'x': [1, 13, 3, 4]}).result(LONG)
  assert batcher.submit('s', {'x': [5]}).result(LONG) == {'y': [10]}
  assert gate.batches == [('s', [1, 13]), ('s', [5])]


def test_a_model_that_loses_a_text_is_noticed():
  batcher = Batcher(lambda signature, columns: {'y': [1]}, batch_size=4, wait_seconds=0, queue_size=100)
  with pytest.raises(RuntimeError, match='the model returned 1 y for 2 texts'):
    batcher.submit('s', {'x': [1, 2]}).result(LONG)


def test_the_queue_is_bounded_and_a_cancelled_request_makes_room():
  gate = Gate(is_open=False)
  batcher, _ = busy(gate, queue_size=3)
  waiting = batcher.submit('s', {'x': [1, 2]})
  with pytest.raises(QueueFullError):
    batcher.submit('s', {'x': [3, 4]})
  assert waiting.cancel()
  later = batcher.submit('s', {'x': [5, 6, 7]})
  gate.open.set()
  assert later.result(LONG) == {'y': [10, 12, 14]}
  assert gate.batches == [('s', [0]), ('s', [5, 6, 7])]


def test_a_request_cancelled_while_the_model_runs_harms_no_other():
  gate = Gate(is_open=False)
  batcher, first = busy(gate)
  assert first.cancel()
  later = batcher.submit('s', {'x': [1]})
  gate.open.set()
  assert later.result(LONG) == {'y': [2]}


def test_a_lone_client_never_waits_for_others():
  batcher = Batcher(Gate(), batch_size=4, wait_seconds=LONG, queue_size=100)
  begun = time.monotonic()
  for x in range(3):
    assert batcher.submit('s', {'x': [x]}).result(LONG) == {'y': [2 * x]}
  assert time.monotonic() - begun < LONG / 2


def test_after_a_shared_batch_the_next_waits_until_it_is_full():
  gate = Gate(is_open=False)
  batcher, _ = busy(gate, wait_seconds=LONG)
  shared = [batcher.submit('s', {'x': [x]}) for x in (1, 2)]
  gate.open.set()
  assert [future.result(LONG)['y'] for future in shared] == [[2], [4]]
  futures = [batcher.submit('s', {'x': [x]}) for x in (3, 4, 5, 6)]
  assert [future.result(LONG)['y'] for future in futures] == [[6], [8], [10], [12]]
  assert gate.batches[2:] == [('s', [3, 4, 5, 6])]


def test_closing_answers_what_is_waiting():
  gate = Gate(is_open=False)
  batcher, first = busy(gate, batch_size=1)
  futures = [first, *(batcher.submit('s', {'x': [x]}) for x in (1, 2))]
  threading.Timer(0.05, gate.open.set).start()
  batcher.close()
  assert [future.result(0)['y'] for future in futures] == [[0], [2], [4]]
  with pytest.raises(QueueFullError):
    batcher.submit('s', {'x': [1]})


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.sampled_from('ab'), st.integers(1, 9)), min_size=1, max_size=12), st.integers(1, 6))
def test_everyone_gets_their_own_answers_in_order(requests, size):
  gate = Gate()
  batcher = Batcher(gate, batch_size=size, wait_seconds=0, queue_size=1000)
  columns = [[100 * number + index for index in range(count)] for number, (_, count) in enumerate(requests, 1)]
  futures = [batcher.submit(s, {'x': column}) for (s, _), column in zip(requests, columns, strict=True)]
  assert [future.result(LONG)['y'] for future in futures] == [[2 * x for x in column] for column in columns]
  batcher.close()
  assert all(1 <= len(batch) <= size for _, batch in gate.batches)
  assert sorted(x for _, batch in gate.batches for x in batch) == sorted(sum(columns, []))
