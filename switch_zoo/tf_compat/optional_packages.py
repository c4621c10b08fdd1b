"""Leaves out packages that TensorFlow and Keras import only because they are installed.

TFLite's converter imports JAX, Keras' data adapters pandas and SciPy and its wrappers scikit-learn, Estimator's inputs
pandas, each in a `try`. seqio and our metrics bring these packages along, and no command uses them through TensorFlow:
without them `import tensorflow` takes 95 MB less on TensorFlow 2.15, and 265 MB less on 2.21.
"""

import contextlib
import sys
import types
from collections.abc import Iterator
from typing import cast

_NAMES = ('jax', 'pandas', 'scipy', 'sklearn')


class _State:
  left_out = False  # whether `leave_out` was called


def leave_out() -> None:
  """From now on TensorFlow is imported without them."""
  _State.left_out = True


@contextlib.contextmanager
def hidden() -> Iterator[None]:
  """Within, those that are not loaded yet cannot be imported, if `leave_out` was called; afterwards they can."""
  names = [name for name in _NAMES if name not in sys.modules] if _State.left_out else []
  modules = cast('dict[str, types.ModuleType | None]', sys.modules)  # None makes an import raise ModuleNotFoundError
  modules.update(dict.fromkeys(names))
  try:
    yield
  finally:
    for name in names:
      if modules.get(name) is None:
        modules.pop(name, None)
