"""Reads a request's body: not more than allowed, and to its end before the answer is sent."""

import asyncio
import contextlib

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from switch_zoo.serving.rest_json import RequestError


async def read_body(request: Request, max_bytes: int) -> bytes:
  """The body of a request.

  Raises:
    RequestError: 413, it is larger than `max_bytes`
    ClientDisconnect: the client disconnected
  """
  too_large = RequestError(413, f'The request is larger than {max_bytes} bytes (--max-request-bytes). Split it.')
  length = request.headers.get('content-length', '')
  if length.isdecimal() and int(length) > max_bytes:
    raise too_large
  body = bytearray()
  async for chunk in request.stream():
    body += chunk
    if len(body) > max_bytes:
      raise too_large
  return bytes(body)


async def wait_for_disconnect(request: Request) -> None:
  """Returns when the client disconnects. To be called after the body was read."""
  while (await request.receive())['type'] != 'http.disconnect':
    pass


class DrainRequest:
  """ASGI middleware that answers only when the request has arrived completely, or its time is over.

  If a connection is closed while the client is still sending, the operating system discards the answer.
  """

  def __init__(self, app: ASGIApp, seconds: float) -> None:
    """
    Args:
      app: the app to wrap
      seconds: time for a request to arrive
    """
    self._app, self._seconds = app, seconds

  async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
    deadline = asyncio.get_running_loop().time() + self._seconds
    at_end = (b'expect', b'100-continue') in scope['headers']  # such a client sends no body before it is told to

    async def watching_receive() -> Message:
      nonlocal at_end
      message = await receive()
      at_end = not message.get('more_body', False)
      return message

    async def drain() -> None:
      while not at_end:
        await watching_receive()

    async def send_at_end(message: Message) -> None:
      seconds_left = deadline - asyncio.get_running_loop().time()
      if not at_end and seconds_left > 0:
        with contextlib.suppress(asyncio.TimeoutError):
          await asyncio.wait_for(drain(), seconds_left)
      await send(message)

    await self._app(scope, watching_receive, send_at_end)
