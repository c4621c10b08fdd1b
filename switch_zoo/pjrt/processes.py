"""Several processes of one run: agreeing, waiting for each other, and ending.

JAX's distributed service connects them: process 0 runs it at the coordinator's address.
"""

import contextlib
import os
import sys
from collections.abc import Iterator, Sequence
from typing import Any, NoReturn

import jax
import numpy as np
from jax._src import distributed  # JAX has no public name for the state of its service
from jax.experimental import multihost_utils

from switch_zoo.errors import UserError
from switch_zoo.pjrt import aborts

# The exit code of a user's mistake, which most often all processes find: one that is slower than process 0 would lose
# its service, and with it the word why it ends.
_MISTAKE = 2
_PATIENCE_SECONDS = 10
_LAST_WORDS_SECONDS = 2


class LostProcessError(RuntimeError):
  """Another process of the run ended or cannot be reached."""


def count() -> int:
  """How many processes the run has. Needs no devices."""
  return distributed.global_state.num_processes if _joined() else 1


def is_chief() -> bool:
  """Whether this process writes what is written once."""
  return not _joined() or distributed.global_state.process_id == 0


def wait(name: str) -> None:
  """Returns when all processes have called it. name: the same in all of them"""
  if count() > 1:
    multihost_utils.sync_global_devices(name)


def same_number(number: int) -> int:
  """The number that process 0 gives. number: <int32>"""
  return int(multihost_utils.broadcast_one_to_all(np.int32(number))) if count() > 1 else number


def gather(values: np.ndarray) -> np.ndarray:
  """The arrays of all processes, of equal shape: <dtype>[...] -> <dtype>[processes, ...]"""
  if count() == 1:
    return values[np.newaxis]
  return np.asarray(multihost_utils.process_allgather(values))


class Group:
  """The processes of a run (`run_state.Processes`)."""

  @property
  def is_chief(self) -> bool:
    """Whether this process is the first."""
    return is_chief()

  def agreed(self, decision: int) -> int:
    """The decision of the first process; returns when all have called it."""
    return same_number(int(decision))


def check_same(text: str, what: str) -> None:
  """Checks that all processes have the same text.

  Args:
    text: lines
    what: what a line is, for messages: 'gin binding'
  Raises:
    UserError: in every process, with the first difference between process 0 and another
  """
  if count() == 1:
    return
  octets = np.frombuffer(text.encode(), np.uint8)
  sizes = gather(np.array([octets.size], np.int32)).reshape(-1)
  padded = np.zeros([int(sizes.max())], np.uint8)
  padded[: octets.size] = octets
  texts = [bytes(row[:size]).decode() for row, size in zip(gather(padded), sizes, strict=True)]
  for number, other in enumerate(texts):
    if other != texts[0]:
      refuse(
        f'Process {number} has another {what} than process 0: {_difference(texts[0], other, number)}. Start all '
        'processes with the same --gin_file and --gin_param, and the same version of the files.'
      )


def refuse(message: str) -> NoReturn:
  """Ends a run for a reason that all its processes have found.

  Raises:
    UserError: always, with the message
  """
  # A process that loses another one from now on gives the same reason.
  aborts.answer(lambda _: message, _MISTAKE)
  raise UserError(message)


@contextlib.contextmanager
def loss_explained(model_dir: str) -> Iterator[None]:
  """Within, an error that JAX raises because another process of the run is lost says so.

  Raises:
    LostProcessError: in place of JAX's error
  """
  words = lambda reason: (
    f'another process of this run ended or cannot be reached ({" ".join(reason.split())[:200]}). The checkpoints in '
    f'{model_dir} are kept: when the other processes have ended too, start all of them again with the same commands; '
    'a training resumes from the last one.'
  )
  if count() > 1:
    aborts.answer(words, 1)
  try:
    yield
  except (jax.errors.JaxRuntimeError, ValueError) as error:
    # Where a result is waited for, JAX makes a ValueError of what Gloo reports.
    if count() == 1 or (isinstance(error, ValueError) and 'Gloo' not in str(error)):
      raise
    raise LostProcessError(words(str(error))) from error


def has_words(code: int) -> None:
  """From now on this thread says why the process ends, with this exit code, also if JAX aborts it meanwhile."""
  if _joined():
    aborts.speak(code)


def leave(code: int) -> None:
  """Ends this process if it has joined others, which have some seconds to say why they end.

  The usual end would wait for them without a limit, and they may wait for this one.
  """
  if not _joined():
    return
  sys.stdout.flush()
  sys.stderr.flush()
  if count() > 1:
    client: Any = distributed.global_state.client
    seconds = _PATIENCE_SECONDS if code == _MISTAKE else _LAST_WORDS_SECONDS
    with contextlib.suppress(jax.errors.JaxRuntimeError):
      client.wait_at_barrier('ended', 1000 * seconds)
  os._exit(code)


def _joined() -> bool:
  return distributed.global_state.client is not None


def _difference(one: str, other: str, number: int) -> str:
  """The first line that only one of two texts has, in words."""
  lines: tuple[Sequence[str], Sequence[str]] = one.splitlines(), other.splitlines()
  first = next((line for line in lines[0] if line not in lines[1]), None)
  second = next((line for line in lines[1] if line not in lines[0]), None)
  words = lambda line: 'nothing in its place' if line is None else f'"{line.strip()}"'
  return f'process 0 has {words(first)}, process {number} {words(second)}'
