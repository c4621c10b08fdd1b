"""Connecting the processes of a run, by JAX's distributed service."""

import inspect
import os
import re
import socket
import sys
import threading
from typing import Any

import jax
from jax._src import distributed  # JAX has no public name for the state of its service

from switch_zoo.errors import UserError
from switch_zoo.launcher import process_flags
from switch_zoo.pjrt import aborts, processes

# A process that has not been heard of for this long has ended.
_HEARTBEAT_SECONDS = 30
# JAX ends the process when it has waited in vain, so it waits longer than we do.
_MARGIN_SECONDS = 60
_REMEDY = (
  'Start all of them with the same --coordinator (a free port of the host of process 0, which the others can reach) '
  'and --num_processes, and each with its own --process_id.'
)


def join(coordinator: str | None, num_processes: int | None, process_id: int | None, timeout: int = 300) -> None:
  """Connects this process with the others of its run. To be called before anything asks JAX for devices.

  Args:
    coordinator: HOST:PORT of process 0; 'auto': the cluster says (TPU pods, SLURM, Open MPI); None: there are no others
    num_processes, process_id: how many there are, and which this one is, from 0; both checked (`process_flags`)
    timeout: seconds to wait for the others
  Raises:
    UserError: the others cannot be reached, or were started with other flags
  """
  if coordinator is None:
    return
  settings: dict[str, Any] = {'initialization_timeout': timeout + _MARGIN_SECONDS}
  if coordinator != process_flags.AUTO:
    _check_address(coordinator, process_id == 0)
    settings |= {'coordinator_address': coordinator, 'num_processes': num_processes, 'process_id': process_id}
  if 'heartbeat_timeout_seconds' in inspect.signature(jax.distributed.initialize).parameters:
    settings['heartbeat_timeout_seconds'] = _HEARTBEAT_SECONDS
  jax.config.update('jax_cpu_collectives_implementation', 'gloo')
  failure = f'--coordinator={coordinator}: the processes of this run could not be connected'
  aborts.answer(lambda reason: f'{failure}: {in_our_words(reason, process_id)}. {_REMEDY}', 2)
  watch = threading.Timer(timeout, _give_up, [f'{failure} within {timeout} seconds. {_REMEDY}'])
  watch.daemon = True
  watch.start()
  try:
    jax.distributed.initialize(**settings)
    _check_same_number()
  except ValueError as error:
    raise UserError(
      f'--coordinator={coordinator}: nothing here says which process this is: it is no TPU pod, and neither SLURM nor '
      'Open MPI has started it. Give --coordinator=HOST:PORT, --num_processes and --process_id.'
    ) from error
  except RuntimeError as error:
    raise UserError(f'{failure}: {in_our_words(str(error), process_id)}. {_REMEDY}') from error
  finally:
    watch.cancel()


def _check_address(coordinator: str, is_chief: bool) -> None:
  """Checks that the host of a coordinator exists, and in process 0 that its port is free."""
  host, port = process_flags.host_and_port(coordinator)
  try:
    socket.getaddrinfo(host, port)
  except (OSError, UnicodeError) as error:
    raise UserError(f'--coordinator={coordinator}: there is no host {host} ({error}).') from error
  if is_chief:
    try:
      socket.create_server(('', port)).close()
    except OSError as error:
      raise UserError(
        f'--coordinator={coordinator}: port {port} of this host cannot be used ({os.strerror(error.errno or 0)}). Give '
        'all processes another one, which is free here.'
      ) from error


def _check_same_number() -> None:
  """Checks that all processes have the --num_processes of process 0, whose service counts with its own."""
  client: Any = distributed.global_state.client
  if processes.is_chief():
    client.key_value_set('num_processes', str(processes.count()))
  number = int(client.blocking_key_value_get('num_processes', 1000 * _MARGIN_SECONDS))
  if number != processes.count():
    raise UserError(
      f'Process {distributed.global_state.process_id} has --num_processes={processes.count()}, and process 0 has '
      f'--num_processes={number}. Start all of them with the same number.'
    )


def in_our_words(reason: str, process_id: int | None) -> str:
  """Why JAX refuses process `process_id`.

  Args:
    reason: the message of its service, which differs with JAX's version
    process_id: of this process; None: the cluster has given it
  """
  again = re.search(r'(\d+) unexpectedly tried to connect|newer incarnation', reason)
  if again:
    number = again[1] or process_id
    return f'two of them have --process_id={number}, or that one was started again while the others waited'
  if 'Unexpected task' in reason:
    return f'--process_id={process_id} is too high for the --num_processes of process 0'
  if re.search('in error|has disconnected|has stopped|shut(ting)? down', reason, re.IGNORECASE):
    return 'another of them ended meanwhile'
  return ' '.join(reason.split())[:300].rstrip('.')


def _give_up(message: str) -> None:
  """Ends this process as a user's mistake does: JAX itself would end it with a message of its own."""
  aborts.speak(2)
  print(f't5_mesh_transformer: {message}', file=sys.stderr, flush=True)
  os._exit(2)
