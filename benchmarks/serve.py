"""Throughput of `switch_zoo serve`: many concurrent clients against one.

  python benchmarks/serve.py --export mine --out serve.json

Each client sends its next request, of one text, when it has the answer to the previous one. Without --export, a tiny
one is made that answers in a few milliseconds, so that the server itself is measured.
"""

import argparse
import http.client
import json
import pathlib
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from urllib.parse import urlsplit

HEADS = ('clients', 'requests', 'requests/s', 'median ms', 'p95 ms')


def client(url, text, until, seconds_each):
  """Sends requests until a time; every request must be answered with 200."""
  connection = http.client.HTTPConnection(urlsplit(url).netloc)
  body = json.dumps({'instances': [text]})
  while time.perf_counter() < until:
    begun = time.perf_counter()
    connection.request('POST', urlsplit(url).path, body)
    response = connection.getresponse()
    answer = response.read()
    if response.status != 200:
      raise SystemExit(f'{response.status}: {answer.decode()}')
    seconds_each.append(time.perf_counter() - begun)
  connection.close()


def measure(url, clients, text, seconds):
  """One row of the table."""
  times = []
  begun = time.perf_counter()
  threads = [threading.Thread(target=client, args=(url, text, begun + seconds, times)) for _ in range(clients)]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join()
  took = time.perf_counter() - begun
  ordered = sorted(times)
  return {
    'clients': clients,
    'requests': len(times),
    'requests/s': len(times) / took,
    'median ms': 1000 * statistics.median(times),
    'p95 ms': 1000 * ordered[int(0.95 * (len(ordered) - 1))],
  }


def run(export, arguments):
  code = 'import sys; from switch_zoo import cli; sys.exit(cli.run())'
  command = [sys.executable, '-c', code, 'serve', export, '--port', '0', '--timeout', '600', *arguments.option]
  server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
  try:
    match = re.search(r'(http://\S+:predict)', server.stdout.readline())
    if not match:
      raise SystemExit('the server did not start')
    url = match[1].rstrip("'")
    for count in (1, arguments.clients):  # warm-up: TensorFlow prepares its graphs during the first calls
      measure(url, count, arguments.text, 2)
    return [measure(url, count, arguments.text, arguments.seconds) for count in (1, arguments.clients)]
  finally:
    server.send_signal(signal.SIGTERM)
    server.wait()


def main():
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument('--export', help='folder made by `switch_zoo export`; by default a tiny one is made')
  parser.add_argument('--clients', type=int, default=32)
  parser.add_argument('--seconds', type=float, default=10, help='duration of each of the two measurements')
  parser.add_argument('--text', default='translate English to German: That is good.')
  parser.add_argument(
    '--option', action='append', default=[], help='option of the server: --option=--max-batch-size=16'
  )
  parser.add_argument('--out', type=pathlib.Path, help='a JSON file for the result')
  arguments = parser.parse_args()
  with tempfile.TemporaryDirectory() as folder:
    if not arguments.export:
      tiny = str(pathlib.Path(folder) / 'tiny')
      subprocess.run([sys.executable, pathlib.Path(__file__).with_name('tiny_export.py'), tiny], check=True)
    rows = run(arguments.export or tiny, arguments)
  print(' '.join(f'{head:>11}' for head in HEADS))
  for row in rows:
    print(' '.join(f'{row[head]:>11,.1f}' if isinstance(row[head], float) else f'{row[head]:>11}' for head in HEADS))
  ratio = rows[1]['requests/s'] / rows[0]['requests/s']
  print(f'{arguments.clients} clients: {ratio:.1f} times the throughput of one')
  if arguments.out:
    arguments.out.write_text(json.dumps({'export': arguments.export or 'tiny', 'rows': rows, 'ratio': ratio}, indent=2))


if __name__ == '__main__':
  main()
