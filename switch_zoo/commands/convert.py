"""`switch_zoo convert SRC DST --to KIND`: the same weights in another format."""

import re
import time
from typing import TYPE_CHECKING

import typer
from rich.console import Console

from switch_zoo import interrupts
from switch_zoo.commands import answering
from switch_zoo.errors import UserError

if TYPE_CHECKING:
  from switch_zoo.checkpoints.conversion import ConversionResult
  from switch_zoo.checkpoints.request_checks import Request

UNITS = {'': 1, 'K': 10**3, 'M': 10**6, 'G': 10**9, 'T': 10**12}


def command(
  source: str = typer.Argument(
    ..., metavar='SRC', help='Folder of Mesh-TensorFlow, Keras, Hugging Face or T5X weights.'
  ),
  destination: str = typer.Argument(..., metavar='DST', help='Folder to create.'),
  to: str = typer.Option(..., '--to', metavar='{mesh,keras,hf}', help='Format to write.'),
  model: str | None = answering.MODEL,
  dtype: str | None = typer.Option(
    None, '--dtype', metavar='{float32,bfloat16}', help='Type to write; by default that of SRC.'
  ),
  resume: bool = typer.Option(False, '--resume', help='Resume an interrupted conversion.'),
  experts: str | None = typer.Option(None, '--experts', metavar='0,3,5', help='Keep only these experts.'),
  upcycle: int | None = typer.Option(
    None, '--upcycle', metavar='N', help='Turn every other dense layer into a layer of N experts.'
  ),
  dense_from: str | None = typer.Option(
    None,
    '--dense-from',
    metavar='{fresh,mean}',
    help='Make the dense twin: its layers are new, or the mean of the experts.',
  ),
  seed: int = typer.Option(0, '--seed', min=0, help='Seed of new weights: --upcycle, --dense-from fresh.'),
  keep_slots: bool = typer.Option(False, '--keep-slots', help="Keep the optimizer's slots and the step."),
  max_shard_size: str = typer.Option('5GB', '--max-shard-size', help='Size of the largest file of weights.'),
) -> None:
  """Converts weights between Mesh-TensorFlow, Keras and Hugging Face (T5X: read only), exactly.

  It streams one expert at a time, so models of any size fit in memory. It also writes DST/model.gin, so that commands
  given DST need no --model.
  """
  # Not at the top: importing NumPy takes a moment, and `--help` does not need it.
  from switch_zoo.checkpoints import conversion, journal, request_checks
  from switch_zoo.commands.conversion_bar import ConversionBar

  request = request_checks.Request(
      source, destination, to, model, dtype, resume, keep_slots,
      request_checks.Surgery(_experts(experts), upcycle, dense_from, seed), size(max_shard_size),
  )  # fmt: skip
  console = Console(highlight=False)
  started = time.monotonic()
  try:
    with ConversionBar() as bar:
      result = conversion.convert(request, bar)
  except KeyboardInterrupt:
    Console(stderr=True, highlight=False).print(
      f'Interrupted. What was written is in {destination}{journal.PARTIAL}; the same command with --resume continues.',
      soft_wrap=True,
    )
    raise typer.Exit(interrupts.EXIT_CODE) from None
  _print_result(console, request, result, time.monotonic() - started)


def size(text: str) -> int:
  """Bytes of '5GB', '200MB' or '1000'.

  Raises:
    UserError: the text is not a size
  """
  match = re.fullmatch(r'(\d+(?:\.\d+)?)\s*([KMGT]?)B?', text.strip(), re.IGNORECASE)
  if not match:
    raise UserError(f'--max-shard-size={text} is not a size. Give one such as 5GB or 200MB.')
  return int(float(match[1]) * UNITS[match[2].upper()])


def _experts(text: str | None) -> tuple[int, ...] | None:
  if text is None:
    return None
  try:
    return tuple(int(number) for number in text.split(','))
  except ValueError:
    raise UserError(
      f'--experts={text} is not a list of experts. Give numbers separated by commas, such as 0,3,5.'
    ) from None


def _print_result(console: Console, request: 'Request', result: 'ConversionResult', seconds: float) -> None:
  from switch_zoo.checkpoints import names

  config = result.config
  console.print(
    f'{names.TITLES[result.source_kind]} to {names.TITLES[request.to]}: {config.num_parameters:,} parameters, '
    f'{result.nbytes / 1e9:,.2f} GB in {seconds:.1f} s, in {request.destination}',
    soft_wrap=True,
  )
  if request.resume:
    console.print(f'{result.resumed:,} of {result.parts:,} parts had already been written.')
  for note in result.notes:
    console.print(f'Note: {note}', soft_wrap=True, markup=False)
