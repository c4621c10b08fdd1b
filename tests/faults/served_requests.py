"""Sends well-formed and malformed requests with 16 clients at the same time, and looks at answers and memory.

    python tests/faults/served_requests.py --count 20000 [--seed 0] [--export]     exit code 1 if anything is wrong

The server is `switch_zoo.serving` around a model without TensorFlow, which answers in upper case; with `--export` it is
`switch_zoo serve` of a tiny SavedModel that does the same. Every well-formed request must get the right answer, every
malformed one its status and a message, and the server's resident memory must not grow after the first tenth of the
requests. (This file is not called `requests.py`, because that is a library that others import.)
"""

import argparse
import collections
import concurrent.futures
import contextlib
import http.client
import json
import pathlib
import random
import re
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple
from urllib.parse import urlsplit

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / 'tests' / 'serving'))

from serving_processes import FAKE, rss, running  # noqa: E402

CLIENTS = 16
REQUEST_BYTES = 100_000
PATIENCE = 60  # seconds for an answer, on a slow machine
# By which memory may grow after the first tenth: what an allocator keeps, and not what is kept of each request.
MAX_GROWTH = {'fake': 2 << 20, 'export': 16 << 20}
SERVE = 'import sys; from switch_zoo import cli; sys.exit(cli.run())'


class Malformed(NamedTuple):
  """A request that must be refused: method, path ('' for :predict), body, headers, and the status."""

  method: str
  path: str
  body: bytes
  headers: dict[str, str]
  status: int


MALFORMED = [
  *(
    Malformed('POST', '', body, {}, 400)
    for body in (
      b'', b'{', b'\xff', b'\x00', b'null', b'[]', b'3', b'{}', b'{"instances": 3}', b'{"instances": [3]}',
      b'{"instances": [null]}', b'{"instances": ["a", ["b"]]}', b'{"instances": [{"x": "a"}]}', b'[' * 50_000,
      b'{"instances": ["a"]} x', b'{"instances": [{"b64": "?"}]}', b'{"instances": ["a"], "inputs": ["a"]}',
      b'{"signature_name": "nothing", "instances": ["a"]}', b'{"signature_name": 3, "instances": ["a"]}',
      b'{"instances": ["a\xed\xa0\xbd"]}', b'{"instances": [' + b'9' * 5000 + b']}',
    )
  ),
  Malformed('POST', '', b'{"instances": ["' + b'x' * REQUEST_BYTES + b'"]}', {}, 413),
  Malformed('POST', '', b'{"instances": ["a"]}', {'Content-Encoding': 'gzip'}, 415),
  Malformed('GET', '', b'', {}, 405),
  Malformed('DELETE', '', b'', {}, 405),
  Malformed('POST', '/nothing', b'{"instances": ["a"]}', {}, 404),
  Malformed('POST', '/v1/models/other:predict', b'{"instances": ["a"]}', {}, 404),
]  # fmt: skip
NOT_HTTP = [b'GARBAGE\r\n\r\n', b'\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n', b'POST /\r\n\r\n']

NOT_HTTP_REPORT = 'Invalid HTTP request received.'


class Server(NamedTuple):
  """A running server: address, path of :predict, process id, how far its memory may grow, and its right answers."""

  address: str
  predict: str
  pid: int
  max_growth: int
  answer: Callable[[str], str]


def ascii_upper(text: str) -> str:
  """Upper case of ASCII's letters only, as the fake server makes it of bytes."""
  return text.encode().upper().decode()


@contextlib.contextmanager
def fake_server() -> Iterator[Server]:
  """The server around a model without TensorFlow. On stderr it may only report what is not HTTP."""
  with running([sys.executable, FAKE, json.dumps({'request_bytes': REQUEST_BYTES})]) as process:
    yield Server(
      urlsplit(process.url).netloc, '/v1/models/upper:predict', process.popen.pid, MAX_GROWTH['fake'], ascii_upper
    )
    code, _, errors = process.end(signal.SIGTERM)
    if code or errors.replace(f'{NOT_HTTP_REPORT}\n', ''):
      raise SystemExit(f'The server ended with exit code {code}: {errors[-2000:]}')


@contextlib.contextmanager
def export_server() -> Iterator[Server]:
  """`switch_zoo serve` of a tiny SavedModel."""
  with tempfile.TemporaryDirectory() as root:
    folder = pathlib.Path(root) / 'mine'
    code = 'import tiny_export, sys; tiny_export.write(sys.argv[1], products=0)'
    subprocess.run([sys.executable, '-c', code, str(folder)], cwd=ROOT / 'benchmarks', check=True, capture_output=True)
    options = ['serve', str(folder), '--port', '0', '--max-request-bytes', str(REQUEST_BYTES)]
    with running([sys.executable, '-c', SERVE, *options]) as process:
      match = re.search(r'on (http://\S+) - try', process.first_line)
      if not match:
        raise SystemExit(f'The server does not start: {process.first_line}{process.end(signal.SIGTERM)}')
      address = urlsplit(match[1]).netloc
      yield Server(address, '/v1/models/mine:predict', process.popen.pid, MAX_GROWTH['export'], str.upper)


class Client:
  """One client: a connection that is kept while the server keeps it.

  counts: kind of a request -> how many were answered as they must be
  wrong: a text for each that was not
  """

  def __init__(self, server: Server, seed: str) -> None:
    self.server = server
    self.counts = collections.Counter[str]()
    self.wrong: list[str] = []
    self._generator = random.Random(seed)
    self._connection = http.client.HTTPConnection(server.address, timeout=PATIENCE)

  def send(self, count: int) -> None:
    """Sends this many requests, one after the other; three of four are well-formed."""
    for _ in range(count):
      kind = self._generator.choices(('right', 'malformed', 'not HTTP', 'cut off'), (75, 21, 2, 2))[0]
      work = {'right': self._right, 'malformed': self._malformed, 'not HTTP': self._not_http, 'cut off': self._cut_off}
      try:
        mistake = work[kind]()
      except (OSError, http.client.HTTPException, ValueError) as error:
        self._connection.close()
        mistake = f'no answer: {type(error).__name__}: {error}'
      if mistake:
        self.wrong.append(f'{kind}: {mistake}')
      else:
        self.counts[kind] += 1

  def close(self) -> None:
    """Closes the connection."""
    self._connection.close()

  def _right(self) -> str:
    texts = [self._text() for _ in range(self._generator.choice([1, 1, 1, 2, 8]))]
    status, document = self._request('POST', self.server.predict, json.dumps({'instances': texts}).encode(), {})
    expected = [{'outputs': self.server.answer(text)} for text in texts]
    if status != 200:
      return f'status {status} and {str(document)[:200]} for {str(texts)[:100]}'
    answers = [{'outputs': row['outputs']} for row in document['predictions']]
    return '' if answers == expected else f'{str(answers)[:200]} for {str(texts)[:200]}'

  def _text(self) -> str:
    words = [f'{self._generator.random()}', 'naïve café', '日本語', '\n\t"\\', 'x' * 1000, '😀' * 20]
    return ' '.join(self._generator.choices(words, k=self._generator.randrange(1, 5)))

  def _malformed(self) -> str:
    case = self._generator.choice(MALFORMED)
    status, document = self._request(case.method, case.path or self.server.predict, case.body, case.headers)
    if status == case.status and isinstance(document.get('error'), str):
      return ''
    return f'status {status} and {str(document)[:200]}, not {case.status}, for {case.method} {case.body[:60]!r}'

  def _request(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, Any]:
    self._connection.request(method, path, body, headers)
    response = self._connection.getresponse()
    return response.status, json.loads(response.read())

  def _not_http(self) -> str:
    with self._socket() as connection:
      connection.sendall(self._generator.choice(NOT_HTTP))
      response = http.client.HTTPResponse(connection)
      response.begin()
      return '' if response.status == 400 else f'status {response.status}'

  def _cut_off(self) -> str:
    """A client that leaves in the middle of its request, or before its answer; it gets none."""
    body = json.dumps({'instances': [self._text()]}).encode()
    head = f'POST {self.server.predict} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n'.encode()
    with self._socket() as connection:
      connection.sendall((head + body)[: self._generator.randrange(1, len(head + body) + 1)])
    return ''

  def _socket(self) -> socket.socket:
    host, port = self.server.address.split(':')
    return socket.create_connection((host, int(port)), PATIENCE)


def run(count: int, seed: int, export: bool = False) -> tuple[collections.Counter[str], list[str], list[float]]:
  """Sends requests.

  Returns:
    how many of each kind were answered as they must be; what was wrong; the server's resident memory in MiB after each
    tenth
  """
  counts, wrong, sizes = collections.Counter[str](), list[str](), list[float]()
  with (export_server if export else fake_server)() as server:
    clients = [Client(server, f'{seed} {number}') for number in range(CLIENTS)]
    with concurrent.futures.ThreadPoolExecutor(CLIENTS) as pool:
      for _ in range(10):
        list(pool.map(lambda client: client.send(-(-count // 10 // CLIENTS)), clients))
        sizes.append(rss(server.pid) / 2**20)
    for client in clients:
      client.close()
      counts.update(client.counts)
      wrong += client.wrong
    if sizes[-1] - sizes[0] > server.max_growth / 2**20:
      wrong.append(f'memory grows after the first tenth: {[round(size, 1) for size in sizes]} MiB')
  return counts, wrong, sizes


def main(arguments: list[str]) -> int:
  """Prints what was answered, and the memory; 1 if anything is wrong."""
  parser = argparse.ArgumentParser(description='Sends requests with 16 clients.')
  parser.add_argument('--count', type=int, default=20_000)
  parser.add_argument('--seed', type=int, default=0)
  parser.add_argument('--export', action='store_true', help='serve a SavedModel')
  options: Any = parser.parse_args(arguments)
  counts, wrong, sizes = run(options.count, options.seed, options.export)
  for kind, number in counts.most_common():
    print(f'{number:6,}  {kind}: answered as it must be')
  print(f'memory after each tenth, MiB: {", ".join(f"{size:.1f}" for size in sizes)}')
  print(f'{len(wrong)} wrong', *wrong[:50], sep='\n')
  return 1 if wrong else 0


if __name__ == '__main__':
  sys.exit(main(sys.argv[1:]))
