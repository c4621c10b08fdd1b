"""HTTP: paths, status codes and limits. The status codes are TensorFlow Serving's where it has one.

An error is {"error": "..."}: 400 the request is malformed, 404 no such model, 405 no such method, 408 the client was
too slow, 413 the request is too large, 415 it is compressed, 500 the model failed, 503 (with Retry-After) the queue is
full or the server is stopping, 504 no answer in time.
"""

import asyncio
import logging
from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

from starlette.applications import Starlette
from starlette.convertors import StringConvertor, register_url_convertor
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from switch_zoo import tf_compat
from switch_zoo.serving import rest_json
from switch_zoo.serving.batching import Batcher, Columns, QueueFullError
from switch_zoo.serving.request_body import DrainRequest, read_body, wait_for_disconnect
from switch_zoo.serving.rest_json import PredictRequest, RequestError, TextSignature

LOGGER = logging.getLogger(__name__)
RETRY_SECONDS = 1
CLIENT_CLOSED_REQUEST = 499  # nobody reads it; TensorFlow Serving uses it too
MODEL = '/v1/models/{name:uncoloned}'
PREFIXES = (MODEL, f'{MODEL}/versions/{{version:uncoloned}}', f'{MODEL}/labels/{{label:uncoloned}}')


class Uncoloned(StringConvertor):
  """A part of a path before the colon of `:predict`."""

  regex = '[^/:]+'


register_url_convertor('uncoloned', Uncoloned())


class Servable(Protocol):
  """A model that can be served, such as `saved_model.LoadedExport`."""

  @property
  def name(self) -> str:
    """Its name in URLs."""
    ...

  @property
  def version(self) -> str:
    """Its number: '1'."""
    ...

  @property
  def signatures(self) -> Mapping[str, TextSignature]:
    """Name -> signature, for those that are served."""
    ...

  def metadata(self) -> Mapping[str, Any]:
    """Name -> SignatureDef as JSON, for all signatures."""
    ...

  def run(self, signature: str, columns: Mapping[str, list[bytes]]) -> Columns:
    """Columns of inputs -> columns of outputs. Raises RequestError for texts that the model does not accept."""
    ...


class ServerLimits(NamedTuple):
  """What the server accepts.

  batch_size: most texts in a batch
  batch_seconds: how long to wait for a full batch while several clients send requests
  request_bytes: size of the largest body
  read_seconds: time for a request to arrive
  answer_seconds: time from its arrival to its answer
  queue: most texts in the queue
  """

  batch_size: int = 32
  batch_seconds: float = 0.005
  request_bytes: int = 4 * 2**20
  read_seconds: float = 10.0
  answer_seconds: float = 30.0
  queue: int = 1024


class RestService:
  """A model and its HTTP interface. `stopping`: refuse new requests; `num_accepted`: requests still to be answered."""

  def __init__(self, model: Servable, limits: ServerLimits) -> None:
    self.model, self.limits, self.stopping = model, limits, False
    self.num_accepted = 0
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
    handlers = {RequestError: _refusal, HTTPException: self._http_error, ClientDisconnect: _disconnected}
    middleware = [Middleware(DrainRequest, seconds=self.limits.read_seconds)]
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
    """:classify, :regress and verbs that do not exist."""
    verb = request.path_params['verb']
    raise RequestError(400, f'Malformed request: POST {request.url.path}: only :predict is served, not :{verb}.')

  async def predict(self, request: Request) -> Response:
    """Runs the model."""
    if self.stopping:
      raise RequestError(503, 'The server is stopping.')
    self.num_accepted += 1
    try:
      return await self._predict(request)
    finally:
      self.num_accepted -= 1

  async def _predict(self, request: Request) -> Response:
    self._check_model(request, 'Servable not found for request: Latest({name})')
    parsed = rest_json.parse(await self._body(request), self.model.signatures)
    limit = self.limits.queue
    if parsed.count > limit:
      raise RequestError(413, f'The request has {parsed.count} texts; this server accepts at most {limit}. Split it.')
    if parsed.count:
      outputs = await self._run(request, parsed)
    else:
      outputs = {name: [] for name in self.model.signatures[parsed.signature].outputs}
    return _response(rest_json.render(parsed, outputs))

  async def _body(self, request: Request) -> bytes:
    seconds, encoding = self.limits.read_seconds, request.headers.get('content-encoding', 'identity')
    if encoding != 'identity':
      raise RequestError(415, f'Content-Encoding {encoding} is not supported: send the JSON uncompressed.')
    try:
      return await asyncio.wait_for(read_body(request, self.limits.request_bytes), seconds)
    except asyncio.TimeoutError:
      raise RequestError(408, f'The request did not arrive within {seconds:g} s.') from None

  async def _run(self, request: Request, parsed: PredictRequest) -> Columns:
    try:
      answer = asyncio.wrap_future(self.batcher.submit(parsed.signature, parsed.columns))
    except QueueFullError:
      raise RequestError(503, f'Busy: the queue is full ({self.limits.queue} texts). Try again later.') from None
    disconnect = asyncio.ensure_future(wait_for_disconnect(request))
    try:
      timeout = self.limits.answer_seconds
      await asyncio.wait({answer, disconnect}, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
      if answer.done():
        return await answer
    except RequestError:
      raise
    except Exception as error:
      kind = type(error).__name__
      LOGGER.error('%s failed: %s: %s', parsed.signature, kind, error, exc_info=tf_compat.debugging())
      raise RequestError(500, f'The model failed: {kind}: {error}') from error
    finally:
      answer.cancel()  # removes from the queue what the model has not begun
      disconnect.cancel()
    if disconnect.done() and not disconnect.cancelled():
      raise ClientDisconnect
    raise RequestError(504, f'No answer within {self.limits.answer_seconds:g} s.')

  def _check_model(self, request: Request, message: str) -> None:
    path = request.path_params
    available = f'; this server has {self.model.name}, version {self.model.version}'
    if path['name'] != self.model.name:
      raise RequestError(404, message.format(name=path['name']) + available)
    if 'label' in path:
      raise RequestError(400, f'Unrecognized servable version label: {path["label"]}{available}, without labels')
    version = path.get('version', self.model.version)
    if not (version.isascii() and version.isdecimal()):
      raise RequestError(400, f'Failed to convert version: {version[:99]} to numeric.')
    if version.lstrip('0') != self.model.version:
      raise RequestError(404, f'Could not find version {version} of model {self.model.name}{available}')

  async def _http_error(self, request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # Starlette calls it for these only
    headers = error.headers or {}
    if error.status_code == 405:
      allowed = ', '.join(sorted(headers['Allow'].split(', ')))
      message = f'{request.url.path} does not accept {request.method}; it accepts {allowed}.'
    else:
      message = f'There is no {request.url.path}; use /v1/models/{self.model.name}:predict or /healthz.'
    return _json({'error': message}, error.status_code, headers)


async def _refusal(request: Request, error: Exception) -> Response:
  assert isinstance(error, RequestError)  # Starlette calls it for these only
  headers = {'Retry-After': str(RETRY_SECONDS)} if error.status == 503 else {}
  if error.status in (408, 503):
    headers['Connection'] = 'close'
  return _json({'error': str(error)}, error.status, headers)


async def _disconnected(request: Request, error: Exception) -> Response:
  return _json({'error': 'The client disconnected.'}, CLIENT_CLOSED_REQUEST)


def _json(document: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
  return _response(rest_json.to_bytes(document), status, headers)


def _response(body: bytes, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
  return Response(body, status, headers, 'application/json')
