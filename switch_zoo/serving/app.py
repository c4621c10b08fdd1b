"""The HTTP side: paths, status codes, limits. TensorFlow Serving's where it has one.

What is refused is {"error": "..."}: 400 what the request says is wrong, 404 no such model, 405 no such method, 408 the
client was too slow, 413 too much, 415 compressed, 500 the model failed, 503 (with Retry-After) too much waits or the
server stops, 504 no answer in time.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Any, NamedTuple

from starlette.applications import Starlette
from starlette.convertors import StringConvertor, register_url_convertor
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from switch_zoo import tf_compat
from switch_zoo.serving import rest_json
from switch_zoo.serving.batching import Batcher, FullError
from switch_zoo.serving.rest_json import RequestError

LOGGER = logging.getLogger(__name__)
RETRY_SECONDS = 1
CLIENT_GONE = 499  # nobody reads it; TensorFlow Serving calls it so too
MODEL = '/v1/models/{name:uncoloned}'
PREFIXES = (MODEL, f'{MODEL}/versions/{{version:uncoloned}}', f'{MODEL}/labels/{{label:uncoloned}}')


class Uncoloned(StringConvertor):
  """A part of a path before the colon of `:predict`."""

  regex = '[^/:]+'


register_url_convertor('uncoloned', Uncoloned())


class Limits(NamedTuple):
  """What the server takes.

  batch_size: texts the model is given at once
  batch_seconds: to wait for others, while several clients ask
  request_bytes: of a body
  read_seconds: for a request to arrive
  answer_seconds: from its arrival to its answer
  queue: texts that may wait
  """

  batch_size: int = 32
  batch_seconds: float = 0.005
  request_bytes: int = 4 * 2**20
  read_seconds: float = 10.0
  answer_seconds: float = 30.0
  queue: int = 1024


class Service:
  """A model and who asks it. `stopping`: no new request is to be taken; `taken`: requests that have to be answered."""

  def __init__(self, model: Any, limits: Limits):
    """
    Args:
      model: with `name`, `version`, `signatures`, `metadata()` and `run(signature, columns)`, as saved_model.Model
      limits: Limits
    """
    self.model, self.limits, self.stopping = model, limits, False
    self.taken = 0
    self.batcher = Batcher(model.run, limits.batch_size, limits.batch_seconds, limits.queue)

  def app(self) -> Starlette:
    """The ASGI app."""
    routes = [Route(path, self.ready) for path in ('/healthz', '/healthz/ready')]
    routes.append(Route('/healthz/live', self.live))
    for prefix in PREFIXES:
      routes.append(Route(f'{prefix}/metadata', self.metadata))
      routes.append(Route(f'{prefix}:predict', self.predict, methods=['POST']))
    for prefix in PREFIXES:
      routes.append(Route(f'{prefix}:{{verb}}', self.other_verb, methods=['POST']))
      routes.append(Route(prefix, self.status))
    handlers = {RequestError: _refusal, HTTPException: self._http_error, ClientDisconnect: _gone}
    middleware = [Middleware(ReadToTheEnd, seconds=self.limits.read_seconds)]
    return Starlette(routes=routes, exception_handlers=handlers, middleware=middleware)

  async def live(self, request: Request) -> Response:
    """200 as long as the process answers."""
    return _json({'live': True})

  async def ready(self, request: Request) -> Response:
    """200, or 503 while stopping."""
    return _json({'live': True, 'ready': not self.stopping}, 503 if self.stopping else 200)

  async def status(self, request: Request) -> Response:
    """GetModelStatusResponse."""
    self._check_model(request, 'Could not find any versions of model {name}')
    state = 'UNLOADING' if self.stopping else 'AVAILABLE'
    version = {'version': self.model.version, 'state': state, 'status': {'error_code': 'OK', 'error_message': ''}}
    return _json({'model_version_status': [version]})

  async def metadata(self, request: Request) -> Response:
    """GetModelMetadataResponse."""
    self._check_model(request, 'Could not find any versions of model {name}')
    spec = {'name': self.model.name, 'signature_name': '', 'version': self.model.version}
    return _json({'model_spec': spec, 'metadata': {'signature_def': {'signature_def': self.model.metadata()}}})

  async def other_verb(self, request: Request) -> Response:
    """:classify, :regress and what does not exist."""
    verb = request.path_params['verb']
    raise RequestError(400, f'Malformed request: POST {request.url.path}: only :predict is served, not :{verb}.')

  async def predict(self, request: Request) -> Response:
    """Asks the model."""
    if self.stopping:
      raise RequestError(503, 'The server is stopping.')
    self.taken += 1
    try:
      return await self._predict(request)
    finally:
      self.taken -= 1

  async def _predict(self, request):
    self._check_model(request, 'Servable not found for request: Latest({name})')
    asked = rest_json.parse(await self._body(request), self.model.signatures)
    most = self.limits.queue
    if asked.count > most:
      raise RequestError(413, f'The request has {asked.count} texts; this server takes at most {most}: cut it.')
    if not asked.count:
      outputs = {name: [] for name in self.model.signatures[asked.signature].outputs}
    else:
      outputs = await self._answer(request, asked)
    return _response(rest_json.render(asked, outputs))

  async def _body(self, request):
    most, seconds = self.limits.request_bytes, self.limits.read_seconds
    if request.headers.get('content-encoding', 'identity') != 'identity':
      raise RequestError(415, f'Content-Encoding {request.headers["content-encoding"]}: send the JSON as it is.')
    try:
      return await asyncio.wait_for(_read(request, most), seconds)
    except asyncio.TimeoutError:
      raise RequestError(408, f'The request did not arrive within {seconds:g} s.') from None

  async def _answer(self, request, asked):
    try:
      answer = asyncio.wrap_future(self.batcher.submit(asked.signature, asked.columns))
    except FullError:
      raise RequestError(503, f'Busy: {self.limits.queue} texts wait already. Ask again later.') from None
    gone = asyncio.ensure_future(_disconnect(request))
    try:
      await asyncio.wait({answer, gone}, timeout=self.limits.answer_seconds, return_when=asyncio.FIRST_COMPLETED)
      if answer.done():
        return await answer
    except RequestError:
      raise
    except Exception as error:
      LOGGER.error('%s failed: %s: %s', asked.signature, type(error).__name__, error, exc_info=tf_compat.debugging())
      raise RequestError(500, f'The model failed: {type(error).__name__}: {error}') from error
    finally:
      answer.cancel()  # what has not begun is taken out of the queue
      gone.cancel()
    if gone.done() and not gone.cancelled():
      raise ClientDisconnect
    raise RequestError(504, f'No answer within {self.limits.answer_seconds:g} s.')

  def _check_model(self, request, message):
    asked = request.path_params
    known = f'; this server has {self.model.name}, version {self.model.version}'
    if asked['name'] != self.model.name:
      raise RequestError(404, message.format(name=asked['name']) + known)
    if 'label' in asked:
      raise RequestError(400, f'Unrecognized servable version label: {asked["label"]}{known}, without labels')
    version = asked.get('version', self.model.version)
    if not (version.isascii() and version.isdecimal()):
      raise RequestError(400, f'Failed to convert version: {version[:99]} to numeric.')
    if version.lstrip('0') != self.model.version:
      raise RequestError(404, f'Could not find version {version} of model {self.model.name}{known}')

  async def _http_error(self, request, error):
    if error.status_code == 405:
      allowed = ', '.join(sorted(error.headers['Allow'].split(', ')))
      message = f'{request.url.path} does not take {request.method}, but {allowed}.'
    else:
      message = f'There is no {request.url.path}; ask /v1/models/{self.model.name}:predict or /healthz.'
    return _json({'error': message}, error.status_code, error.headers)


class ReadToTheEnd:
  """Answers no sooner than the request has arrived, or its time is over.

  Where a connection is closed on a client that still sends, the system takes the answer from it.
  """

  def __init__(self, app: Callable, seconds: float):
    self._app, self._seconds = app, seconds

  async def __call__(self, scope, receive, send):
    deadline = asyncio.get_running_loop().time() + self._seconds
    at_end = (b'expect', b'100-continue') in scope['headers']  # it sends nothing before it is asked to

    async def noted():
      nonlocal at_end
      message = await receive()
      at_end = not message.get('more_body', False)
      return message

    async def to_the_end():
      while not at_end:
        await noted()

    async def answer(message):
      left = deadline - asyncio.get_running_loop().time()
      if not at_end and left > 0:
        with contextlib.suppress(asyncio.TimeoutError):
          await asyncio.wait_for(to_the_end(), left)
      await send(message)

    await self._app(scope, noted, answer)


async def _read(request, most):
  too_much = RequestError(413, f'The request is larger than {most} bytes (--max-request-bytes): cut it into several.')
  length = request.headers.get('content-length', '')
  if length.isdecimal() and int(length) > most:
    raise too_much
  body = bytearray()
  async for chunk in request.stream():
    body += chunk
    if len(body) > most:
      raise too_much
  return bytes(body)


async def _disconnect(request):
  while (await request.receive())['type'] != 'http.disconnect':
    pass


async def _refusal(request, error):
  headers = {'Retry-After': str(RETRY_SECONDS)} if error.status == 503 else {}
  if error.status in (408, 503):
    headers['Connection'] = 'close'
  return _json({'error': str(error)}, error.status, headers)


async def _gone(request, error):
  return _json({'error': 'The client is gone.'}, CLIENT_GONE)


def _json(document, status=200, headers=None):
  return _response(rest_json.to_bytes(document), status, headers)


def _response(body, status=200, headers=None):
  return Response(body, status, headers, 'application/json')
