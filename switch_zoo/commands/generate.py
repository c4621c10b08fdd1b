"""`switch_zoo generate SRC`: answers to texts, from weights of any format."""

import json
import sys
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import TypeVar

import typer
from rich.console import Console
from rich.progress import Progress

from switch_zoo import interrupts
from switch_zoo.commands import answering
from switch_zoo.errors import UserError

TEXTS = typer.Option(None, '--text', help='A text. May be repeated.')
Item = TypeVar('Item')


def command(
  source: str = typer.Argument(..., metavar='SRC', help='Folder of weights of any format.'),
  texts: list[str] | None = TEXTS,
  file: str | None = typer.Option(None, '--file', help="A file with one text per line; '-' is standard input."),
  batch_size: int = typer.Option(32, '--batch-size', min=1, help='Texts answered in one batch.'),
  as_json: bool = typer.Option(False, '--json', help='One JSON list on stdout: input, output, score.'),
  model: str | None = answering.MODEL,
  vocab: str | None = answering.VOCAB,
  dtype: str = answering.DTYPE,
  expert_capacity: str = answering.EXPERT_CAPACITY,
  max_new_tokens: int = answering.MAX_NEW_TOKENS,
  max_input_tokens: int = answering.MAX_INPUT_TOKENS,
  beam_size: int = answering.BEAM_SIZE,
  length_penalty: float = answering.LENGTH_PENALTY,
  temperature: float = answering.TEMPERATURE,
  top_k: int = answering.TOP_K,
  top_p: float = answering.TOP_P,
  seed: int = typer.Option(0, '--seed', help='Seed of sampling.'),
) -> None:
  """Answers texts: one line per text, in the order of the inputs."""
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
    expert_capacity=expert_capacity,
  )
  opened = export.open_model(source, model, vocab, settings)
  answering.show_note(opened.note)
  answer = tf.function(opened.answer, input_signature=[tf.TensorSpec([None], tf.string)])
  rows = []
  for batch in batches(lines, batch_size, 'answering'):
    answers = answer(tf.constant(batch))
    outputs = [output.decode(errors='replace') for output in answers['outputs'].numpy()]
    rows += [
      {'input': text, 'output': output, 'score': float(score)}
      for text, output, score in zip(batch, outputs, answers['scores'].numpy(), strict=True)
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
  if texts and not file:
    return list(texts)
  if not file or texts:
    raise UserError('Give the texts with --text, or a file of them with --file (- is standard input), not both.')
  data = _read(file)
  try:
    text = data.decode('utf-8')
  except UnicodeDecodeError as error:
    line = data[: error.start].count(b'\n') + 1
    raise UserError(
      f'--file={file}, line {line} is not UTF-8. Convert the file first, for example with iconv.'
    ) from error
  # Not splitlines, which also breaks at characters that may occur inside a line.
  lines = text.removesuffix('\n').split('\n') if text else []
  return [line.removesuffix('\r') for line in lines]


def _read(file: str) -> bytes:
  try:
    if file == '-':
      return sys.stdin.buffer.read()
    with open(file, 'rb') as stream:
      return stream.read()
  except OSError as error:
    raise UserError(f'--file={file} cannot be read: {error.strerror}.') from error


def batches(items: Sequence[Item], size: int, title: str) -> Iterator[list[Item]]:
  """Items in groups of at most `size`, with a progress bar on stderr if that is a terminal.

  Raises:
    KeyboardInterrupt: Ctrl-C was pressed, even if it got lost
  """
  console = Console(stderr=True)
  with Progress(console=console, disable=not console.is_terminal, transient=True) as bar:
    task = bar.add_task(title, total=len(items))
    remaining = iter(items)
    while batch := list(islice(remaining, size)):
      interrupts.check()
      yield batch
      bar.advance(task, len(batch))


def one_line(text: str) -> str:
  """A text without line breaks, so that line n of the output answers line n of the input."""
  return text.replace('\n', ' ').replace('\r', ' ')
