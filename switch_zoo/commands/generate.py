"""`switch_zoo generate SRC`: answers to texts, from weights of any format."""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, TypeVar

import typer

from switch_zoo import interrupts
from switch_zoo.commands import answering, json_output, onnx_answering
from switch_zoo.errors import UserError
from switch_zoo.work_progress import WorkProgress

TEXTS = typer.Option(None, '--text', help='A text. May be repeated.')
Item = TypeVar('Item')


def command(
  context: typer.Context,
  source: str = typer.Argument(..., metavar='SRC', help='Folder of weights of any format, or of an ONNX export.'),
  texts: list[str] | None = TEXTS,
  file: str | None = typer.Option(None, '--file', help="A file with one text per line; '-' is standard input."),
  batch_size: int = typer.Option(32, '--batch-size', min=1, help='Texts answered in one batch.'),
  as_json: bool = typer.Option(False, '--json', help='One JSON list on stdout: input, output, score.'),
  as_json_lines: bool = typer.Option(False, '--jsonl', help='The items of that list on stdout, one on each line.'),
  model: str | None = answering.MODEL,
  vocab: str | None = answering.VOCAB,
  target_vocab: str | None = answering.TARGET_VOCAB,
  dtype: str = answering.DTYPE,
  expert_capacity: str = answering.EXPERT_CAPACITY,
  max_new_tokens: int = answering.MAX_NEW_TOKENS,
  max_input_tokens: int = answering.MAX_INPUT_TOKENS,
  beam_size: int = answering.BEAM_SIZE,
  length_penalty: float | None = answering.LENGTH_PENALTY,
  beam_rule: str = answering.BEAM_RULE,
  early_stopping: str = answering.EARLY_STOPPING,
  temperature: float = answering.TEMPERATURE,
  top_k: int = answering.TOP_K,
  top_p: float = answering.TOP_P,
  num_return_sequences: int = answering.NUM_RETURN_SEQUENCES,
  repetition_penalty: float = answering.REPETITION_PENALTY,
  no_repeat_ngram_size: int = answering.NO_REPEAT_NGRAM_SIZE,
  min_new_tokens: int = answering.MIN_NEW_TOKENS,
  forced_bos_token_id: int | None = answering.FORCED_BOS_TOKEN_ID,
  seed: int = typer.Option(0, '--seed', help='Seed of sampling.'),
  threads: int | None = answering.THREADS,
) -> None:
  """Answers texts: one line per text, in the order of the inputs.

  With --num-return-sequences N each text has N lines, SCORE<tab>OUTPUT, the best first.
  """
  if as_json and as_json_lines:
    raise UserError('Give either --json, one list, or --jsonl, one item on each line.')
  lines = read_lines(texts, file)
  onnx = onnx_answering.opened(context, source)
  if onnx:
    _print_answers(
      lines, batch_size, lambda batch: onnx.answer([text.encode() for text in batch]), as_json, as_json_lines
    )
    return
  import tensorflow as tf

  from switch_zoo.keras import export
  from switch_zoo.keras.generation import LogitsProcessors

  settings = export.ExportSettings(
    dtype,
    max_new_tokens,
    max_input_tokens,
    answering.beam(beam_size, length_penalty, beam_rule, early_stopping),
    answering.sampling(temperature, top_k, top_p),
    seed,
    LogitsProcessors(repetition_penalty, no_repeat_ngram_size, min_new_tokens, forced_bos_token_id),
    num_return_sequences,
    expert_capacity,
  )
  opened = export.open_model(source, model, vocab, settings, target_vocab)
  answering.show_note(opened.note)
  answer = tf.function(opened.answer, input_signature=[tf.TensorSpec([None], tf.string)])
  in_arrays = lambda batch: {name: values.numpy() for name, values in answer(tf.constant(batch)).items()}
  _print_answers(lines, batch_size, in_arrays, as_json, as_json_lines)


def _print_answers(
  lines: list[str],
  batch_size: int,
  answer: Callable[[list[str]], Mapping[str, Any]],
  as_json: bool,
  as_json_lines: bool,
) -> None:
  """Answers texts batch by batch, and prints each batch as soon as it is done."""
  items = []
  for batch in batches(lines, batch_size, 'answering'):
    answers = answer(batch)
    new = [_item(text, {name: values[row] for name, values in answers.items()}) for row, text in enumerate(batch)]
    if as_json:
      items += new
    else:
      print('\n'.join(json_output.as_json(item, None) if as_json_lines else _lines(item) for item in new), flush=True)
  if as_json:
    print(json_output.as_json(items))


def _item(text: str, answer: Mapping[str, Any]) -> dict[str, Any]:
  """One text and its answer as JSON: {input, output, score}, or with several {input, answers: [{output, score}]}.

  Args:
    text: the input
    answer: a row of what `TextModel.answer` returns
  """
  if answer['scores'].ndim == 0:
    return {'input': text, **_answer(answer)}
  count = len(answer['scores'])
  return {'input': text, 'answers': [_answer({name: answer[name][n] for name in answer}) for n in range(count)]}


def _answer(answer: Mapping[str, Any]) -> dict[str, Any]:
  scores = {name.removesuffix('s'): float(value) for name, value in answer.items() if name != 'outputs'}
  output = answer['outputs']
  return {'output': output if isinstance(output, str) else output.decode(errors='replace'), **scores}


def _lines(item: dict[str, Any]) -> str:
  """The line of a text, or a line SCORE<tab>OUTPUT for each of its answers."""
  if 'answers' not in item:
    return one_line(item['output'])
  return '\n'.join(f'{answer["score"]:.4f}\t{one_line(answer["output"])}' for answer in item['answers'])


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
    text = data.decode('utf-8-sig')
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
  """Items in groups of at most `size`, with their progress on stderr.

  Raises:
    KeyboardInterrupt: Ctrl-C was pressed, even if it got lost
  """
  with WorkProgress(title.capitalize(), 'texts', len(items)) as progress:
    remaining = iter(items)
    while batch := list(islice(remaining, size)):
      interrupts.check()
      yield batch
      progress.advance(len(batch))


def one_line(text: str) -> str:
  """A text without line breaks, so that line n of the output answers line n of the input."""
  return text.replace('\n', ' ').replace('\r', ' ')
