"""`switch_zoo generate SRC`: answers to texts, from weights of any format."""

import json
import sys
from collections.abc import Iterator
from itertools import islice

import typer
from rich.console import Console
from rich.progress import Progress

from switch_zoo import interrupts
from switch_zoo.commands import answering
from switch_zoo.errors import UserError

TEXTS = typer.Option(None, '--text', help='A text; may be given several times.')


def command(
  source: str = typer.Argument(..., metavar='SRC', help='Folder of weights of any format.'),
  texts: list[str] = TEXTS,
  file: str = typer.Option(None, '--file', help="A file with one text a line; '-' is standard input."),
  batch_size: int = typer.Option(32, '--batch-size', min=1, help='Texts answered at once.'),
  as_json: bool = typer.Option(False, '--json', help='One JSON list on stdout: input, output, score.'),
  model: str = answering.MODEL,
  vocab: str = answering.VOCAB,
  dtype: str = answering.DTYPE,
  max_new_tokens: int = answering.MAX_NEW_TOKENS,
  max_input_tokens: int = answering.MAX_INPUT_TOKENS,
  beam_size: int = answering.BEAM_SIZE,
  length_penalty: float = answering.LENGTH_PENALTY,
  temperature: float = answering.TEMPERATURE,
  top_k: int = answering.TOP_K,
  top_p: float = answering.TOP_P,
  seed: int = typer.Option(0, '--seed', help='Of a sampling.'),
) -> None:
  """Answers texts, a line each in the order of the inputs."""
  lines = read_lines(texts, file)
  import tensorflow as tf

  from switch_zoo.keras import export

  settings = export.ExportSettings(
    dtype,
    max_new_tokens,
    max_input_tokens,
    answering.beam(beam_size, length_penalty),
    answering.sampling(temperature, top_k, top_p),
    seed,
  )
  opened = export.open_model(source, model, vocab, settings)
  answer = tf.function(opened.answer, input_signature=[tf.TensorSpec([None], tf.string)])
  rows = []
  for batch in batches(lines, batch_size, 'answering'):
    found = answer(tf.constant(batch))
    outputs = [output.decode(errors='replace') for output in found['outputs'].numpy()]
    rows += [
      {'input': text, 'output': output, 'score': float(score)}
      for text, output, score in zip(batch, outputs, found['scores'].numpy(), strict=True)
    ]
    if not as_json:
      print('\n'.join(one_line(output) for output in outputs), flush=True)
  if as_json:
    print(json.dumps(rows, indent=2, ensure_ascii=False))


def read_lines(texts: list[str] | None, file: str | None) -> list[str]:
  """The texts of --text and --file.

  Raises:
    UserError: neither or both are given, or the file cannot be read
  """
  if bool(texts) == bool(file):
    raise UserError('Give the texts with --text, or a file of them with --file (- is standard input).')
  if texts:
    return list(texts)
  try:
    if file == '-':
      data = sys.stdin.buffer.read()
    else:
      with open(file, 'rb') as stream:
        data = stream.read()
    text = data.decode('utf-8')
  except OSError as error:
    raise UserError(f'--file={file} cannot be read: {error.strerror}.') from error
  except UnicodeDecodeError as error:
    line = data[: error.start].count(b'\n') + 1
    raise UserError(f'--file={file}, line {line}: not UTF-8. Convert it first, with iconv for example.') from error
  # Not splitlines: it also breaks at characters that stand inside a line.
  lines = text.removesuffix('\n').split('\n') if text else []
  return [line.removesuffix('\r') for line in lines]


def batches(lines: list, size: int, what: str) -> Iterator[list]:
  """Lines in groups, with a progress bar on stderr where that is a terminal."""
  console = Console(stderr=True)
  with Progress(console=console, disable=not console.is_terminal, transient=True) as bar:
    task = bar.add_task(what, total=len(lines))
    left = iter(lines)
    while batch := list(islice(left, size)):
      interrupts.check()
      yield batch
      bar.advance(task, len(batch))


def one_line(text: str) -> str:
  """A text without line breaks, so that answers and inputs stay line by line."""
  return text.replace('\n', ' ').replace('\r', ' ')
