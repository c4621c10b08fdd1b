"""Runs the app on a socket with uvicorn until SIGTERM or Ctrl-C, then stops it without losing a request.

While stopping, the health check reports it and new requests are refused with 503, while accepted requests are answered;
a moment later the socket is closed, and whoever has connected by then still gets an answer. A second signal stops it at
once.
"""

import asyncio
import errno
import ipaddress
import os
import select
import socket
import types
from collections.abc import Callable

import uvicorn

from switch_zoo import interrupts
from switch_zoo.errors import UserError
from switch_zoo.serving import listening
from switch_zoo.serving.app import RestService, Servable, ServerLimits
from switch_zoo.serving.protocol import ServingProtocol

BACKLOG = 2048
# Tenths of a second: how long after the last answer new connections are still accepted, and for how long at most the
# server then waits for them to send a request. Their requests are refused with 503.
LAST_TICKS, PATIENCE_TICKS = 3, 5


def open_socket(host: str, port: int) -> socket.socket:
  """A bound socket that does not listen yet; port 0 takes any free one.

  Raises:
    UserError: there is no such address, or it is in use
  """
  bound = None
  try:
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    bound = socket.socket(family, kind, protocol)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.bind(address)
    return bound
  except OSError as error:
    if bound is not None:
      bound.close()
    raise _cannot_listen(host, port, error) from error


def url(bound: socket.socket) -> str:
  """The URL of a bound socket: http://127.0.0.1:8501."""
  host, port = bound.getsockname()[:2]
  return f'http://[{host}]:{port}' if ':' in host else f'http://{host}:{port}'


def opened_to(bound: socket.socket) -> str:
  """One line on who can connect to a bound socket, if others than this machine can; else ''."""
  host, port = bound.getsockname()[:2]
  address = ipaddress.ip_address(host.partition('%')[0])
  if address.is_loopback:
    return ''
  where = 'every address of this machine' if address.is_unspecified else f'the address {host}'
  return (
    f'Listening on port {port} of {where}: any machine that can reach it may send requests, without a password or '
    'encryption. Leave out --host to accept requests from this machine only, or put a proxy in front.'
  )


def run(model: Servable, bound: socket.socket, limits: ServerLimits, started: Callable[[], None]) -> int:
  """Serves a model until a signal.

  Args:
    model: what is served
    bound: a socket of `open_socket`
    limits: what is accepted
    started: called once, when requests are accepted
  Returns:
    the exit code: 0, or 130 if a second signal cut off requests
  Raises:
    UserError: another program has taken the address in the meantime
  """
  try:
    bound.listen(BACKLOG)
  except OSError as error:
    host, port = bound.getsockname()[:2]
    raise _cannot_listen(host, port, error) from error
  service = RestService(model, limits)
  config = uvicorn.Config(
    service.app(),
    loop='asyncio',  # uvicorn takes uvloop where that happens to be installed, which handles signals otherwise
    http=ServingProtocol,
    ws='none',
    lifespan='off',
    log_config=None,
    access_log=False,
    server_header=False,
    backlog=BACKLOG,
    # Declared as whole seconds, but passed on to asyncio, which takes fractions.
    timeout_keep_alive=limits.read_seconds,  # pyright: ignore[reportArgumentType]
    timeout_graceful_shutdown=limits.answer_seconds,  # pyright: ignore[reportArgumentType]
  )
  server = _Server(config, service, bound, started)
  asyncio.run(server.serve([bound]))
  service.batcher.close()
  return 0


class _Server(uvicorn.Server):
  """uvicorn's server, which stops in two steps: it refuses new requests, then it closes the socket."""

  def __init__(
    self, config: uvicorn.Config, service: RestService, bound: socket.socket, started: Callable[[], None]
  ) -> None:
    super().__init__(config)
    self._service, self._bound, self._report_started = service, bound, started
    self._idle_ticks = 0

  async def startup(self, sockets: list[socket.socket] | None = None) -> None:
    await super().startup(sockets)
    self._report_started()

  def handle_exit(self, sig: int, frame: types.FrameType | None) -> None:
    if self._service.stopping:
      # The second signal. From CPython 3.12 on, asyncio waits for the thread that asks the model before it returns.
      os._exit(interrupts.EXIT_CODE)
    self._service.stopping = True

  async def on_tick(self, counter: int) -> bool:
    if await super().on_tick(counter):
      return True
    if self._service.stopping and not self._service.num_accepted:
      self._idle_ticks += 1
    if self._idle_ticks == LAST_TICKS:
      listening.stop_new_connections(self._bound)
    if self._idle_ticks == LAST_TICKS + 1:
      await self._stop_listening()
    late = self._idle_ticks - LAST_TICKS - 1
    return late > 0 and (late > PATIENCE_TICKS or all(map(_is_quiet, self.server_state.connections)))

  async def _stop_listening(self) -> None:
    """Closes the socket once no connection waits in its backlog: the system would reset those that do."""
    for _ in range(BACKLOG):
      if not select.select([self._bound], [], [], 0)[0]:
        break
      await asyncio.sleep(0)  # lets the event loop accept them
    for server in self.servers:
      server.close()


def _is_quiet(connection: object) -> bool:
  return isinstance(connection, ServingProtocol) and connection.is_quiet


def _cannot_listen(host: str, port: int, error: OSError) -> UserError:
  if error.errno == errno.EADDRINUSE:
    return UserError(f'Port {port} of {host} is in use. Choose another with --port, or 0 for any free one.')
  if error.errno == errno.EACCES:
    return UserError(f'Listening on port {port} requires root privileges. Choose a port above 1023 with --port.')
  reason = os.strerror(error.errno) if isinstance(error.errno, int) and error.errno > 0 else error.strerror
  return UserError(f'Cannot listen on {host}, port {port}: {reason}. Give an address of this machine with --host.')
