"""Python's garbage collector, which has nothing to find while a program starts.

Imports and graphs make objects by the million, all of which stay. The collector goes through them again and again: a
sixth of the time of a training up to its first step.
"""

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def without_collections() -> Iterator[None]:
  """Within, nothing is collected."""
  enabled = gc.isenabled()
  gc.disable()
  try:
    yield
  finally:
    if enabled:
      gc.enable()


@contextlib.contextmanager
def while_importing() -> Iterator[None]:
  """Within, nothing is collected; afterwards what is there by then is never looked at again.

  For imports alone: of anything that is made again and again, it would keep what is garbage by then.
  """
  with without_collections():
    yield
    gc.freeze()
