"""Work on the parts of a model in a few threads, with a limit on the memory of those in progress."""

import concurrent.futures
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeVar

from switch_zoo import interrupts
from switch_zoo.checkpoints.weights import WeightPart

WORKERS = 4
MAX_BYTES_IN_PROGRESS = 256 << 20

PartResult = TypeVar('PartResult')


def run_in_threads(
  work: Callable[[WeightPart], PartResult], parts: Sequence[WeightPart], sizes: Mapping[WeightPart, int]
) -> Iterator[PartResult]:
  """The results of `work` for each part, in the order they become ready.

  Args:
    work: called with a part, in a thread
    parts: all parts
    sizes: bytes of each; those in progress have MAX_BYTES_IN_PROGRESS at most, or are one part
  Raises:
    KeyboardInterrupt: Ctrl-C was pressed; parts in progress are finished, others are not begun
  """
  budget = _MemoryBudget(MAX_BYTES_IN_PROGRESS)

  def run(part: WeightPart) -> PartResult:
    try:
      return work(part)
    finally:
      budget.release(sizes[part])

  pool = concurrent.futures.ThreadPoolExecutor(WORKERS)
  pending: set[concurrent.futures.Future[PartResult]] = set()
  try:
    for part in parts:
      interrupts.check()
      budget.acquire(sizes[part])
      pending.add(pool.submit(run, part))
      done = {future for future in pending if future.done()}
      pending -= done
      yield from (future.result() for future in done)
    yield from (future.result() for future in concurrent.futures.as_completed(pending))
  finally:
    pool.shutdown(wait=True, cancel_futures=True)


class _MemoryBudget:
  """Bytes that may be in memory at once; a part larger than all of it goes alone."""

  def __init__(self, limit: int):
    self._limit = limit
    self._used = 0
    self._changed = threading.Condition()

  def acquire(self, nbytes: int) -> None:
    with self._changed:
      self._changed.wait_for(lambda: not self._used or self._used + nbytes <= self._limit)
      self._used += nbytes

  def release(self, nbytes: int) -> None:
    with self._changed:
      self._used -= nbytes
      self._changed.notify()
