"""`switch_zoo serve EXPORT_DIR`: an export behind TensorFlow Serving's REST form."""

import json
import os
import shlex
import signal
from urllib.parse import quote

import typer

from switch_zoo import tf_compat

SMALLEST = 0.001  # seconds


def command(
  export_dir: str = typer.Argument(..., metavar='EXPORT_DIR', help='Folder that `switch_zoo export` made.'),
  port: int = typer.Option(8501, '--port', min=0, max=65535, help='0 takes a free one.'),
  host: str = typer.Option('127.0.0.1', '--host', help='Address to listen on; 0.0.0.0 lets other machines ask.'),
  name: str = typer.Option(None, '--name', help="The model's name; else that of the folder."),
  max_batch_size: int = typer.Option(32, '--max-batch-size', min=1, help='Texts the model is given at once.'),
  batch_timeout_ms: float = typer.Option(
    5.0, '--batch-timeout-ms', min=0, help='Time to wait for a full batch while several clients ask.'
  ),
  max_request_bytes: int = typer.Option(4 * 2**20, '--max-request-bytes', min=1, help='Largest body of a request.'),
  timeout: float = typer.Option(30.0, '--timeout', min=SMALLEST, help='Seconds a request waits for its answer.'),
  read_timeout: float = typer.Option(10.0, '--read-timeout', min=SMALLEST, help='Seconds a request may arrive in.'),
  max_queue: int = typer.Option(1024, '--max-queue', min=1, help='Texts that may wait; more are refused.'),
) -> None:
  """Serves an export over HTTP as TensorFlow Serving does, on this machine, joining requests into batches.

  SIGTERM or Ctrl-C: no new requests, those taken are answered, exit code 0.
  """
  tf_compat.quiet()
  from switch_zoo.serving import app, saved_model, server

  found = saved_model.find(export_dir, name)
  limits = app.Limits(
      max_batch_size, batch_timeout_ms / 1000, max_request_bytes, read_timeout, timeout, max_queue
  )  # fmt: skip
  with server.open_socket(host, port) as bound:  # before the weights are read, which takes longer
    # Until the server has its own. No exception: raised while TensorFlow is imported, it may get lost.
    signal.signal(signal.SIGTERM, lambda number, frame: os._exit(0))
    model = saved_model.load(found)
    code = server.run(model, bound, limits, lambda: print(_line(model, server.url(bound)), flush=True))
  raise typer.Exit(code)


def _line(model, url):
  from switch_zoo.serving.saved_model import first_signature

  signature = first_signature(model)
  inputs = model.signatures[signature].inputs
  instance = 'a text' if len(inputs) == 1 else dict.fromkeys(inputs, 'a text')
  asked = {'signature_name': signature, 'instances': [instance]}
  address = f'{url}/v1/models/{quote(model.name)}:predict'
  return (
    f'Serving {model.name}, version {model.version}, on {url} - ask it: '
    f'curl -d {shlex.quote(json.dumps(asked))} {shlex.quote(address)}'
  )
