"""`switch_zoo serve` as a user meets it: a real SavedModel, a real process, the requests in docs/serving.md."""

import concurrent.futures
import importlib.util
import json
import pathlib
import re
import shlex
import shutil
import signal
import socket
import sys
import time

import httpx
import pytest
from serving_processes import rss, running

from switch_zoo import cli

CHECKOUT = pathlib.Path(__file__).parents[2]
FORBIDDEN = ('mesh_tensorflow', 't5', 'seqio', 'torch')
CODE = f"""
import sys
from switch_zoo import cli
code = cli.run()
print([name for name in {FORBIDDEN} if name in sys.modules])
sys.exit(code)
"""


@pytest.fixture(scope='module')
def export(tmp_path_factory):
  """A folder `mine`, as `switch_zoo export` makes it."""
  spec = importlib.util.spec_from_file_location('tiny_export', CHECKOUT / 'benchmarks' / 'tiny_export.py')
  tiny_export = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(tiny_export)
  folder = tmp_path_factory.mktemp('exports') / 'mine'
  tiny_export.write(str(folder), products=0)
  return folder


@pytest.fixture(scope='module')
def server(export):
  """A process that serves it. The last test stops it and reads what it prints at its end."""
  command = [sys.executable, '-c', CODE, 'serve', str(export), '--port', '0', '--max-request-bytes', '100000']
  with running(command) as process:
    process.url = re.search(r'on (http://\S+) - try', process.first_line)[1]
    yield process


@pytest.fixture
def ask(server):
  """Posts a document to :predict: status and answer."""

  def post(**document):
    response = httpx.post(f'{server.url}/v1/models/mine:predict', json=document, timeout=30)
    return response.status_code, response.json()

  return post


def curl(command, url):
  """Does what a line with curl does, but at another address."""
  _, *data, address = shlex.split(command)
  address = re.sub('http://[^/]+', url, address)
  return httpx.post(address, content=data[1]) if data else httpx.get(address)


def test_the_first_line_says_where_it_is_and_how_to_query_it(server):
  line = server.first_line
  assert line.startswith('Serving mine, version 1, on http://127.0.0.1:')
  response = curl(line.partition('try it: ')[2], server.url)
  assert response.json() == {'predictions': [{'outputs': 'A TEXT', 'scores': -6.0}]}


def commands_of_the_document():
  text = (CHECKOUT / 'docs' / 'serving.md').read_text()
  block = re.search(r'<!-- run by tests/serving/test_serve_command.py -->\n```bash\n(.*?)```', text, re.DOTALL)[1]
  return re.findall('^(curl .*)\n# (.*)$', block, re.MULTILINE)


def form(value):
  """A document without its values: keys, lengths of lists, types."""
  if isinstance(value, dict):
    return {key: form(part) for key, part in value.items()}
  return [form(part) for part in value] if isinstance(value, list) else type(value)


def test_the_requests_of_the_document(server):
  commands = commands_of_the_document()
  assert len(commands) == 7
  for command, shown in commands:
    response = curl(command, server.url)
    answer, shown = response.json(), json.loads(shown)
    if command.endswith('/metadata'):
      answer['metadata']['signature_def']['signature_def'] = {}
    assert (response.status_code, form(answer)) == (200, form(shown)), command


@pytest.mark.parametrize('text', ['', 'a question', '😀 straße', 'x' * 10_000, '\x00\n"'])
def test_answers_are_those_of_the_model_itself(ask, export, text):
  import tensorflow as tf

  given = tf.saved_model.load(str(export / '1')).signatures['serving_default'](inputs=tf.constant([text] * 3))
  expected = {'outputs': given['outputs'][0].numpy().decode(), 'scores': float(given['scores'][0])}
  assert ask(instances=[text] * 3) == (200, {'predictions': [expected] * 3})


def test_64_texts_and_none(ask):
  texts = [f'text {number}' for number in range(64)]
  scores = [-float(len(text)) for text in texts]
  assert ask(inputs=texts) == (200, {'outputs': {'outputs': [t.upper() for t in texts], 'scores': scores}})
  assert ask(inputs=[]) == (200, {'outputs': {'outputs': [], 'scores': []}})


def test_bytes_that_are_not_text(ask):
  assert ask(instances=[{'b64': '/w=='}]) == (200, {'predictions': [{'outputs': '\ufffd', 'scores': -1.0}]})


def test_float32_is_written_with_its_own_digits(ask):
  assert ask(signature_name='score', inputs={'inputs': ['a'], 'targets': ['bcd']}) == (200, {'outputs': [-0.3]})


@pytest.mark.parametrize(
    ('document', 'status', 'message'),
    [
        ({'instances': ['good', 'refuse']}, 400, 'The model refused the request: '),
        ({'instances': ['refuse']}, 400, 'a text is: refuse'),
        ({'instances': ['x' * 100_000]}, 413, 'larger than 100000 bytes'),
        ({'instances': [3]}, 400, 'instances[0] is a number'),
        ({'signature_name': 'scores', 'instances': ['a']}, 400, 'Did you mean score?'),
    ],
    ids=['refused', 'alone', 'large', 'type', 'signature'],
)  # fmt: skip
def test_what_is_refused_is_explained(ask, document, status, message):
  got, answer = ask(**document)
  assert got == status and message in answer['error'], answer
  assert ask(instances=['a'])[0] == 200


def test_metadata_is_what_protobuf_writes(server, export):
  from google.protobuf import json_format
  from tensorflow.core.protobuf import meta_graph_pb2, saved_model_pb2

  signatures = httpx.get(f'{server.url}/v1/models/mine/metadata').json()['metadata']['signature_def']['signature_def']
  saved = saved_model_pb2.SavedModel.FromString((export / '1' / 'saved_model.pb').read_bytes())
  assert set(signatures) == {'serving_default', 'score', '__saved_model_init_op'}
  for name, definition in saved.meta_graphs[0].signature_def.items():
    assert json_format.ParseDict(signatures[name], meta_graph_pb2.SignatureDef()) == definition
  assert signatures['serving_default']['inputs']['inputs'] == {
    'dtype': 'DT_STRING',
    'tensor_shape': {'dim': [{'size': '-1', 'name': ''}], 'unknown_rank': False},
    'name': 'serving_default_inputs:0',
  }


@pytest.mark.slow
def test_memory_is_flat_over_2000_requests(server):
  """The part of TensorFlow: answers, scores and refusals. test_server.py tests the rest of a server."""

  def client(number):
    documents = [{'instances': ['x' * (37 * i % 2000)] * (1 + i % 3)} for i in range(80)]
    score = {'signature_name': 'score', 'inputs': {'inputs': ['a'], 'targets': ['b']}}
    documents += [{'instances': ['refuse']}, score] * 10
    with httpx.Client(timeout=30) as connection:
      for document in documents:
        connection.post(f'{server.url}/v1/models/mine:predict', json=document)

  sizes = []
  with concurrent.futures.ThreadPoolExecutor(10) as pool:
    for clients in (20, 20):
      list(pool.map(client, range(clients)))
      sizes.append(rss(server.popen.pid))
  grown = (sizes[1] - sizes[0]) / 2**20
  # A process of 600 MB: the allocator's own ups and downs are a few.
  assert grown < 5, f'{grown:.1f} MB more after 2,000 requests'


@pytest.fixture
def mistake(monkeypatch, capsys, tmp_path, export):
  """Runs `switch_zoo serve` with a mistake: its message."""
  monkeypatch.chdir(tmp_path)
  handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

  def run(*arguments):
    monkeypatch.setattr(sys, 'argv', ['switch_zoo', 'serve', *map(str, arguments)])
    code = cli.run()
    out, err = capsys.readouterr()
    assert (code, out, err.count('\n')) == (2, '', 1) and 'Traceback' not in err, err
    return err

  yield run
  for number, handler in handlers.items():
    signal.signal(number, handler)


def test_a_folder_that_is_not_an_export(mistake, tmp_path, export):
  assert 'nowhere is not a folder. An export is a folder EXPORT_DIR/1/saved_model.pb' in mistake('nowhere')
  (tmp_path / 'empty').mkdir()
  assert 'empty contains no numbered folder' in mistake('empty')
  (tmp_path / 'half' / '7').mkdir(parents=True)
  assert 'half/7 has no saved_model.pb' in mistake('half')
  assert f'Give the folder above it, {export}' in mistake(export / '1')
  (tmp_path / 'half' / '7' / 'saved_model.pb').write_bytes(b'no protobuf')
  assert 'saved_model.pb is not a SavedModel' in mistake('half', '--port', 0)
  assert "cannot be called 'a:b'" in mistake('half', '--name', 'a:b')
  shutil.copytree(export, tmp_path / 'cut')
  shutil.rmtree(tmp_path / 'cut' / '1' / 'variables')
  assert 'cannot be loaded' in mistake('cut', '--port', 0)


def test_an_export_of_numbers(mistake, tmp_path):
  import tensorflow as tf

  module = tf.Module()
  module.twice = tf.function(lambda x: {'y': 2 * x}, input_signature=[tf.TensorSpec([None], tf.float32, 'x')])
  tf.saved_model.save(module, str(tmp_path / 'twice' / '3'), {'serving_default': module.twice})
  assert 'no signature whose inputs are all string [batch]' in mistake('twice', '--port', 0)


def test_an_address_that_is_not_available(mistake, export):
  with socket.create_server(('127.0.0.1', 0)) as taken:
    port = taken.getsockname()[1]
    assert f'Port {port} of 127.0.0.1 is in use. Choose another with --port' in mistake(export, '--port', port)
  assert 'Give an address of this machine with --host' in mistake(export, '--host', '192.0.2.1', '--port', 0)
  assert 'Give an address of this machine with --host' in mistake(export, '--host', 'no.such.host.invalid')


def test_it_says_what_another_host_opens(export):
  command = [sys.executable, '-c', CODE, 'serve', str(export), '--port', '0', '--host', '0.0.0.0']
  with running(command) as process:
    assert ' on http://0.0.0.0:' in process.first_line
    code, out, err = process.end(signal.SIGTERM)
  assert (code, out, err.count('\n')) == (0, '[]\n', 1)
  assert 'every address of this machine: any machine that can reach it may send requests' in err


SAYS_WHEN_IT_IMPORTS = """
import sys, threading, time
def watch():
  while 'tensorflow.python.framework.ops' not in sys.modules:
    time.sleep(0.001)
  print('importing', flush=True)
threading.Thread(target=watch, daemon=True).start()
from switch_zoo import cli
sys.exit(cli.run())
"""


def test_it_exits_with_0_while_tensorflow_is_still_being_imported(export):
  with running([sys.executable, '-c', SAYS_WHEN_IT_IMPORTS, 'serve', str(export), '--port', '0']) as process:
    assert process.first_line == 'importing'
    assert process.end(signal.SIGTERM) == (0, '', '')


def test_it_exits_with_0_after_the_last_answer_and_has_imported_nothing_that_trains(server, ask):
  with concurrent.futures.ThreadPoolExecutor(1) as pool:
    client = pool.submit(ask, instances=['slow'])
    time.sleep(0.2)
    assert not client.done()
    code, out, err = server.end(signal.SIGTERM)
    assert client.result() == (200, {'predictions': [{'outputs': 'SLOW', 'scores': -4.0}]})
  assert (code, out, err) == (0, '[]\n', '')
