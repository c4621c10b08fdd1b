"""A server in a separate process, with the clients that servers meet."""

import asyncio
import concurrent.futures
import http.client
import json
import signal
import socket
import sys
import time
import urllib.error
import urllib.request
from urllib.parse import urlsplit

import httpx
import pytest
from serving_processes import FAKE, rss, running

PREDICT = '/v1/models/upper:predict'


def post(url, *texts):
  return httpx.post(url + PREDICT, json={'instances': texts}, timeout=20)


def connect(url):
  return socket.create_connection((urlsplit(url).hostname, urlsplit(url).port), timeout=10)


def head(length, *lines):
  return '\r\n'.join([f'POST {PREDICT} HTTP/1.1', 'Host: x', f'Content-Length: {length}', *lines, '', '']).encode()


def read(client):
  """The status and the document of the response on a socket; None if the socket was closed without one."""
  response = http.client.HTTPResponse(client)
  try:
    response.begin()
  except http.client.RemoteDisconnected:
    return None
  return response.status, json.loads(response.read())


def many(url, texts, clients=200):
  """Answers to requests of one text each, sent by many clients at the same time."""

  async def main():
    limits = httpx.Limits(max_connections=clients)
    async with httpx.AsyncClient(base_url=url, limits=limits, timeout=30) as client:
      return await asyncio.gather(*(client.post(PREDICT, json={'instances': [text]}) for text in texts))

  return asyncio.run(main())


@pytest.fixture(scope='module')
def server():
  """One server that many tests share: it survives all of them."""
  with running([sys.executable, FAKE, '{"read_seconds": 0.5, "request_bytes": 100000}']) as process:
    yield process


def test_200_concurrent_requests_get_their_own_answers(serving):
  texts = [f'text {number}' for number in range(200)]
  with serving() as server:
    responses = many(server.url, texts)
  assert [response.status_code for response in responses] == [200] * 200
  assert [response.json()['predictions'][0]['outputs'] for response in responses] == [t.upper() for t in texts]


def test_malformed_json_and_wrong_types_leave_the_connection_usable(server):
  with httpx.Client(base_url=server.url) as client:
    for body in (b'{', b'\xff', b'{"instances": [1]}', b''):
      response = client.post(PREDICT, content=body)
      assert response.status_code == 400 and response.json()['error']
    assert client.post(PREDICT, json={'instances': ['a']}).status_code == 200


def test_an_oversized_body_is_answered_though_the_client_sends_all_of_it(server):
  body = json.dumps({'instances': ['x' * 3_000_000]})
  with httpx.Client(base_url=server.url) as client:
    assert client.post(PREDICT, content=body).status_code == 413
    assert client.post(PREDICT, content=iter([body[:1000].encode(), body[1000:].encode()])).status_code == 413
    assert client.post(PREDICT, json={'instances': ['a']}).status_code == 200


@pytest.mark.parametrize('path', [PREDICT, '/v1/models/other:predict', '/nothing'])
def test_a_client_that_closes_after_an_unwanted_body_still_gets_the_answer(server, path):
  request = urllib.request.Request(server.url + path, b'x' * 3_000_000)  # sends Connection: close
  with pytest.raises(urllib.error.HTTPError) as error:
    urllib.request.urlopen(request, timeout=10)
  assert error.value.code == (413 if path == PREDICT else 404) and json.load(error.value)['error']


def test_an_oversized_body_is_refused_before_it_is_sent(server):
  with connect(server.url) as client:
    client.sendall(head(10**12, 'Expect: 100-continue'))
    status, document = read(client)
  assert status == 413 and '100000 bytes' in document['error']


@pytest.mark.parametrize(
  ('sent', 'answer'),
  [
    (head(100) + b'{"insta', 408),
    (head(100)[:30], 408),
    (b'', None),
    (b'GARBAGE\r\n\r\n', 400),
  ],
  ids=['in the body', 'in the head', 'from the start', 'not HTTP'],
)
def test_a_slow_client_is_answered_and_disconnected(server, sent, answer):
  with connect(server.url) as client:
    client.sendall(sent)
    begun = time.monotonic()
    response = read(client)
    assert time.monotonic() - begun < 5
    assert client.recv(1) == b''
  if answer is None:
    assert response is None
  else:
    assert response[0] == answer and list(response[1]) == ['error']


def test_a_client_that_sends_a_byte_now_and_then_is_disconnected_too(server):
  with connect(server.url) as client:
    begun = time.monotonic()
    try:
      for byte in head(100):
        client.sendall(bytes([byte]))
        time.sleep(0.05)
    except (BrokenPipeError, ConnectionResetError):
      pass
    assert time.monotonic() - begun < 3


def half_closed(url, sent):
  """A socket that has sent these bytes and then shut its sending side."""
  client = connect(url)
  client.sendall(sent)
  client.shutdown(socket.SHUT_WR)
  return client


def request(text, *lines):
  body = json.dumps({'instances': [text]}).encode()
  return head(len(body), *lines) + body


@pytest.mark.parametrize('text', ['a', 'sleep 0.4'])
@pytest.mark.parametrize('lines', [(), ('Connection: close',)], ids=['keep-alive', 'close'])
def test_a_client_that_has_shut_its_sending_side_is_answered(server, text, lines):
  with half_closed(server.url, request(text, *lines)) as client:
    status, document = read(client)
    assert (status, document['predictions'][0]['outputs']) == (200, text.upper())
    assert client.recv(1) == b''


def test_a_client_of_http_1_0_gets_no_interim_response(server):
  with half_closed(server.url, request('sleep 0.4').replace(b'HTTP/1.1', b'HTTP/1.0')) as client:
    assert client.recv(12) == b'HTTP/1.1 200'


def test_requests_one_after_the_other_are_all_answered_after_the_sending_side_is_shut(server):
  with half_closed(server.url, request('sleep 0.2') + request('b') + request('c')) as client:
    answers = [read(client) for _ in 'abc']
  assert [document['predictions'][0]['outputs'] for _, document in answers] == ['SLEEP 0.2', 'B', 'C']


def test_many_clients_that_have_shut_their_sending_side(serving):
  with serving() as server, concurrent.futures.ThreadPoolExecutor(16) as pool:

    def client(number):
      with half_closed(server.url, request(f'text {number}')) as connection:
        return read(connection)

    answers = list(pool.map(client, range(300)))
    assert [document['predictions'][0]['outputs'] for _, document in answers] == [f'TEXT {n}' for n in range(300)]
    assert server.end(signal.SIGTERM)[::2] == (0, '')


@pytest.mark.parametrize(
  ('sent', 'answer'),
  [(request('a')[:-3], 400), (head(100)[:30], 400), (b'', None), (request('a') + head(100)[:30], 200)],
  ids=['in the body', 'in the head', 'without a request', 'in the second head'],
)
def test_a_request_that_is_cut_off_is_refused(server, sent, answer):
  with half_closed(server.url, sent) as client:
    response = read(client)
    assert (response and response[0]) == answer
    if answer == 200:
      response = read(client)
    assert response is None or answer != 200 or response[0] == 400
    assert client.recv(1) == b''
  if response:
    assert response[1] == {'error': 'The connection was closed before the request was complete.'}


def framed(*lines):
  """A request with these lines on the length of its body, which could end in several places."""
  fields = '\r\n'.join([f'POST {PREDICT} HTTP/1.1', 'Host: x', *lines, '', ''])
  return fields.encode() + b'5\r\nhello\r\n0\r\n\r\n'


@pytest.mark.parametrize(
  ('lines', 'message'),
  [
    (['Content-Length: 15', 'Transfer-Encoding: chunked'], 'both Content-Length and Transfer-Encoding'),
    (['transfer-encoding: chunked', 'CONTENT-LENGTH: 15'], 'both Content-Length and Transfer-Encoding'),
    (['Content-Length: 15', 'Content-Length: 4'], 'more than one Content-Length'),
    (['Content-Length: 15', 'X: y', 'content-length: 15'], 'more than one Content-Length'),
    (['Content-Length: 15, 15'], 'more than one Content-Length'),
    (['Content-Length: +15'], 'bad Content-Length'),
    (['Content-Length: -1'], 'bad Content-Length'),
    (['Transfer-Encoding: chunked', 'Transfer-Encoding: chunked'], 'multiple Transfer-Encoding'),
    (['Transfer-Encoding: gzip, chunked'], 'Only Transfer-Encoding: chunked is supported'),
    (['Transfer-Encoding : chunked'], 'illegal header line'),
  ],
  ids=str,
)
def test_a_request_that_may_end_in_several_places_is_refused_and_what_follows_is_not_read(server, lines, message):
  with connect(server.url) as client:
    client.sendall(framed(*lines) + request('smuggled'))
    status, document = read(client)
    assert status == 400 and message in document['error']
    assert client.recv(1) == b'', 'the connection is closed, and the second request not answered'


def test_a_refused_client_gets_its_answer_though_it_sends_more(server):
  with connect(server.url) as client:
    for _ in range(20):
      client.sendall(b'no HTTP\r\n\r\n' * 1000)
      time.sleep(0.01)
    assert read(client)[0] == 400


def test_the_requests_of_a_client_that_disconnected_are_dropped(serving):
  with serving(batch_size=1) as server:
    body = b'{"instances": ["sleep 0.3"]}'
    clients = [connect(server.url) for _ in range(20)]
    for client in clients:
      client.sendall(head(len(body)) + body)
    time.sleep(0.1)
    for client in clients:
      client.close()
    assert post(server.url, 'a').status_code == 200
    code, out, err = server.end(signal.SIGTERM)
  assert (code, err) == (0, '')
  assert json.loads(out)['texts'] <= 3  # the one that had begun, and ours


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
def test_a_signal_during_requests_loses_none_that_was_accepted(serving, number):
  with serving(batch_size=4) as server, concurrent.futures.ThreadPoolExecutor(24) as pool:
    accepted = [pool.submit(post, server.url, 'sleep 0.2') for _ in range(16)]
    with httpx.Client(base_url=server.url) as idle:
      assert idle.get('/healthz').status_code == 200
      time.sleep(0.3)
      server.popen.send_signal(number)
      time.sleep(0.05)
      # It listens until everything is answered, and reports that it is stopping.
      assert idle.get('/healthz').json() == {'live': True, 'ready': False}
      refused = post(server.url, 'a')
      assert refused.status_code == 503 and refused.headers['retry-after'] == '1'
    code, out, err = server.end()
    assert [future.result().status_code for future in accepted] == [200] * 16
  assert (code, err, json.loads(out)['texts']) == (0, '', 16)


def test_a_signal_among_many_requests_leaves_none_without_an_answer(serving):
  def client(url):
    """Status codes until the server stops; a request that was sent and not answered raises."""
    body, statuses = b'{"instances": ["sleep 0.02"]}', []
    while 503 not in statuses:
      with connect(url) as connection:
        connection.sendall(head(len(body)))
        connection.sendall(body)
        statuses.append(read(connection)[0])
    return statuses

  with serving(batch_size=32) as server, concurrent.futures.ThreadPoolExecutor(16) as pool:
    clients = [pool.submit(client, server.url) for _ in range(16)]
    time.sleep(0.5)
    code, out, _ = server.end(signal.SIGTERM)
    statuses = [status for future in clients for status in future.result()]
  assert code == 0 and set(statuses) == {200, 503}
  assert statuses.count(200) == json.loads(out)['texts'] >= 16


def test_whoever_connects_while_the_server_stops_is_answered_or_refused(serving):
  """Until no connection is possible: none is reset, and none is closed without an answer."""

  def client(url):
    statuses = []
    while True:
      try:
        connection = connect(url)
      except ConnectionRefusedError:
        return statuses
      with connection:
        connection.sendall(request('a'))
        statuses.append(read(connection)[0])

  with serving() as server, concurrent.futures.ThreadPoolExecutor(24) as pool:
    clients = [pool.submit(client, server.url) for _ in range(24)]
    time.sleep(0.5)
    code, _, err = server.end(signal.SIGTERM)
    statuses = [status for future in clients for status in future.result(timeout=20)]
  assert (code, err) == (0, '') and set(statuses) == {200, 503}


def test_a_client_that_had_connected_before_the_server_stopped_is_refused_with_an_answer(serving):
  with serving() as server, connect(server.url) as early, connect(server.url) as silent:
    time.sleep(0.1)
    server.popen.send_signal(signal.SIGTERM)
    for _ in range(100):  # until nobody can connect
      time.sleep(0.01)
      try:
        with socket.create_connection((urlsplit(server.url).hostname, urlsplit(server.url).port), timeout=0.05):
          pass
      except (ConnectionRefusedError, TimeoutError):
        break
    early.sendall(request('a'))
    assert read(early)[0] == 503
    assert silent.recv(1) == b''
    assert server.end()[::2] == (0, '')


def test_a_second_signal_stops_it_at_once(serving):
  body = b'{"instances": ["sleep 15"]}'
  with serving() as server, connect(server.url) as client:
    client.sendall(head(len(body)) + body)
    time.sleep(0.3)
    begun = time.monotonic()
    server.popen.send_signal(signal.SIGINT)
    time.sleep(0.3)
    code, _, err = server.end(signal.SIGINT)
    assert (code, err) == (130, '') and time.monotonic() - begun < 5


@pytest.mark.slow
def test_memory_is_flat_over_2000_requests(serving):
  def client(url, number):
    """A hundred requests on ten connections: answered, refused, failed, and some whose answer is not read."""
    for _ in range(10):
      connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=20)
      for text in ['x' * 1000, 'fail', 'refuse', '😀' * 500] * 2 + ['x' * 200_000, str(number)]:
        connection.request('POST', PREDICT, json.dumps({'instances': [text]}))
        if text != str(number):
          connection.getresponse().read()
      connection.close()

  with serving(request_bytes=100_000) as server, concurrent.futures.ThreadPoolExecutor(10) as pool:
    sizes = []
    for rounds in (10, 20):
      list(pool.map(client, [server.url] * rounds, range(rounds)))
      sizes.append(rss(server.popen.pid))
  grown = (sizes[1] - sizes[0]) / 2**20
  assert grown < 2, f'{grown:.1f} MB more after 2,000 requests'
