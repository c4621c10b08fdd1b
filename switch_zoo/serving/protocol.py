"""HTTP/1.1 on one connection: uvicorn's protocol with four things that it leaves out.

- The head of a request must arrive within a time.
- A request whose end is ambiguous is refused, because a proxy may see another request in it (RFC 9112, 6.3 and 11.2).
- A client that has shut its sending side is still waiting for its answer (RFC 9112, 9.6, allows it to).
- After a refusal the connection is closed in two steps: the system discards an answer when a connection is closed while
  the client is still sending (RFC 9112, 9.6).
"""

import asyncio
import re
import socket
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from switch_zoo.serving import rest_json

LINGER_SECONDS = 1.0  # for a client to read the answer and to close its side
FIRST_PROBE_SECONDS, LAST_PROBE_SECONDS = 0.05, 1.0  # between two looks whether a silent client is gone
_END_OF_HEAD = re.compile(rb'\n\r?\n')


class StrictConnection(h11.Connection):
  """h11's parser, which also refuses what it would tolerate. `refusal`: what was wrong."""

  refusal = ''

  def next_event(self) -> Any:
    """As in h11. Raises RemoteProtocolError for what is not HTTP, and for an ambiguous end of the body."""
    try:
      if self.their_state is h11.IDLE and (problem := framing_problem(self.trailing_data[0])):
        raise h11.RemoteProtocolError(problem)
      return super().next_event()
    except h11.RemoteProtocolError as error:
      self.refusal = str(error)
      raise


def framing_problem(data: bytes) -> str | None:
  """What makes the end of a request ambiguous; None if nothing does, or if its head is not complete."""
  end = _END_OF_HEAD.search(data)
  if not end:
    return None
  fields = [line.partition(b':') for line in data[: end.start()].split(b'\n')[1:]]
  values = [value for name, _, value in fields if name.lower() == b'content-length']
  if len(values) > 1 or any(b',' in value for value in values):
    return 'it has more than one Content-Length; send exactly one'
  if values and any(name.lower() == b'transfer-encoding' for name, _, _ in fields):
    return 'it has both Content-Length and Transfer-Encoding; send only one of them'
  return None


class ServingProtocol(H11Protocol):
  """See the module."""

  transport: Any

  def __init__(self, *args: Any, **kwargs: Any) -> None:
    super().__init__(*args, **kwargs)
    self.conn = StrictConnection(h11.SERVER)
    self._at_eof = self._discarding = False
    self._timer: asyncio.TimerHandle | None = None

  @property
  def is_quiet(self) -> bool:
    """Whether nothing is under way: at least one request was answered, and no part of another has arrived."""
    return self.cycle is not None and self.cycle.response_complete and not self._partial_request()

  def connection_made(self, transport: Any) -> None:
    """Starts the clock."""
    super().connection_made(transport)
    self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)

  def connection_lost(self, exc: Exception | None) -> None:
    """Stops the clocks."""
    self._stop_timer()
    super().connection_lost(exc)

  def data_received(self, data: bytes) -> None:
    """Handles bytes of a request."""
    if not self._discarding:
      # uvicorn stops the clock at the first byte. Here it runs until the head is complete, which also stops it.
      self.conn.receive_data(data)
      self.handle_events()

  def eof_received(self) -> bool:
    """The client sends nothing more. Returns whether the connection stays open, for an answer."""
    self._at_eof = True
    if self._discarding:
      return False
    self._after_eof()
    return not self.transport.is_closing()

  def on_response_complete(self) -> None:
    """Handles the next request, if the client has sent one already."""
    super().on_response_complete()
    if self._at_eof and not self.transport.is_closing():
      self._after_eof()

  def shutdown(self) -> None:
    """Closes a connection on which nothing is under way; another one after its answer."""
    if self.cycle is not None and not self.cycle.response_complete:
      super().shutdown()
    elif not self._discarding and not self.transport.is_closing():
      self._linger()

  def timeout_keep_alive_handler(self) -> None:
    """Answers 408 if a part of a head arrived; closes an idle connection."""
    if self._partial_request() and self.conn.our_state is h11.IDLE and not self.transport.is_closing():
      self._refuse(408, f'The request did not arrive within {self.timeout_keep_alive:g} s.')
    else:
      super().timeout_keep_alive_handler()

  def send_400_response(self, msg: str) -> None:
    """Refuses what is not HTTP."""
    self._refuse(400, f'Malformed HTTP request: {self.conn.refusal or msg}.')

  def _partial_request(self) -> bool:
    return self.conn.their_state is h11.SEND_BODY or bool(self.conn.trailing_data[0])

  def _after_eof(self) -> None:
    """Waits for the answers that are due; there is none to a request that is cut off, or where there is no request."""
    if self.conn.their_state is h11.SEND_BODY or (self.conn.their_state is h11.IDLE and self._partial_request()):
      self._refuse(400, 'The connection was closed before the request was complete.')
    elif self.cycle is None or self.cycle.response_complete:
      self.transport.close()
    else:
      self.cycle.keep_alive = self._partial_request()  # another request waits for its turn
      self._stop_timer()
      self._timer = self.loop.call_later(FIRST_PROBE_SECONDS, self._probe, FIRST_PROBE_SECONDS)

  def _probe(self, seconds: float) -> None:
    """Finds out whether a client that sends nothing more is waiting or gone, so that nothing is computed in vain.

    Both look the same until something is sent to them. An interim response means nothing to a client that waits, and
    makes the system of one that is gone report it.
    """
    if self.transport.is_closing() or self.conn.our_state is not h11.SEND_RESPONSE:
      return
    if self.transport.get_extra_info('socket').getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
      self.transport.abort()
      return
    if seconds == FIRST_PROBE_SECONDS and self.scope['http_version'] == '1.1':
      self.transport.write(self.conn.send(h11.InformationalResponse(status_code=100, headers=[], reason='Continue')))
    seconds = min(2 * seconds, LAST_PROBE_SECONDS)
    self._timer = self.loop.call_later(seconds, self._probe, seconds)

  def _refuse(self, status: int, message: str) -> None:
    """Answers with an error, unless an answer has begun, and closes the connection."""
    if self.cycle is not None and not self.cycle.response_complete:
      self.cycle.disconnected = True  # the app is not waited for
      self.cycle.message_event.set()
    if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
      body = rest_json.to_bytes({'error': message})
      headers = [('content-type', 'application/json'), ('content-length', str(len(body))), ('connection', 'close')]
      for event in (h11.Response(status_code=status, headers=headers), h11.Data(data=body), h11.EndOfMessage()):
        self.transport.write(self.conn.send(event))
    self._linger()

  def _linger(self) -> None:
    """Closes our side, and the connection when the client has closed its own, or a moment later."""
    if self._at_eof or not self.transport.can_write_eof():
      self.transport.close()
      return
    self._discarding = True
    self._unset_keepalive_if_required()
    self._stop_timer()
    self.flow.resume_reading()
    self.transport.write_eof()
    self._timer = self.loop.call_later(LINGER_SECONDS, self.transport.close)

  def _stop_timer(self) -> None:
    if self._timer is not None:
      self._timer.cancel()
      self._timer = None
