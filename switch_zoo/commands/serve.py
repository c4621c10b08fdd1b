"""`switch_zoo serve EXPORT_DIR`: an export behind TensorFlow Serving's REST API."""

import json
import os
import shlex
import signal
import sys
from typing import TYPE_CHECKING
from urllib.parse import quote

import typer

from switch_zoo import tf_compat
from switch_zoo.commands import answering
from switch_zoo.errors import UserError

if TYPE_CHECKING:
  from switch_zoo.serving.onnx_model import LoadedOnnxExport
  from switch_zoo.serving.saved_model import LoadedExport

SHORTEST_TIMEOUT = 0.001  # seconds


def command(
  export_dir: str = typer.Argument(..., metavar='EXPORT_DIR', help='Folder that `switch_zoo export` made.'),
  port: int = typer.Option(8501, '--port', min=0, max=65535, help='Port to listen on; 0: any free one.'),
  host: str = typer.Option('127.0.0.1', '--host', help='Address to listen on; 0.0.0.0 lets other machines connect.'),
  name: str | None = typer.Option(None, '--name', help="The model's name; by default that of the folder."),
  max_batch_size: int = typer.Option(32, '--max-batch-size', min=1, help='Most texts in one batch.'),
  batch_timeout_ms: float = typer.Option(
    5.0, '--batch-timeout-ms', min=0, help='Time to wait for a full batch while several clients send requests.'
  ),
  max_request_bytes: int = typer.Option(
    4 * 2**20, '--max-request-bytes', min=1, help='Size of the largest request body.'
  ),
  timeout: float = typer.Option(
    30.0, '--timeout', min=SHORTEST_TIMEOUT, help='Seconds a request waits for its answer.'
  ),
  read_timeout: float = typer.Option(
    10.0, '--read-timeout', min=SHORTEST_TIMEOUT, help='Seconds within which a request must arrive.'
  ),
  max_queue: int = typer.Option(1024, '--max-queue', min=1, help='Most texts in the queue; more are refused.'),
  threads: int | None = answering.THREADS,
) -> None:
  """Serves an export on this machine through TensorFlow Serving's REST API, joining requests into batches.

  SIGTERM or Ctrl-C: refuses new requests, answers those it has accepted, and exits with code 0.
  """
  tf_compat.quiet()
  from switch_zoo.serving import app, onnx_model, saved_model, server

  version = saved_model.find(export_dir, name)
  if threads and not onnx_model.is_onnx(version):
    raise UserError(f'--threads is for an ONNX export, and {export_dir} is not one. Leave it out.')
  limits = app.ServerLimits(
    batch_size=max_batch_size,
    batch_seconds=batch_timeout_ms / 1000,
    request_bytes=max_request_bytes,
    read_seconds=read_timeout,
    answer_seconds=timeout,
    queue=max_queue,
  )
  with server.open_socket(host, port) as bound:  # before the weights are read, which takes longer
    opened = server.opened_to(bound)
    if opened:
      print(opened, file=sys.stderr, flush=True)
    # Until the server installs its own handler. Not an exception, which could get lost while TensorFlow is imported.
    signal.signal(signal.SIGTERM, lambda number, frame: os._exit(0))
    model = onnx_model.load(version, threads) if onnx_model.is_onnx(version) else saved_model.load(version)
    code = server.run(model, bound, limits, lambda: print(_ready_line(model, server.url(bound)), flush=True))
  raise typer.Exit(code)


def _ready_line(model: 'LoadedExport | LoadedOnnxExport', url: str) -> str:
  """Where the model is served, and a command that queries it."""
  signature = model.first_signature
  inputs = model.signatures[signature].inputs
  instance = 'a text' if len(inputs) == 1 else dict.fromkeys(inputs, 'a text')
  document = {'signature_name': signature, 'instances': [instance]}
  address = f'{url}/v1/models/{quote(model.name)}:predict'
  return (
    f'Serving {model.name}, version {model.version}, on {url} - try it: '
    f'curl -d {shlex.quote(json.dumps(document))} {shlex.quote(address)}'
  )
