"""`switch_zoo score SRC`: log-probabilities of targets."""

from collections.abc import Callable
from typing import Any

import typer

from switch_zoo.commands import answering, json_output, onnx_answering
from switch_zoo.commands.generate import TEXTS, batches, read_lines
from switch_zoo.errors import UserError

TARGETS = typer.Option(None, '--target', help='The target of a --text. Repeated in the order of the texts.')


def command(
  context: typer.Context,
  source: str = typer.Argument(..., metavar='SRC', help='Folder of weights of any format, or of an ONNX export.'),
  texts: list[str] | None = TEXTS,
  targets: list[str] | None = TARGETS,
  file: str | None = typer.Option(None, '--file', help="A file of lines INPUT<tab>TARGET; '-' is standard input."),
  batch_size: int = typer.Option(32, '--batch-size', min=1, help='Pairs scored in one batch.'),
  as_json: bool = typer.Option(False, '--json', help='One JSON list on stdout: input, target, score.'),
  model: str | None = answering.MODEL,
  vocab: str | None = answering.VOCAB,
  target_vocab: str | None = answering.TARGET_VOCAB,
  dtype: str = answering.DTYPE,
  expert_capacity: str = answering.EXPERT_CAPACITY,
  max_input_tokens: int = answering.MAX_INPUT_TOKENS,
  threads: int | None = answering.THREADS,
) -> None:
  """Scores targets: the natural logarithm of the probability of each given its input, one per line."""
  pairs = read_pairs(texts, targets, file)
  onnx = onnx_answering.opened(context, source)
  if onnx:
    in_bytes = lambda batch: ([text.encode() for text in column] for column in zip(*batch, strict=True))
    _print_scores(pairs, batch_size, lambda batch: onnx.score(*in_bytes(batch))['scores'], as_json)
    return
  import tensorflow as tf

  from switch_zoo.keras import export

  settings = export.ExportSettings(dtype, max_input_tokens=max_input_tokens, expert_capacity=expert_capacity)
  opened = export.open_model(source, model, vocab, settings, target_vocab)
  answering.show_note(opened.note)
  score = tf.function(opened.score, input_signature=[tf.TensorSpec([None], tf.string)] * 2)
  columns = lambda batch: (tf.constant(column) for column in zip(*batch, strict=True))
  _print_scores(pairs, batch_size, lambda batch: score(*columns(batch))['scores'].numpy(), as_json)


def _print_scores(
  pairs: list[tuple[str, str]], batch_size: int, score: Callable[[list[tuple[str, str]]], Any], as_json: bool
) -> None:
  """Scores pairs batch by batch, and prints each batch as soon as it is done."""
  rows = []
  for batch in batches(pairs, batch_size, 'scoring'):
    scores = score(batch)
    rows += [{'input': i, 'target': t, 'score': float(s)} for (i, t), s in zip(batch, scores, strict=True)]
    if not as_json:
      print('\n'.join(f'{score:.4f}' for score in scores), flush=True)
  if as_json:
    print(json_output.as_json(rows))


def read_pairs(texts: list[str] | None, targets: list[str] | None, file: str | None) -> list[tuple[str, str]]:
  """(input, target) pairs of --text and --target, or of --file.

  Raises:
    UserError: both are given, inputs and targets do not match, or the file cannot be read
  """
  if file:
    if targets or texts:
      raise UserError('Give --text and --target, or --file, not both.')
    return [_pair(line, number, file) for number, line in enumerate(read_lines(None, file), 1)]
  texts, targets = texts or [], targets or []
  if len(texts) != len(targets) or not texts:
    raise UserError(f'{len(texts)} --text and {len(targets)} --target: give one target for each input.')
  return list(zip(texts, targets, strict=True))


def _pair(line: str, number: int, file: str) -> tuple[str, str]:
  parts = line.split('\t')
  if len(parts) != 2:
    raise UserError(f'--file={file}, line {number} has {len(parts)} columns. It must have two: INPUT<tab>TARGET.')
  return parts[0], parts[1]
