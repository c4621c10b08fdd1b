"""Keeps TensorFlow's start-up messages off the screen, and nothing else.

TF_CPP_MIN_LOG_LEVEL says which severities TensorFlow's C++ libraries log. TensorFlow 2.21 obeys it only once they are
loaded: what their initialization logs goes to file descriptor 2 whatever the variable says. So while TensorFlow is
imported, that descriptor leads through a process that leaves out the lines which the variable excludes. All else comes
through at once, also what a crash writes last.
"""

import contextlib
import logging
import os
import pathlib
import subprocess
import sys
import warnings
from collections.abc import Iterator

import absl.logging

from switch_zoo.tf_compat import optional_packages

DEBUG_VARIABLE = 'SWITCH_ZOO_DEBUG'
LEVEL_VARIABLE = 'TF_CPP_MIN_LOG_LEVEL'
_SEVERITIES = 'IWE'  # those that level 1, 2, 3 leaves out; fatal errors are always logged
_SECONDS_TO_DRAIN = 5.0
_PROGRAM = pathlib.Path(__file__).with_name('stderr_filter.py')


class _State:
  quiet = False  # whether `quiet` was called


def debugging() -> bool:
  """True when the user asked to see tracebacks and TensorFlow's own messages (--debug or SWITCH_ZOO_DEBUG=1)."""
  return os.environ.get(DEBUG_VARIABLE, '') not in ('', '0')


def quiet() -> None:
  """For a process of our own: TensorFlow starts without messages and without packages that no command needs.

  Must run before TensorFlow is imported. Keeps its start-up noise and deprecation warnings off the screen; errors still
  arrive as exceptions. SWITCH_ZOO_DEBUG=1 leaves everything visible.
  """
  optional_packages.leave_out()
  if debugging():
    return
  _State.quiet = True
  os.environ.setdefault(LEVEL_VARIABLE, '3')
  os.environ.setdefault('TF_ENABLE_ONEDNN_OPTS', '1')  # stated, so that TensorFlow 2.15 does not announce it
  for message in ('pkg_resources is deprecated', r'.*tf\.(keras|layers|nn)\..* is deprecated'):
    warnings.filterwarnings('ignore', message=message)
  warnings.filterwarnings('ignore', category=DeprecationWarning, module=r'(tensorflow|mesh_tensorflow|t5|seqio|flax)')
  for name in ('tensorflow', 'jax'):
    logging.getLogger(name).setLevel(logging.CRITICAL)
  absl.logging.set_verbosity(absl.logging.ERROR)


@contextlib.contextmanager
def without_log_lines() -> Iterator[None]:
  """Within, file descriptor 2 leads through the filter, if `quiet` was called and the level excludes anything."""
  severities = _excluded_severities() if _State.quiet and not debugging() else ''
  with contextlib.ExitStack() as cleanup:
    if severities:
      with contextlib.suppress(OSError):  # no standard error, or no process to be had: then nothing is left out
        _filter_descriptor(cleanup, severities)
    yield


def no_renames() -> None:
  """Spares TensorFlow, if `quiet` was called, the search for the lines of code that use a name of TensorFlow 1.

  It walks the whole stack for a warning that is not shown.
  """
  wrapper = sys.modules.get('tensorflow.python.util.module_wrapper')
  if _State.quiet and not debugging() and hasattr(wrapper, '_PER_MODULE_WARNING_LIMIT'):
    setattr(wrapper, '_PER_MODULE_WARNING_LIMIT', 0)  # noqa: B010 - TensorFlow has no setting


def _excluded_severities() -> str:
  level = os.environ.get(LEVEL_VARIABLE, '')
  return _SEVERITIES[: int(level)] if level.isdecimal() else ''


def _filter_descriptor(cleanup: contextlib.ExitStack, severities: str) -> None:
  screen = os.dup(2)
  cleanup.callback(os.close, screen)
  to_program, program = _start_program(severities)
  cleanup.callback(_drain, to_program, program)
  cleanup.callback(_lead_to, screen)
  _lead_to(to_program)


def _start_program(severities: str) -> tuple[int, subprocess.Popen[bytes]]:
  """The descriptor to write to, and the process that reads it."""
  reader, writer = os.pipe()
  try:
    # In a session of its own: Ctrl-C in a terminal goes to the whole group, and the filter must outlive the import.
    command = [sys.executable, '-I', '-S', str(_PROGRAM), severities]
    return writer, subprocess.Popen(command, stdin=reader, stdout=subprocess.DEVNULL, start_new_session=True)
  except OSError:
    os.close(writer)
    raise
  finally:
    os.close(reader)


def _lead_to(target: int) -> None:
  if sys.stderr is not None:
    sys.stderr.flush()
  os.dup2(target, 2)


def _drain(to_program: int, program: subprocess.Popen[bytes]) -> None:
  """Waits until everything written has reached the screen, so that what follows does not overtake it."""
  os.close(to_program)
  with contextlib.suppress(subprocess.TimeoutExpired):
    program.wait(_SECONDS_TO_DRAIN)
