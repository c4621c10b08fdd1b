"""Several processes of one run: joining them, agreeing, waiting for each other.

JAX's distributed service connects them: process 0 runs it at the coordinator's address.
"""

import contextlib
import inspect
import os
import re
import sys
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np
from jax._src import distributed  # JAX has no public name for the state of its service
from jax.experimental import multihost_utils

from switch_zoo.errors import UserError

AUTO = 'auto'
# A process that has not been heard of for this long has ended.
_HEARTBEAT_SECONDS = 30
# JAX ends the process when it has waited in vain, so it waits longer than we do.
_MARGIN_SECONDS = 60


class LostProcessError(RuntimeError):
  """Another process of the run ended or cannot be reached."""


def join(coordinator: str | None, num_processes: int | None, process_id: int | None, timeout: int = 300) -> None:
  """Connects this process with the others of its run. To be called before anything asks JAX for devices.

  Args:
    coordinator: HOST:PORT of process 0; 'auto': the cluster says (TPU pods, SLURM, Open MPI); None: there are no others
    num_processes, process_id: how many there are, and which this one is, from 0
    timeout: seconds to wait for the others
  Raises:
    UserError: flags that do not belong together, or the others cannot be reached
  """
  if coordinator is None:
    if num_processes is not None or process_id is not None:
      raise UserError('--num_processes and --process_id need --coordinator, the HOST:PORT of process 0.')
    return
  settings: dict[str, Any] = {'initialization_timeout': timeout + _MARGIN_SECONDS}
  if coordinator != AUTO:
    _check(coordinator, num_processes, process_id)
    settings |= {'coordinator_address': coordinator, 'num_processes': num_processes, 'process_id': process_id}
  if 'heartbeat_timeout_seconds' in inspect.signature(jax.distributed.initialize).parameters:
    settings['heartbeat_timeout_seconds'] = _HEARTBEAT_SECONDS
  jax.config.update('jax_cpu_collectives_implementation', 'gloo')
  remedy = (
    'Start all of them with the same --coordinator (a free port of the host of process 0, which the others can reach) '
    'and --num_processes, and each with its own --process_id.'
  )
  failure = f'--coordinator={coordinator}: the processes of this run could not be connected'
  watch = threading.Timer(timeout, _give_up, [f'{failure} within {timeout} seconds. {remedy}'])
  watch.daemon = True
  watch.start()
  try:
    jax.distributed.initialize(**settings)
  except (RuntimeError, ValueError) as error:
    raise UserError(f'{failure}: {" ".join(str(error).split())[:300]}. {remedy}') from error
  finally:
    watch.cancel()


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
      raise UserError(
        f'Process {number} has another {what} than process 0: {_difference(texts[0], other, number)}. Start all '
        'processes with the same --gin_file and --gin_param, and the same version of the files.'
      )


@contextlib.contextmanager
def loss_explained(model_dir: str) -> Iterator[None]:
  """Within, an error of a run with several processes that JAX raises says that another process is lost.

  Raises:
    LostProcessError: in place of JAX's error
  """
  try:
    yield
  except RuntimeError as error:
    if count() == 1 or isinstance(error, LostProcessError) or type(error).__module__.partition('.')[0] != 'jaxlib':
      raise
    raise LostProcessError(
      f'another process of this run ended or cannot be reached ({" ".join(str(error).split())[:200]}). The checkpoints '
      f'in {model_dir} are kept: when the other processes have ended too, start all of them again with the same '
      'commands, and they resume from the last one.'
    ) from error


def leave(code: int) -> None:
  """Ends this process if it has joined others: the usual end would wait for them, and they may wait for this one."""
  if _joined():
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _give_up(message: str) -> None:
  """Ends this process as a user's mistake does: JAX itself would end it with a message of its own."""
  print(f't5_mesh_transformer: {message}', file=sys.stderr, flush=True)
  os._exit(2)


def _joined() -> bool:
  return distributed.global_state.client is not None


def _check(coordinator: str, num_processes: int | None, process_id: int | None) -> None:
  if not re.fullmatch(r'\S+:\d+', coordinator):
    raise UserError(f'--coordinator={coordinator} is not HOST:PORT, as in 10.0.0.1:9000, nor auto.')
  if num_processes is None or process_id is None:
    raise UserError(f'--coordinator={coordinator} needs --num_processes, and --process_id of this one, from 0.')
  if not 0 <= process_id < num_processes:
    raise UserError(
      f'--process_id={process_id}: with --num_processes={num_processes} it is a number from 0 to {num_processes - 1}.'
    )


def _difference(one: str, other: str, number: int) -> str:
  """The first line that only one of two texts has, in words."""
  lines: tuple[Sequence[str], Sequence[str]] = one.splitlines(), other.splitlines()
  first = next((line for line in lines[0] if line not in lines[1]), None)
  second = next((line for line in lines[1] if line not in lines[0]), None)
  words = lambda line: 'nothing in its place' if line is None else f'"{line.strip()}"'
  return f'process 0 has {words(first)}, process {number} {words(second)}'
