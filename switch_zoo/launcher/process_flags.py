"""The flags that say which process of a run this one is, checked before the imports that take seconds."""

import re
from typing import Any

from switch_zoo.errors import UserError

AUTO = 'auto'
_NAMES = ('coordinator', 'num_processes', 'process_id')


def check(values: Any) -> None:
  """Checks the flags of several processes.

  Args:
    values: the parsed flags of `t5_mesh_transformer`
  Raises:
    UserError: flags that do not belong together, or a value out of range
  """
  given = [name for name in _NAMES if values[name].present]
  if values.runtime != 'pjrt' and given:
    raise UserError(f'--{given[0]} belongs to --runtime=pjrt. Add that flag, or leave this one out.')
  if values.coordinator is None and given:
    raise UserError('--num_processes and --process_id need --coordinator, the HOST:PORT of process 0.')
  if values.coordinator_timeout < 1:
    raise UserError(f'--coordinator_timeout={values.coordinator_timeout}: it is a number of seconds, 1 or above.')
  if values.coordinator is not None:
    _check_numbers(values.coordinator, values.num_processes, values.process_id)


def host_and_port(coordinator: str) -> tuple[str, int]:
  """Of a coordinator that is not `AUTO`; an IPv6 address without its brackets.

  Raises:
    UserError: it is not HOST:PORT

  >>> host_and_port('[::1]:9000')
  ('::1', 9000)
  """
  match = re.fullmatch(r'(\S+):(\d+)', coordinator)
  if not match:
    raise UserError(f'--coordinator={coordinator} is not HOST:PORT, as in 10.0.0.1:9000, nor auto.')
  port = int(match[2])
  if not 0 < port < 1 << 16:
    raise UserError(f'--coordinator={coordinator}: a port is a number from 1 to 65535.')
  return match[1].strip('[]'), port


def _check_numbers(coordinator: str, num_processes: int | None, process_id: int | None) -> None:
  if coordinator == AUTO:
    if num_processes is not None or process_id is not None:
      raise UserError(
        '--coordinator=auto finds out --num_processes and --process_id itself. Leave them out, or give HOST:PORT.'
      )
    return
  host_and_port(coordinator)
  if num_processes is None or process_id is None:
    raise UserError(f'--coordinator={coordinator} needs --num_processes, and --process_id of this one, from 0.')
  if num_processes < 1:
    raise UserError(f'--num_processes={num_processes}: a run has 1 process or more.')
  if not 0 <= process_id < num_processes:
    raise UserError(
      f'--process_id={process_id}: with --num_processes={num_processes} it is a number from 0 to {num_processes - 1}.'
    )
