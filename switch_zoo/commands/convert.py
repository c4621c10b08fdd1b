"""`switch_zoo convert SRC DST --to KIND`: the same weights in another format."""

import re
import time

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

from switch_zoo.errors import UserError

INTERRUPTED = 130  # the exit code of a program that Ctrl-C ended
UNITS = {'': 1, 'K': 10**3, 'M': 10**6, 'G': 10**9, 'T': 10**12}


def command(
  source: str = typer.Argument(
    ..., metavar='SRC', help='Folder of Mesh-TensorFlow, Keras, Hugging Face or T5X weights.'
  ),
  destination: str = typer.Argument(..., metavar='DST', help='Folder to make.'),
  to: str = typer.Option(..., '--to', metavar='{mesh,keras,hf}', help='Format to write.'),
  model: str = typer.Option(None, '--model', help='A name, or a gin file. Without it the shape is read from SRC.'),
  dtype: str = typer.Option(None, '--dtype', metavar='{float32,bfloat16}', help='Type to write; else as in SRC.'),
  resume: bool = typer.Option(False, '--resume', help='Go on with an interrupted conversion.'),
  experts: str = typer.Option(None, '--experts', metavar='0,3,5', help='Keep these experts only.'),
  upcycle: int = typer.Option(None, '--upcycle', metavar='N', help='Make N experts of each second dense layer.'),
  dense_from: str = typer.Option(
    None, '--dense-from', metavar='{fresh,mean}', help='Make the dense twin, with such layers for the experts.'
  ),
  seed: int = typer.Option(0, '--seed', min=0, help='Of new weights: --upcycle, --dense-from fresh.'),
  keep_slots: bool = typer.Option(False, '--keep-slots', help="Keep the optimizer's slots and the step."),
  max_shard_size: str = typer.Option('5GB', '--max-shard-size', help='Largest file of weights to write.'),
) -> None:
  """Converts weights between Mesh-TensorFlow, Keras and Hugging Face (T5X: read only), exactly.

  It streams: one expert at a time, so that a model of any size fits. DST gets a model.gin, so that it needs no --model.
  """
  # After the options are known to be right: NumPy takes a moment, and `--help` needs none.
  from switch_zoo.checkpoints import conversion, journal, request_checks

  request = request_checks.Request(
      source, destination, to, model, dtype, resume, keep_slots,
      request_checks.Surgery(_experts(experts), upcycle, dense_from, seed), size(max_shard_size),
  )  # fmt: skip
  console = Console(highlight=False)
  started = time.monotonic()
  try:
    with _Bar() as bar:
      result = conversion.convert(request, bar)
  except KeyboardInterrupt:
    Console(stderr=True, highlight=False).print(
      f'Interrupted. What is written is in {destination}{journal.PARTIAL}; the same command with --resume goes on.',
      soft_wrap=True,
    )
    raise typer.Exit(INTERRUPTED) from None
  _tell(console, request, result, time.monotonic() - started)


def size(text: str) -> int:
  """Bytes of '5GB', '200MB' or '1000'.

  Raises:
    UserError: it is no size
  """
  found = re.fullmatch(r'(\d+(?:\.\d+)?)\s*([KMGT]?)B?', text.strip(), re.IGNORECASE)
  if not found:
    raise UserError(f'--max-shard-size={text} is no size. Give one such as 5GB or 200MB.')
  return int(float(found[1]) * UNITS[found[2].upper()])


def _experts(text):
  if text is None:
    return None
  try:
    return tuple(int(number) for number in text.split(','))
  except ValueError:
    raise UserError(f'--experts={text}: give numbers with commas between them, as in 0,3,5.') from None


class _Bar:
  """Bytes written, speed and time left, on stderr; nothing where that is no terminal."""

  def __init__(self):
    console = Console(stderr=True)
    self._progress = Progress(
        BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn(), console=console,
        disable=not console.is_terminal, transient=True,
    )  # fmt: skip
    self._task = None

  def __enter__(self):
    self._progress.start()
    return self

  def __exit__(self, *error):
    self._progress.stop()

  def begin(self, total, done):
    self._task = self._progress.add_task('', total=total, completed=done)

  def advance(self, nbytes):
    self._progress.advance(self._task, nbytes)


def _tell(console, request, result, seconds):
  from switch_zoo.checkpoints import names

  config = result.config
  console.print(
    f'{names.TITLES[result.source_kind]} to {names.TITLES[request.to]}: {config.num_parameters:,} parameters, '
    f'{result.nbytes / 1e9:,.2f} GB in {seconds:.1f} s, in {request.destination}',
    soft_wrap=True,
  )
  if request.resume:
    console.print(f'{result.resumed:,} of {result.parts:,} parts were there already.')
  for note in result.notes:
    console.print(f'Note: {note}', soft_wrap=True, markup=False)
