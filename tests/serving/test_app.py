"""The app in this process: paths, status codes, limits."""

import asyncio
import json

import httpx
import pytest
from fake_server import Upper

from switch_zoo.serving.app import RestService, ServerLimits

PREDICT = '/v1/models/upper:predict'
ONE = {'instances': ['a']}


def run(conversation, **limits):
  """Runs `conversation(client, service)` against an app."""

  async def main():
    service = RestService(Upper(), ServerLimits(**limits))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(service.app()), base_url='http://test') as client:
      answer = await conversation(client, service)
    service.batcher.close()
    return answer

  return asyncio.run(main())


def ask(method, path, **kwargs):
  """One request to an app with the default limits: the response."""
  return run(lambda client, _: client.request(method, path, **kwargs))


@pytest.mark.parametrize(
    ('method', 'path', 'document', 'status', 'answer'),
    [
        ('POST', PREDICT, ONE, 200, {'predictions': [{'outputs': 'A', 'scores': -1.0}]}),
        ('POST', '/v1/models/upper/versions/1:predict', ONE, 200, {'predictions': [{'outputs': 'A', 'scores': -1.0}]}),
        ('POST', PREDICT, {'inputs': []}, 200, {'outputs': {'outputs': [], 'scores': []}}),
        ('POST', PREDICT, {'signature_name': 'score', 'instances': [{'inputs': 'a', 'targets': 'bcd'}]}, 200,
         {'predictions': [-3.0]}),
        ('POST', PREDICT, {'instances': [7]}, 400, 'instances[0] is a number; expected a string'),
        ('POST', PREDICT, {'instances': ['refuse']}, 400, 'The model refused the request: asked to'),
        ('POST', PREDICT, {'instances': ['fail']}, 500, 'The model failed: ArithmeticError: asked to fail'),
        ('POST', PREDICT, {'instances': ['a'] * 1025}, 413,
         'The request has 1025 texts; this server accepts at most 1024. Split it.'),
        ('POST', '/v1/models/half:predict', ONE, 404, 'Servable not found for request: Latest(half); this server has'),
        ('POST', '/v1/models/upper/versions/2:predict', ONE, 404, 'Could not find version 2 of model upper'),
        ('POST', '/v1/models/upper/versions/x:predict', ONE, 400, 'Failed to convert version: x to numeric.'),
        ('POST', '/v1/models/upper/labels/new:predict', ONE, 400, 'Unrecognized servable version label: new'),
        ('POST', '/v1/models/upper:classify', ONE, 400, 'only :predict is served, not :classify'),
        ('GET', PREDICT, None, 405, f'{PREDICT} does not accept GET; it accepts POST.'),
        ('DELETE', '/v1/models/upper', None, 405, '/v1/models/upper does not accept DELETE; it accepts GET, HEAD.'),
        ('GET', '/v1/models/half', None, 404, 'Could not find any versions of model half; this server has upper'),
        ('GET', '/v2/models', None, 404, 'There is no /v2/models; use /v1/models/upper:predict or /healthz.'),
        ('GET', '/healthz', None, 200, {'live': True, 'ready': True}),
        ('GET', '/healthz/live', None, 200, {'live': True}),
    ],
)  # fmt: skip
def test_answers(method, path, document, status, answer):
  response = ask(method, path, json=document)
  assert (response.status_code, response.headers['content-type']) == (status, 'application/json'), response.text
  if isinstance(answer, str):
    assert list(response.json()) == ['error'] and answer in response.json()['error']
  else:
    assert response.json() == answer


@pytest.mark.parametrize('path', ['/v1/models/upper', '/v1/models/upper/versions/1'])
def test_status_is_that_of_the_page_of_tensorflow_serving(path):
  shown = """{
   "model_version_status": [
    {"version": "1", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}]}"""
  assert ask('GET', path).json() == json.loads(shown)


def test_metadata():
  document = ask('GET', '/v1/models/upper/metadata').json()
  assert document == {
    'model_spec': {'name': 'upper', 'signature_name': '', 'version': '1'},
    'metadata': {'signature_def': {'signature_def': Upper().metadata()}},
  }


def test_no_content_type_is_needed_as_curl_sends_another():
  headers = {'content-type': 'application/x-www-form-urlencoded'}
  assert ask('POST', PREDICT, content='{"instances": ["a"]}', headers=headers).status_code == 200


def test_a_compressed_body_is_refused():
  response = ask('POST', PREDICT, content=b'...', headers={'content-encoding': 'gzip'})
  assert response.status_code == 415 and 'gzip' in response.json()['error']


@pytest.mark.parametrize('chunked', [False, True], ids=['announced', 'chunked'])
def test_the_limit_of_a_body_is_exact(chunked):
  async def chunks(body):
    yield body[:10]
    yield body[10:]

  async def conversation(client, _):
    bodies = [json.dumps({'instances': ['a' * count]}).encode() for count in (81, 82)]  # 100 and 101 bytes
    return [await client.post(PREDICT, content=chunks(body) if chunked else body) for body in bodies]

  small, large = run(conversation, request_bytes=100)
  assert small.status_code == 200
  assert large.status_code == 413 and 'larger than 100 bytes' in large.json()['error']


def test_a_slow_body_is_answered_with_408():
  async def slow():
    yield b'{"instances": '
    await asyncio.sleep(10)

  response = run(lambda client, _: client.post(PREDICT, content=slow()), read_seconds=0.05)
  assert (response.status_code, response.headers['connection']) == (408, 'close')
  assert response.json() == {'error': 'The request did not arrive within 0.05 s.'}


def test_an_answer_that_takes_too_long_is_504_and_what_the_model_has_not_begun_is_dropped():
  async def conversation(client, service):
    requests = [client.post(PREDICT, json={'instances': [text]}) for text in ('sleep 0.4', 'x')]
    return await asyncio.gather(*requests), service.model.batches

  responses, batches = run(conversation, answer_seconds=0.1, batch_size=1)
  assert [response.status_code for response in responses] == [504, 504]
  assert batches == [1]


def test_a_full_queue_says_when_to_try_again():
  async def conversation(client, service):
    first = asyncio.ensure_future(client.post(PREDICT, json={'instances': ['sleep 0.3']}))
    while not service.model.batches:
      await asyncio.sleep(0.01)
    return await asyncio.gather(first, *(client.post(PREDICT, json=ONE) for _ in range(3)))

  responses = run(conversation, queue=2)
  assert [response.status_code for response in responses] == [200, 200, 200, 503]
  assert (
    responses[3].headers['retry-after'] == '1' and 'Busy: the queue is full (2 texts)' in responses[3].json()['error']
  )


def test_while_stopping_accepted_requests_are_answered_and_new_ones_refused():
  async def conversation(client, service):
    accepted = asyncio.ensure_future(client.post(PREDICT, json={'instances': ['sleep 0.2']}))
    while not service.model.batches:
      await asyncio.sleep(0.01)
    service.stopping = True
    paths = ('/healthz', '/healthz/live', '/v1/models/upper')
    answers = [await client.get(path) for path in paths]
    return [await accepted, await client.post(PREDICT, json=ONE), *answers]

  accepted, refused, ready, live, status = run(conversation)
  assert accepted.json() == {'predictions': [{'outputs': 'SLEEP 0.2', 'scores': -9.0}]}
  assert refused.status_code == 503 and refused.headers['connection'] == 'close' and refused.headers['retry-after']
  assert (ready.status_code, ready.json()) == (503, {'live': True, 'ready': False})
  assert live.status_code == 200
  assert status.json()['model_version_status'][0]['state'] == 'UNLOADING'


def test_requests_at_the_same_time_are_joined():
  async def conversation(client, service):
    first = asyncio.ensure_future(client.post(PREDICT, json={'instances': ['sleep 1.0']}))
    while not service.model.batches:
      await asyncio.sleep(0.01)
    answers = await asyncio.gather(*(client.post(PREDICT, json={'instances': [f'text {n}']}) for n in range(20)))
    await first
    return [answer.json()['predictions'][0]['outputs'] for answer in answers], service.model.batches

  texts, batches = run(conversation)
  assert texts == [f'TEXT {n}' for n in range(20)]
  assert batches == [1, 20]
