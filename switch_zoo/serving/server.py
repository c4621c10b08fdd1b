"""Runs the app on a socket with uvicorn until SIGTERM or Ctrl-C, then stops it without losing a request.

While stopping, the health check reports it and new requests are refused with 503, while accepted requests are answered;
a moment later the socket is closed. A second signal stops it at once.
"""

import asyncio
import errno
import os
import select
import socket
import types
from collections.abc import Callable

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from switch_zoo import interrupts
from switch_zoo.errors import UserError
from switch_zoo.serving import rest_json
from switch_zoo.serving.app import RestService, Servable, ServerLimits

BACKLOG = 2048
LAST_TICKS = 3  # tenths of a second after the last answer during which requests under way are still refused with 503


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
    http=TimedProtocol,
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


class TimedProtocol(H11Protocol):
  """uvicorn's protocol with a time limit for the head of a request, for which uvicorn waits without one."""

  def connection_made(self, transport: asyncio.Transport) -> None:
    """Starts the clock."""
    super().connection_made(transport)
    self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)

  def data_received(self, data: bytes) -> None:
    """Handles bytes of a request."""
    # uvicorn stops the clock at the first byte. Here it runs until the head is complete, which also stops it.
    self.conn.receive_data(data)
    self.handle_events()

  def timeout_keep_alive_handler(self) -> None:
    """Answers 408 if a part of a head arrived; closes an idle connection."""
    head, _ = self.conn.trailing_data
    if head and self.conn.our_state is h11.IDLE and not self.transport.is_closing():
      self._answer(408, f'The request did not arrive within {self.timeout_keep_alive:g} s.')
    else:
      super().timeout_keep_alive_handler()

  def send_400_response(self, msg: str) -> None:
    """Answers what is not HTTP."""
    self._answer(400, msg)

  def _answer(self, status: int, message: str) -> None:
    body = rest_json.to_bytes({'error': message})
    headers = [('content-type', 'application/json'), ('content-length', str(len(body))), ('connection', 'close')]
    for event in (h11.Response(status_code=status, headers=headers), h11.Data(data=body), h11.EndOfMessage()):
      self.transport.write(self.conn.send(event))
    self.transport.close()


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
      await self._stop_listening()
    return self._idle_ticks > LAST_TICKS

  async def _stop_listening(self) -> None:
    """Closes the socket once no connection waits in its backlog: the system would reset those that do."""
    self._bound.listen(0)  # from here on the system adds hardly any
    for _ in range(BACKLOG):
      if not select.select([self._bound], [], [], 0)[0]:
        break
      await asyncio.sleep(0)  # lets the event loop accept them
    for server in self.servers:
      server.close()


def _cannot_listen(host: str, port: int, error: OSError) -> UserError:
  if error.errno == errno.EADDRINUSE:
    return UserError(f'Port {port} of {host} is in use. Choose another with --port, or 0 for any free one.')
  if error.errno == errno.EACCES:
    return UserError(f'Listening on port {port} requires root privileges. Choose a port above 1023 with --port.')
  reason = os.strerror(error.errno) if isinstance(error.errno, int) and error.errno > 0 else error.strerror
  return UserError(f'Cannot listen on {host}, port {port}: {reason}. Give an address of this machine with --host.')
