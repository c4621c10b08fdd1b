"""Threads, the limit on the memory of what is in progress, and errors."""

import threading
import time

import pytest

from switch_zoo import interrupts
from switch_zoo.checkpoints import parallel_parts
from switch_zoo.checkpoints.weights import WeightPart

PARTS = [WeightPart('wi', number) for number in range(12)]


class Memory:
  """Work that notes the parts in progress together."""

  def __init__(self, sizes):
    self.sizes = sizes
    self.together = []
    self._in_progress = set()
    self._lock = threading.Lock()

  def work(self, part):
    with self._lock:
      self._in_progress.add(part)
      self.together.append(set(self._in_progress))
    time.sleep(0.01)
    with self._lock:
      self._in_progress.remove(part)
    return part


def test_all_parts_are_done_within_the_limit(monkeypatch):
  monkeypatch.setattr(parallel_parts, 'MAX_BYTES_IN_PROGRESS', 10)
  sizes = {part: 25 if part.expert == 5 else 4 for part in PARTS}
  memory = Memory(sizes)
  assert sorted(parallel_parts.run_in_threads(memory.work, PARTS, sizes)) == PARTS
  totals = [sum(sizes[part] for part in parts) for parts in memory.together]
  assert all(total <= 10 or parts == {PARTS[5]} for total, parts in zip(totals, memory.together, strict=True))
  assert max(len(parts) for parts in memory.together) == 2


def test_an_error_ends_it(monkeypatch):
  begun = []

  def fail(part):
    begun.append(part)
    raise OSError('disk full')

  monkeypatch.setattr(parallel_parts, 'MAX_BYTES_IN_PROGRESS', 1)
  with pytest.raises(OSError, match='disk full'):
    list(parallel_parts.run_in_threads(fail, PARTS, dict.fromkeys(PARTS, 1)))
  assert 1 <= len(begun) < len(PARTS)


def test_no_part_begins_after_ctrl_c(monkeypatch):
  begun = []

  def check():
    if len(begun) >= 3:
      raise KeyboardInterrupt

  monkeypatch.setattr(interrupts, 'check', check)
  monkeypatch.setattr(parallel_parts, 'MAX_BYTES_IN_PROGRESS', 1)
  with pytest.raises(KeyboardInterrupt):
    list(parallel_parts.run_in_threads(begun.append, PARTS, dict.fromkeys(PARTS, 1)))
  assert len(begun) in (3, 4)
