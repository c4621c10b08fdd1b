"""The constants of this computer, measured: what `plan --measure` plans with."""

import os
import time
from collections.abc import Callable

import numpy as np

from switch_zoo.planner import cost, hardware

SIDE = 1024
ENTRIES = 2**25
REPEATS = 5


def this_computer(slices: int) -> hardware.Slice:
  """This computer as a slice, whose rates are those that were just measured.

  Matrix products and copies take as long as large ones of NumPy do, so the shares of `cost` are taken out.
  """
  memory = float(os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES'))
  flops = product_rate() / cost.PRODUCT_SHARE
  return hardware.processor(slices, flops, copy_rate() / cost.MEMORY_SHARE, memory)


def product_rate() -> float:
  """Operations a second of a float32 matrix product; a multiply and an add are two."""
  x, y = (np.ones([SIDE, SIDE], np.float32) for _ in range(2))
  return 2 * SIDE**3 / _fastest(lambda: x @ y)


def copy_rate() -> float:
  """Bytes a second, read and written, of a copy that is larger than the caches."""
  x = np.ones([ENTRIES], np.float32)
  y = np.empty_like(x)
  return 2 * x.nbytes / _fastest(lambda: np.copyto(y, x))


def _fastest(work: Callable[[], object]) -> float:
  """Seconds; the first time, which may allocate, does not count."""
  work()
  times = []
  for _ in range(REPEATS):
    start = time.perf_counter()
    work()
    times.append(time.perf_counter() - start)
  return min(times)
