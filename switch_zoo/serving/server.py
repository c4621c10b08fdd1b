"""Runs the app on a socket with uvicorn, until SIGTERM or Ctrl-C, and then stops without losing a request.

Stopping: the health check says so and new requests are refused with 503, while those that were taken are answered; a
moment later the socket is closed. A second signal ends it at once.
"""

import asyncio
import errno
import logging
import os
import select
import socket
from collections.abc import Callable
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from switch_zoo.errors import UserError
from switch_zoo.serving import rest_json
from switch_zoo.serving.app import Limits, Service

BACKLOG = 2048
LAST_TICKS = 3  # tenths of a second after the last answer in which requests on their way are still refused politely
FORCED = 130  # the exit code of a program that Ctrl-C ended


def open_socket(host: str, port: int) -> socket.socket:
  """A bound socket, which does not listen yet; port 0 takes a free one.

  Raises:
    UserError: there is no such address, or it is taken
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
  """Of a bound socket: http://127.0.0.1:8501."""
  host, port = bound.getsockname()[:2]
  return f'http://[{host}]:{port}' if ':' in host else f'http://{host}:{port}'


def run(model: Any, bound: socket.socket, limits: Limits, started: Callable[[], None]) -> int:
  """Serves until a signal.

  Args:
    model: see Service
    bound: of `open_socket`
    limits: Limits
    started: called once, when requests are taken
  Returns:
    the exit code: 0, or 130 where a second signal cut requests off
  Raises:
    UserError: another program took the address in the meantime
  """
  try:
    bound.listen(BACKLOG)
  except OSError as error:
    raise _cannot_listen(*bound.getsockname()[:2], error) from error
  service = Service(model, limits)
  config = uvicorn.Config(
      service.app(), http=Protocol, ws='none', lifespan='off', log_config=None, access_log=False, server_header=False,
      backlog=BACKLOG, timeout_keep_alive=limits.read_seconds, timeout_graceful_shutdown=limits.answer_seconds,
  )  # fmt: skip
  server = _Server(config, service, started)
  asyncio.run(server.serve([bound]))
  if server.force_exit:
    return FORCED
  service.batcher.close()
  return 0


class Protocol(H11Protocol):
  """uvicorn's protocol with a time limit for what it waits for without one: the head of a request."""

  def connection_made(self, transport):
    super().connection_made(transport)
    self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)

  def data_received(self, data):
    # uvicorn stops the clock at the first byte; here it runs until the head is complete, which stops it too.
    self.conn.receive_data(data)
    self.handle_events()

  def timeout_keep_alive_handler(self):
    begun, _ = self.conn.trailing_data
    if begun and self.conn.our_state is h11.IDLE and not self.transport.is_closing():
      self._answer(408, f'The request did not arrive within {self.timeout_keep_alive:g} s.')
    else:
      super().timeout_keep_alive_handler()

  def send_400_response(self, msg):
    self._answer(400, msg)

  def _answer(self, status, message):
    body = rest_json.to_bytes({'error': message})
    headers = [('content-type', 'application/json'), ('content-length', str(len(body))), ('connection', 'close')]
    for event in (h11.Response(status_code=status, headers=headers), h11.Data(data=body), h11.EndOfMessage()):
      self.transport.write(self.conn.send(event))
    self.transport.close()


class _Server(uvicorn.Server):
  """uvicorn's server with an end in two steps: no new requests, then none at all."""

  def __init__(self, config, service, started):
    super().__init__(config)
    self._service, self._tell_started = service, started
    self._refused_ticks = 0

  async def startup(self, sockets=None):
    await super().startup(sockets)
    (self._bound,) = sockets
    self._tell_started()

  def handle_exit(self, sig, frame):
    self.force_exit = self.should_exit = self._service.stopping
    if self.force_exit:  # what is cut off now is no error to tell of
      logging.getLogger('uvicorn.error').disabled = True
    self._service.stopping = True

  async def on_tick(self, counter):
    if await super().on_tick(counter):
      return True
    if self._service.stopping and not self._service.taken:
      self._refused_ticks += 1
    if self._refused_ticks == LAST_TICKS:
      await self._stop_listening()
    return self._refused_ticks > LAST_TICKS

  async def _stop_listening(self):
    """Closes the socket when nobody waits at it: the system resets connections that it made and we did not take."""
    self._bound.listen(0)  # from here on the system makes hardly any
    for _ in range(BACKLOG):
      if not select.select([self._bound], [], [], 0)[0]:
        break
      await asyncio.sleep(0)  # the event loop takes them
    for server in self.servers:
      server.close()


def _cannot_listen(host, port, error):
  if error.errno == errno.EADDRINUSE:
    return UserError(f'Port {port} of {host} is in use. Choose another one with --port, or 0 for any that is free.')
  if error.errno == errno.EACCES:
    return UserError(f'Port {port} needs the rights of root. Choose one above 1023 with --port.')
  reason = os.strerror(error.errno) if isinstance(error.errno, int) and error.errno > 0 else error.strerror
  return UserError(f'Cannot listen on {host}, port {port}: {reason}. Give an address of this machine with --host.')
